"""Draw the same number of Speech Commands clips for each digit: the folder balanced."""

from config.command_line import preparation_command
from preprocessing.corpora.gsc import write_balanced

if __name__ == "__main__":
    preparation_command(__doc__, write_balanced, "augmented_gsc_folder")
