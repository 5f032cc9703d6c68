"""Speech commands in noise: audio to the matrices gsc_noisy_randsplit."""

from preprocessing.corpora.gsc import NOISY_RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(NOISY_RANDSPLIT)
