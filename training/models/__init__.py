"""Networks: which there are, how they are built, and their weights on the disk."""
