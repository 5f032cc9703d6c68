"""NSynth, instrument families: audio to the matrices nsynth."""

from preprocessing.corpora.nsynth import NOTES
from preprocessing.pipeline.extraction import preprocess_command

if __name__ == "__main__":
    preprocess_command(NOTES)
