"""Figures of the paper, and of a user's own results."""
