"""Mix MS-SNSD speech and noise: 1 s clips and more at five SNRs, labelled by noise type."""

from config.command_line import preparation_command
from preprocessing.corpora.noisyspeech import write_noisyspeech

if __name__ == "__main__":
    preparation_command(__doc__, write_noisyspeech, "generated_noisyspeech_folder")
