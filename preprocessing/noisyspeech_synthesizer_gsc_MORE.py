"""Mix the balanced speech commands with more noise, at 0 to 10 dB."""

from config.command_line import preparation_command
from preprocessing.corpora.gsc import write_noisy_more_balanced

if __name__ == "__main__":
    preparation_command(__doc__, write_noisy_more_balanced, "augmented_gsc_folder")
