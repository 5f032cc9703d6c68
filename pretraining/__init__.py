"""From feature matrices to frozen networks of the orthogonal tasks."""
