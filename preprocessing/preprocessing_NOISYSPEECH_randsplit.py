"""Noise types from mixed speech: audio to the matrices noisyspeech_randsplit."""

from preprocessing.corpora.noisyspeech import RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(RANDSPLIT)
