"""What a process sets for itself before it computes anything, whatever environment it is given."""

import atexit
import ctypes
import io
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import UserError

# Options of glibc's mallopt (malloc.h). By default a large block is a mapping of its own, which
# goes back to the system as soon as it is freed: every step of a training then gets all its
# memory anew, page by page.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEP_FREED_MEMORY = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}
# Where packages keep files for the next time, by the variable that names another folder.
PACKAGE_FOLDERS = {
    "XDG_CACHE_HOME": "~/.cache",
    "XDG_CONFIG_HOME": "~/.config",
    "NUMBA_CACHE_DIR": "~/.cache/numba",
    "MPLCONFIGDIR": "~/.config/matplotlib",
}


def prepare_process() -> None:
    """Make any environment do, and steps on a CPU faster; changes no result.

    Before matplotlib, numba or torch are imported.

    Raises:
        UserError: the current folder, where paths of the command line start, is gone.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the folder that this is started in is gone; go to another: cd") from None
    open_closed_files()
    make_printable()
    provide_caches()
    # Threads of torch that wait by spinning for long make a run several times slower on busy cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Have the C library keep memory that is freed for what is allocated next.

    Returns:
        Whether it does. Only glibc can, on Linux.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) == 1 for option, value in KEEP_FREED_MEMORY.items())


def open_closed_files() -> None:
    """Let what is printed go nowhere where stdout or stderr is closed, as by >&- in a shell.

    Else the next file that is opened would have its number, and get what libraries print.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def make_printable() -> None:
    """Let a terminal or a log that knows few characters get ? for the others, not a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # stderr is not strict by itself


def provide_caches() -> None:
    """Give packages a folder until this process ends, where they cannot write into theirs.

    Without one librosa cannot be imported, or numba refuses to compile anything of it.
    """
    unwritable = [
        name
        for name, usual in PACKAGE_FOLDERS.items()
        if not _can_write(Path(os.environ.get(name) or usual))
    ]
    if unwritable:
        folder = tempfile.mkdtemp(prefix="anti-transfer-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= dict.fromkeys(unwritable, folder)


def _can_write(folder: Path) -> bool:
    """Tell whether a folder can be written into, or made."""
    try:
        path = folder.expanduser().absolute()
    except RuntimeError:  # this user has no home
        return False
    existing = next(each for each in (path, *path.parents) if os.access(each, os.F_OK))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


@contextmanager
def variables_set(**values: str) -> Iterator[None]:
    """Enter a block in which variables of the environment have other values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def end_with_parent() -> None:
    """Let this process end when the one that started it does, even if that is killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
