"""Moved to config.selection; here until nobody imports it."""

from config.selection import (
    CPU,
    EXPERIMENTS_FOLDER,
    MANAGER,
    METAVAR,
    add_experiments_option,
    require_gpu,
    require_gpus,
)
from config.selection import RunSelection as Request
from config.selection import parse_selection as parse_words

__all__ = [
    "CPU",
    "EXPERIMENTS_FOLDER",
    "MANAGER",
    "METAVAR",
    "Request",
    "add_experiments_option",
    "parse_words",
    "require_gpu",
    "require_gpus",
]
