"""IEMOCAP speakers: audio to the matrices iemocap_speaker_randsplit."""

from preprocessing.corpora.iemocap import SPEAKER_RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(SPEAKER_RANDSPLIT)
