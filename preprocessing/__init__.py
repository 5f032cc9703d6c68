"""From audio corpora to feature matrices: scripts a user runs, one per corpus and task."""
