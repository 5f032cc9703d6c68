"""Moved to config.settings; here until nobody imports it."""

from config.settings import NUM_CONVOLUTIONS, Cluster

__all__ = ["NUM_CONVOLUTIONS", "Cluster"]
