"""What a process that trains sets for itself, before it computes anything."""

import ctypes
import multiprocessing
import os
import platform
import threading

# Options of glibc's mallopt (malloc.h). By default a large block is a mapping of its own, which
# goes back to the system as soon as it is freed: every step of a training then gets all its
# memory anew, page by page.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEP_FREED_MEMORY = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}


def prepare_process() -> None:
    """Set what makes steps on a CPU faster, and changes no result."""
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


def end_with_parent() -> None:
    """Let this process end when the one that started it does, even if that is killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
