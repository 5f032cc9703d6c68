"""Errors that are meant to be read by a person: one line, no traceback, exit code 2."""

from collections.abc import Sequence

from config.text import first_of

MOST_PROBLEMS = 10


class UserError(Exception):
    """Something that the user can put right; its text is one line that says what and how."""


def refuse_all(place: str, problems: Sequence[str], cure: str = "") -> None:
    """Make sure that there are no problems.

    Raises:
        UserError: there are; names their number and the first of them.
    """
    if problems:
        number = f"{len(problems)} problems: " if len(problems) > 1 else ""
        named = first_of(problems, MOST_PROBLEMS, "; ")
        raise UserError("; ".join(filter(None, [f"{place}: {number}{named}", cure])))


class ConfigError(UserError):
    """A configuration file, an experiment file or a --set argument holds something not allowed."""
