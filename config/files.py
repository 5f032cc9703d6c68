"""Files appear under their final name only when they are complete."""

import errno
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from config.errors import UserError

PROBE_BYTES = 1 << 20
# Of which process on which machine: several may write into one folder.
PARTIAL_NAME = re.compile(r"\..*\.([0-9]+)@([^@/]*)\.partial(\..*)?")
OLD_SECONDS = 24 * 3600
Identity = tuple[int, int, int]


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside the given one to write to; it takes the given name if nothing went wrong.

    The folder is made if need be; what was written is flushed to the disk before the renaming,
    and removed if an error ends the block.

    Raises:
        OSError: the disk does not take the file; names it, whichever error of its own the library
            raised that wrote it.
    """
    make_folder(path.parent)
    aside = aside_of(path)
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except Exception as error:
        refusal = _refusal(error, aside)
        if refusal is None:
            raise
        raise OSError(refusal.errno, refusal.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # it would hide why the file could not be written
            aside.unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    """Where this process writes what will become the file of that name."""
    return path.with_name(f".{path.stem}.{os.getpid()}@{_host()}.partial{path.suffix}")


def identity_of(path: Path) -> Identity | None:
    """What distinguishes a file from one that is written anew; None: there is none.

    A file that was written anew is another inode, for it was written aside and renamed.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        NotADirectoryError: a file has the name of one of them; names it.
        OSError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        there = (each for each in (folder, *folder.parents) if os.path.lexists(each))
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(next(there, folder))
        ) from None


def remove_partial_files(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote.

    Whether those of another machine are alive cannot be seen: their files go when they are old.
    """
    for path in folder.glob(".*.partial*"):
        match = PARTIAL_NAME.fullmatch(path.name)
        if match and (_is_dead(int(match[1])) if match[2] == _host() else _is_old(path)):
            path.unlink(missing_ok=True)


def _host() -> str:
    return socket.gethostname().replace("@", "")


def _is_old(path: Path) -> bool:
    identity = identity_of(path)
    return identity is not None and time.time_ns() - identity[2] > OLD_SECONDS * 10**9


def _is_dead(process: int) -> bool:
    import psutil

    try:  # a dead process whose parent has not asked for its exit code still has its number
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.AccessDenied:
        return False


def _refusal(error: Exception, aside: Path) -> OSError | None:
    """What the disk said, if it is the cause of an error; None: something else is."""
    if isinstance(error, UserError):
        return None
    causes = (error, *error.args)
    found = next((each for each in causes if isinstance(each, OSError) and each.errno), None)
    if found is None:
        return _probed(aside)
    return found if found.filename is None or str(found.filename) == str(aside) else None


def _probed(aside: Path) -> OSError | None:
    """Why no more can be written to a file, if that is so.

    On a full disk torch raises a RuntimeError about positions, libsndfile one of its own, NumPy an
    OSError without a number: only the disk itself can tell.
    """
    try:
        with aside.open("ab") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as refusal:
        return refusal
    return None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
