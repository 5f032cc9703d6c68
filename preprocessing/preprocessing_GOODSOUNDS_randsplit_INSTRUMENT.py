"""Good-Sounds instruments: audio to the matrices goodsounds_instrument_randsplit."""

from preprocessing.corpora.goodsounds import INSTRUMENT_RANDSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(INSTRUMENT_RANDSPLIT)
