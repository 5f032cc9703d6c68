"""IEMOCAP emotions, random split: audio to the matrices iemocap_randsplit."""

from preprocessing.corpora.iemocap import RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(RANDSPLIT)
