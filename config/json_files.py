"""JSON files of this project as checked dictionaries, with one-line errors for what is none."""

import json
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from config.errors import UserError
from config.text import display_path, printable

LARGEST_BYTES = 2**28  # the split of a million clips takes a tenth of it


def read_json(
    path: Path, follow_links: bool = True, no_dictionary: str = "is no dictionary"
) -> dict[str, Any]:
    """A JSON file that holds one dictionary.

    Args:
        follow_links: whether the file may be a symbolic link; the folders above it always may.
        no_dictionary: what to say of a file that holds something else.

    Raises:
        UserError: it is missing, no plain file, larger than 256 MiB, no UTF-8 text, no JSON (NaN
            and infinity are none), or holds no dictionary.
    """
    require_plain_file(path, follow_links)
    name = printable(display_path(path))
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{name}: is larger than {LARGEST_BYTES // 2**20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{name}: is no JSON file: it is not UTF-8 text") from None
    except RecursionError:
        raise UserError(f"{name}: is no JSON file of this project: nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{name}: is no JSON file: {printable(str(error))}") from None
    if not isinstance(content, dict):
        raise UserError(f"{name}: {no_dictionary}")
    return content


def require_plain_file(path: Path, follow_links: bool = True) -> None:
    """Refuse what only looks like a file: a folder, a pipe, a device; on request, a symbolic link.

    A result or a model that is a link would let a foreign file in unseen. Folders may be links: to
    keep results on a larger disk is an honest wish.

    Raises:
        UserError: it is none, or is missing.
    """
    name = printable(display_path(path))
    try:
        if path.is_symlink() and not follow_links:
            raise UserError(
                f"{printable(str(path))}: is a symbolic link, which is not followed here; put the "
                "file itself there, or link its folder"
            )
        if not path.is_file():
            reason = "is no file" if path.exists() else "cannot be read: No such file or directory"
            raise UserError(f"{name}: {reason}")
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None


def require_fields(content: Any, model: type[BaseModel], place: str) -> None:
    """Check the types and ranges of what a file holds.

    Args:
        model: declares the fields; others are ignored. Numbers must be numbers, texts texts.
        place: the file, for the error.

    Raises:
        UserError: names the first field that is missing or not as declared.
    """
    try:
        model.model_validate(content, strict=True)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        reason = "missing" if problem["type"] == "missing" else reason
        raise UserError(printable(f"{place}: {key}: {reason}")) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
