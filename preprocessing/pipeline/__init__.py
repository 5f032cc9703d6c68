"""The steps from audio to matrices that all corpora share."""
