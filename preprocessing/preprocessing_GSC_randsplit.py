"""Speech commands, clean: audio to the matrices gsc_randsplit."""

from preprocessing.corpora.gsc import CLEAN_RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(CLEAN_RANDSPLIT)
