"""What a value of the settings may be: its types, shared by all sections.

A value is checked here when it is read, and trusted from then on.
"""

import argparse
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from config.text import PROJECT_FOLDER

NAME = re.compile(r"[A-Za-z0-9_-]+")
COMMENT = r"(^|\s)[;#].*"
# What is left in a path after ~ and $VARIABLES are filled in, and why it cannot be one.
NO_PATHS = {
    COMMENT: "looks like a comment, which takes a line of its own; quote a path that has it",
    r"\$\{?\w*\}?": "is no variable of the environment",
    r"%\(\w+\)s|%\w+%|\{\w*\}|<\w+>|`.*": "is nothing that is filled in here; $HOME is",
    r"^[A-Za-z]:.*|^\\\\.*": "is a path of Windows; write where it is on this machine",
    r"^[\w.@-]+:/.*": "is on another machine; download it and write the folder",
    r".*\\.*": "has a backslash; write / between folders, and a space as it is",
    r"^[\"'].*|.*[\"']$": "has one of two quotes",
    r"^[\u2018-\u201f].*|.*[\u2018-\u201f]$": "has quotes of a text; write \" or '",
    r"[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\ufeff]": "(cannot be seen) cannot be in a path",
}


class ContradictionError(ValueError):
    """A value that is allowed by itself, but not beside another one of its section."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def _expanded_path(value: Any) -> Path | None:
    """Return a path as a shell reads it: quotes taken off, ~ and $VARIABLES filled in; '': None.

    Raises:
        ValueError: it holds what only other programs would fill in or cut off.
    """
    text = str(value).strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    text = text[1:-1].strip() if is_quoted else text
    text = os.path.expandvars(text)
    for pattern, problem in NO_PATHS.items():
        found = re.search(pattern, text)
        if found and not (is_quoted and pattern == COMMENT):
            raise ValueError(f"{found[0].strip()} {problem}")
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError:
        raise ValueError(f"{text.partition('/')[0]} is no user of this machine") from None


def path_argument(text: str) -> Path:
    """Return a path of the command line, read as one of an INI file.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        path = _expanded_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    if path is None:
        raise argparse.ArgumentTypeError("must be a path")
    return path


def _folder(value: Any) -> Path | None:
    """Return the path of a folder that is there or can be made, as seen from the project's."""
    path = _expanded_path(value)
    if path is None:
        return None
    path = PROJECT_FOLDER / path
    existing = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not existing.is_dir():
        raise ValueError(f"{existing} is no folder")
    return path


def _declared_path(value: Any, info: ValidationInfo) -> Path | None:
    """Return the path as seen from the file that declares it; context holds each key's entry."""
    path = _expanded_path(value)
    return path and (info.context or {})[info.field_name].folder / path


def split_list(separator: str, value: Any) -> Any:
    """Return the parts of a text, () of an empty one; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(separator)) if value.strip() else ()


def split_layers(value: Any) -> Any:
    """Return one group for each frozen network: '3, 5; 13' -> (('3', '5'), ('13',))."""
    return tuple(split_list(",", group) for group in split_list(";", value))


def _layer(text: str) -> int | str:
    """Return the number of a convolution or the name of a module; only its network knows them."""
    if re.fullmatch(r"[1-9][0-9]{0,5}", text):
        return int(text)
    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", text):
        return text
    raise ValueError("must be the number of a convolution, from 1, or the name of a module")


def registered(module: str, registry: str) -> AfterValidator:
    """Return the check that a value is a name in a registry, which is imported only then."""

    def check(value: str) -> str:
        names = list(getattr(import_module(module), registry))
        if value not in names:
            raise ValueError(f"must be one of {', '.join(map(repr, names))}")
        return value

    return AfterValidator(check)


def _clean_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be a name of letters, digits, - and _")
    return value


EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
Count = Annotated[int, Field(ge=1, le=1_000_000)]
OptionalCount = Annotated[Count | None, EMPTY_IS_NONE]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
WindowSize = Annotated[int, Field(ge=16, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
OptionalSeconds = Annotated[Seconds | None, EMPTY_IS_NONE]
Folder = Annotated[Path, BeforeValidator(_folder)]
OptionalFolder = Annotated[Path | None, BeforeValidator(_folder)]
DeclaredPath = Annotated[Path, BeforeValidator(_declared_path)]
OptionalDeclaredPath = Annotated[Path | None, BeforeValidator(_declared_path)]
Name = Annotated[str, AfterValidator(_clean_name)]
OptionalName = Annotated[Name | None, EMPTY_IS_NONE]
Columns = Annotated[tuple[str, ...], BeforeValidator(lambda value: split_list(",", value))]
Task = Literal["classification", "regression"]
Layer = Annotated[int | str, BeforeValidator(_layer)]
OptionalLayer = Annotated[
    int | str | None, BeforeValidator(lambda value: _layer(value) if value else None)
]
LayerGroups = Annotated[tuple[tuple[Layer, ...], ...], BeforeValidator(split_layers)]
Betas = Annotated[tuple[NonNegative, ...], BeforeValidator(lambda value: split_list(";", value))]


class Section(BaseModel):
    """One section: every key must be known and valid, and none can be changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
