"""Miniature corpora, synthesized in the layouts of the real ones, to try everything in minutes."""
