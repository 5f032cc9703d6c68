"""The same as preprocessing_GOODSOUNDS_actorsplit, under its other name."""

from preprocessing.corpora.goodsounds import INSTRUMENTSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(INSTRUMENTSPLIT)
