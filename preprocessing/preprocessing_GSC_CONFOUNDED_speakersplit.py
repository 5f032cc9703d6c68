"""Speech commands in misleading noise: audio to the matrices gsc_confounded_speakersplit."""

from preprocessing.corpora.gsc_confounded import SPEAKERSPLIT
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(SPEAKERSPLIT)
