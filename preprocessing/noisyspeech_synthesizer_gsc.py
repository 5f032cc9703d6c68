"""Mix the balanced speech commands with noise at 20 to 40 dB."""

from config.command_line import preparation_command
from preprocessing.corpora.gsc import write_noisy_balanced

if __name__ == "__main__":
    preparation_command(__doc__, write_noisy_balanced, "augmented_gsc_folder")
