"""Good-Sounds goodness, random split: audio to the matrices goodsounds_randsplit."""

from preprocessing.corpora.goodsounds import RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(RANDSPLIT)
