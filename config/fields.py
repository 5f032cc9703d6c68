"""What a value of the settings may be: its types, shared by all sections.

A value is checked here when it is read, and trusted from then on.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from config.text import PROJECT_FOLDER

NUM_CONVOLUTIONS = 13
NAME = re.compile(r"[A-Za-z0-9_-]+")


class ContradictionError(ValueError):
    """A value that is allowed by itself, but not beside another one of its section."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def _project_path(value: Path) -> Path:
    try:
        return PROJECT_FOLDER / value.expanduser()
    except RuntimeError as error:  # ~somebody, who is no user of this machine
        raise ValueError(str(error)) from None


def _declared_path(value: Path, info: ValidationInfo) -> Path:
    """Return the path as seen from the file that declares it; context holds each key's folder."""
    return Path((info.context or {}).get(info.field_name, PROJECT_FOLDER)) / value.expanduser()


def split_list(separator: str, value: Any) -> Any:
    """Return the parts of a text, () of an empty one; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(separator)) if value.strip() else ()


def split_layers(value: Any) -> Any:
    """Return one group for each frozen network: '3, 5; 13' -> (('3', '5'), ('13',))."""
    return tuple(split_list(",", group) for group in split_list(";", value))


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
OptionalSeconds = Annotated[Annotated[float, Field(gt=0, le=3600)] | None, EMPTY_IS_NONE]
Folder = Annotated[Path, AfterValidator(_project_path)]
OptionalFolder = Annotated[Folder | None, EMPTY_IS_NONE]
DeclaredPath = Annotated[Path, AfterValidator(_declared_path)]
OptionalDeclaredPath = Annotated[DeclaredPath | None, EMPTY_IS_NONE]
Name = Annotated[str, AfterValidator(_clean_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(lambda value: split_list(",", value))]
Layer = Annotated[int, Field(ge=1, le=NUM_CONVOLUTIONS)]
LayerGroups = Annotated[tuple[tuple[Layer, ...], ...], BeforeValidator(split_layers)]
Betas = Annotated[tuple[NonNegative, ...], BeforeValidator(lambda value: split_list(";", value))]


class Section(BaseModel):
    """One section: every key must be known and valid, and none can be changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
