"""Tasks worked on by all cores: results come in the order of the tasks, under one progress bar."""

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import TypeVar

from config.errors import UserError
from config.process import end_with_parent
from config.progress import ProgressBar

Task = TypeVar("Task")
Result = TypeVar("Result")

# Forked processes start at once; outside Linux system libraries do not survive a fork.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
TASKS_PER_WORKER = 3  # handed out, at work, or finished and not yet taken


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    description: str,
    unit: str,
    size_of: Callable[[Task], int] = lambda _task: 1,
) -> Generator[Result, None, None]:
    """Yield the results of a function for tasks, in the order of the tasks.

    Only a few results wait in memory at a time. Close the generator to end the processes before
    the last result.

    Args:
        function: pickled, as tasks and results are.
        workers: processes; 0: one per core that this process may use; 1: this process.
        size_of: units in a task, for the progress bar.

    Raises:
        UserError: a process was killed.
    """
    workers = min(workers or _num_cores(), len(tasks))
    total = sum(map(size_of, tasks))
    with ProgressBar(total, description, unit) as bar:
        here = (function(task) for task in tasks)
        with closing(_in_processes(function, tasks, workers) if workers > 1 else here) as results:
            for task, result in zip(tasks, results, strict=True):
                yield result
                bar.advance(size_of(task))


def _num_cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())


def _in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[Result, None, None]:
    context = multiprocessing.get_context(START_METHOD)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) == TASKS_PER_WORKER * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a process that prepared clips was killed, perhaps for lack of memory; try again with "
            "fewer processes: --set workers=<number>"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    # The parent hears of them, too, and ends the workers. One that ended by itself while it hands
    # over a result would leave the parent waiting for the rest of it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
