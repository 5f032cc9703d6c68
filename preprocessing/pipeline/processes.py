"""Processes that work through tasks: forked, so they start at once, and gone when their parent is.

ProcessPoolExecutor with what it lacks: results in order with a few in flight, and no worker that
outlives a killed parent.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from config.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")
Results = Generator[Result, None, None]

TASKS_PER_WORKER = 3  # handed out, at work, or finished and not yet taken
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, from malloc.h
KEPT_BYTES = 1 << 25  # the most that M_MMAP_THRESHOLD allows
CAN_FORK = sys.platform == "linux"  # elsewhere system libraries do not survive it

_in_worker: dict[str, Callable[[Any], Any]] = {}


def keep_freed_memory() -> None:
    """Let freed memory stay with this process and those it forks, where the C library is GNU's.

    By default arrays of a few MB go back to the system at once; getting their pages anew then
    costs as much as what is computed in them.
    """
    with suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, 2 * KEPT_BYTES)
        set_option(M_MMAP_THRESHOLD, KEPT_BYTES)


def tasks_in_flight(workers: int) -> int:
    """Most results that exist at a time, the one that the caller works with included."""
    return TASKS_PER_WORKER * workers if workers > 1 else 1


def in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Results[Result]:
    """Results of the tasks in their order; closing the generator ends the processes.

    They finish the tasks that they are at, and start no others.

    Task i + tasks_in_flight(workers) starts after the caller is done with the result of task i.

    Args:
        function: inherited by the processes where they are forked, pickled elsewhere.

    Raises:
        UserError: one of the processes was killed.
    """
    context = multiprocessing.get_context("fork" if CAN_FORK else "spawn")
    reader, writer = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (function, reader, writer))
    waiting: deque[Future[Result]] = deque()
    gc.freeze()  # a collection, here or there, would copy the memory that the processes share
    try:
        for task in tasks:
            waiting.append(pool.submit(_apply, task))
            if len(waiting) == tasks_in_flight(workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        pool.shutdown()
    except BrokenProcessPool:
        raise UserError(
            "a process that prepared clips was killed, perhaps for lack of memory; the same "
            "command goes on from there, with fewer processes after --set workers=<number>"
        ) from None
    finally:
        # Not the other way round: a pool whose processes end by themselves may wait for ever.
        pool.shutdown(cancel_futures=True)
        writer.close()
        reader.close()
        gc.unfreeze()


def _begin_worker(function: Callable[[Any], Any], reader: Connection, writer: Connection) -> None:
    writer.close()  # the parent's end is now the only one
    threading.Thread(target=_end_with_parent, args=(reader,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends the workers
    _in_worker["function"] = function


def _end_with_parent(reader: Connection) -> None:
    reader.poll(None)
    os._exit(1)


def _apply(task: Any) -> Any:
    return _in_worker["function"](task)
