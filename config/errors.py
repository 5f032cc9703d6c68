"""Errors that are meant to be read by a person: one line, no traceback, exit code 2."""


class UserError(Exception):
    """Something that the user can put right; its text is one line that says what and how."""


class ConfigError(UserError):
    """A configuration file, an experiment file or a --set argument holds something not allowed."""
