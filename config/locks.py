"""One process at a time: files that are locked while work is done, and free when it has ended.

The system lets go of a lock when its process ends, however it ends; the files may stay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from config.errors import UserError
from config.text import display_path


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock within the block; False: another has it.

    Args:
        path: of the lock's file; its folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """The lock, as soon as no other process has it; for work that takes a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def reserved(path: Path, work: str) -> Iterator[None]:
    """The lock for work that no second process may do at the same time.

    Raises:
        UserError: another process is doing it.
    """
    with locked(path) as is_ours:
        if not is_ours:
            raise UserError(
                f"{display_path(path)}: another process {work} at the moment; wait for it, then "
                "the same command goes on from there"
            )
        yield
