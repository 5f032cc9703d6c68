"""Mix the balanced speech commands with noise whose type follows the word, in training only.

The noise of digit i is of the i-th type, in alphabetical order, in the fraction [preprocessing]
confounding of the training and validation clips; in the others and in the test set its type is
independent of the word. Sets are divided by speaker. So are the files of noise_train, if each type
has three or more of them: the test's noise is then as unheard as its speakers. (noise_test of
MS-SNSD is not used: names and types there are not those of noise_train.) True SNR: 0, 2.5, 5, 7.5
or 10 dB, whatever snr_convention says, with a stretch from anywhere in the noise.
"""

from config.command_line import preparation_command
from preprocessing.corpora.gsc_confounded import write_confounded

if __name__ == "__main__":
    preparation_command(__doc__, write_confounded, "augmented_gsc_folder")
