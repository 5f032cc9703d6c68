"""IEMOCAP emotions in 1 s: audio to the matrices iemocap_1sec_actorsplit."""

from preprocessing.corpora.iemocap import ONE_SECOND_ACTORSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(ONE_SECOND_ACTORSPLIT)
