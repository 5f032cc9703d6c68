"""Files whole or not at all, JSON read with checks, and locks that end with their process."""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from config.errors import UserError
from config.log import logger
from config.text import display_path

Fields = TypeVar("Fields", bound=BaseModel)

PROBE_BYTES = 1 << 20
# Of which process on which machine: several may write into one folder.
PARTIAL_NAME = re.compile(r"\..*\.([0-9]{1,9})@([^@/]*)\.partial(\..*)?")
OLD_SECONDS = 24 * 3600
RESULTS_OPTION = "--set results_folder=FOLDER"
Identity = tuple[int, int, int]


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside the given one to write to; it takes the given name if all went well.

    The folder is made if need be; what was written is flushed to the disk before the renaming,
    and removed if an error ends the block.

    Raises:
        OSError: the disk does not take the file; names it, whichever error of its own the library
            raised that wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside_of(path)
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except Exception as error:
        refusal = error if isinstance(error, OSError) and error.errno else _probe(aside)
        if refusal is None or refusal.filename not in (None, str(aside)):
            raise
        raise OSError(refusal.errno, refusal.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # it would hide why the file could not be written
            aside.unlink(missing_ok=True)


def _aside_of(path: Path) -> Path:
    """Return where this process writes what will become the file of that name."""
    return path.with_name(f".{path.stem}.{os.getpid()}@{_host()}.partial{path.suffix}")


def _probe(aside: Path) -> OSError | None:
    """Return why no more can be written to a file, if that is so.

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


def remove_partial_files(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote.

    Whether those of another machine are alive cannot be seen: their files go when they are old.
    """
    import psutil

    for path in folder.glob(".*.partial*"):
        match = PARTIAL_NAME.fullmatch(path.name)
        if match is None:
            continue
        with suppress(FileNotFoundError):  # another process removed or finished it
            if match[2] == _host():
                left = not psutil.pid_exists(int(match[1]))
            else:
                left = time.time() - path.stat().st_mtime > OLD_SECONDS
            if left:
                path.unlink()


def _host() -> str:
    return socket.gethostname().replace("@", "")


def identity_of(path: Path) -> Identity | None:
    """Return what distinguishes a file from one that is written anew; None: there is none.

    A file that was written anew is another inode, for it was written aside and renamed.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path, errors: str = "strict") -> str:
    """Return a text file's content: UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Args:
        errors: what becomes of bytes that are none of it, as in bytes.decode.

    Raises:
        UserError: the file cannot be read, or is no such text.
    """
    name = display_path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    try:
        return content.decode(json.detect_encoding(content), errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"line {line} is no {error.encoding}; save it as UTF-8"
        raise UserError(f"{name}: is no text file: {problem}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the dictionary that a JSON file holds.

    Raises:
        UserError: the file is missing, is no JSON (NaN and infinity are none), or holds no
            dictionary.
    """
    name = display_path(path)
    try:
        content = json.loads(read_text(path), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: is no JSON file: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{name}: is no dictionary")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def require_fields(content: Any, model: type[Fields], place: str) -> Fields:
    """Check the types and ranges of what a file holds, and return it as the model.

    Args:
        model: declares the fields; others are ignored. Numbers must be numbers, texts texts.
        place: the file, for the error.

    Raises:
        UserError: names the first field that is missing or not as declared.
    """
    try:
        return model.model_validate(content, strict=True)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        reason = "missing" if problem["type"] == "missing" else reason
        raise UserError(": ".join(filter(None, (place, key, reason)))) from None


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yield whether this process has a run's lock within the block; False: another has it.

    Args:
        path: of the lock's file; its folder is made if need be.

    Raises:
        UserError: the file system gives no locks.
    """
    with _lock_at(path) as lock:
        yield _acquire(lock, path, RESULTS_OPTION, blocking=False)


@contextmanager
def waited_for(path: Path, work: str = "", option: str = RESULTS_OPTION) -> Iterator[None]:
    """Take the lock as soon as no other process has it.

    Args:
        path: as of locked.
        work: what the lock is for; if another process is at it, that is said. "": it takes a
            moment.
        option: what names another folder, for the error.

    Raises:
        UserError: the file system gives no locks.
    """
    with _lock_at(path) as lock:
        if not _acquire(lock, path, option, blocking=not work):
            logger.info(f"{work}: another process is at it; waiting until it ends")
            _acquire(lock, path, option, blocking=True)
        yield


@contextmanager
def _lock_at(path: Path) -> Iterator[FileLock]:
    """Yield a lock that is not taken yet; in the end it is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file that stands for a lock would outlive a process that is killed.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        yield lock
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, option: str, blocking: bool) -> bool:
    """Return whether this process has the lock now; False: another has it."""
    try:
        lock.acquire(blocking=blocking)
    except Timeout:
        return False
    except OSError as error:
        if error.filename is not None:  # the file cannot be opened, which is not the lock's fault
            raise
        raise UserError(
            f"{display_path(path)}: its file system gives no locks ({error.strerror or error}), "
            "without which two commands could write the same files; put the folder on a disk that "
            f"gives them, with {option}, or mount this one with locks (NFS: lockd; "
            "Lustre: flock)"
        ) from None
    return True
