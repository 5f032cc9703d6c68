"""Processes of this machine that work for the one which the user started, and end with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess

from config.process import prepare_process

# Forked processes cannot use a GPU that their parent has used, nor Ray's threads.
CONTEXT = multiprocessing.get_context("spawn")
PATIENCE_SECONDS = 20.0


def begin_child() -> None:
    """What a child does first: the terminal's Ctrl-C is its parent's matter."""
    prepare_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGTERM interrupts the work as Ctrl-C does; without work it just ends a child."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        # Whoever ends all processes at once sends it twice: to the child, and through its parent.
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Processes that are started within it hear no Ctrl-C, and draw no progress bars."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


def end(child: BaseProcess, seconds: float) -> None:
    """Have a child leave everything in order and end; after some seconds without its consent."""
    child.terminate()
    child.join(seconds)
    if child.is_alive():
        child.kill()
        with suppress(AssertionError):  # reaped by another thread in the meantime
            child.join()
