"""IEMOCAP emotions, split by session: audio to the matrices iemocap_actorsplit."""

from preprocessing.corpora.iemocap import ACTORSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(ACTORSPLIT)
