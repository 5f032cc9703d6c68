"""One process at a time: files that are locked while work is done, and free when it has ended.

The system lets go of a lock when its process ends, however it ends; the files may stay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yield whether this process has the lock within the block; False: another has it.

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
    """Take the lock as soon as no other process has it; for work that takes a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield
