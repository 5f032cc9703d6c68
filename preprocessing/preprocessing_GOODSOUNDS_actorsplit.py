"""Good-Sounds goodness, split by instrument: audio to the matrices goodsounds_instrumentsplit."""

from preprocessing.corpora.goodsounds import INSTRUMENTSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(INSTRUMENTSPLIT)
