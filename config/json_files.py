"""Moved to config.files; here until nobody imports it."""

from config.files import read_json, require_fields
from config.files import require_file as require_plain_file

__all__ = ["read_json", "require_fields", "require_plain_file"]
