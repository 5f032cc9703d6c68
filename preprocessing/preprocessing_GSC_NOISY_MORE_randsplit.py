"""Speech commands in more noise: audio to the matrices gsc_noisy_more_randsplit."""

from preprocessing.corpora.gsc import NOISY_MORE_RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(NOISY_MORE_RANDSPLIT)
