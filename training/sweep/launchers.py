"""Who executes runs: this process, one process for each GPU, or another way of LAUNCHERS.

A launcher takes tasks and gives futures of their results; who decides what runs when is
`training.sweep.schedule`.
"""

import argparse
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING

from config import advice
from config.command_line import EXIT_TERMINATED
from config.process import end_with_parent, prepare_process
from config.selection import CPU
from config.settings import Cluster
from training.sweep.execute import RunResult, RunTask, execute
from training.sweep.progress import above_bars
from training.sweep.runs import Run
from training.sweep.search import with_chosen_settings

if TYPE_CHECKING:
    from training.sweep.input_cache import InputCache
    from training.sweep.run_context import RunContext

# A forked process cannot use a GPU that its parent has used, and torch's threads are not in it.
SPAWN = multiprocessing.get_context("spawn")
CLOSING_SECONDS = 20.0


class Launcher:
    """Executes each run while it is submitted, in this process; what others do otherwise.

    Attributes:
        num_slots: tasks that may be at work at a time.
    """

    num_slots: float = 1

    def __init__(self, context: "RunContext") -> None:
        self._context = context

    def submit(self, task: RunTask) -> "Future[RunResult]":
        """Begin a task.

        Raises:
            UserError: what the runs need is lost, so that no other can be begun either.
        """
        future: Future[RunResult] = Future()
        with above_bars():
            future.set_result(execute(task, self._train))
        return future

    def _train(self, run: Run) -> None:
        train_run(run, self._context)

    def check(self) -> None:
        """See whether what executes the runs is still there.

        Raises:
            UserError: it is not.
        """

    def close(self) -> None:
        """End what is at work; runs keep what their last epochs left."""


def train_run(run: Run, context: "RunContext") -> None:
    """Train a run's instance and write its result."""
    from training.sweep.instance import run_instance

    run = with_chosen_settings(run, context.inputs.results)
    run_instance(run.instance, run.files, context, run.title)


class ProcessLauncher(Launcher):
    """One process for each run that is at work, each on a GPU of its own or on a part of one.

    Args:
        gpus: one for each process; CPU: on the cores.
        num_threads: of each process.
    """

    def __init__(self, gpus: Sequence[int], num_threads: int) -> None:
        self.num_slots = len(gpus)
        self._gpus = SPAWN.SimpleQueue()
        for gpu in gpus:
            self._gpus.put(gpu)
        options = (self._gpus, num_threads, advice.given())
        self._pool = ProcessPoolExecutor(len(gpus), SPAWN, _begin_worker, options)
        self._futures: list[Future[RunResult]] = []

    def submit(self, task: RunTask) -> "Future[RunResult]":
        """Hand the task to a process that is free."""
        future: Future[RunResult] = Future()
        try:
            with _ctrl_c_ignored():  # by the processes that this starts
                future = self._pool.submit(_execute_in_worker, task)
        except BrokenProcessPool as error:  # one of them ended between two runs
            future.set_exception(error)
        self._futures.append(future)
        return future

    def close(self) -> None:
        """End all processes, those in the middle of a run after a moment for leaving order."""
        children = multiprocessing.active_children()
        is_idle = all(future.done() for future in self._futures)
        for child in () if is_idle else children:
            child.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.join(CLOSING_SECONDS)
            if child.is_alive():
                child.kill()


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


_worker_context: "list[RunContext]" = []


def _begin_worker(
    gpus: "multiprocessing.SimpleQueue[int]", num_threads: int, arguments: argparse.Namespace
) -> None:
    """Do what a process does first; it ends with the one that started it, however that ends."""
    prepare_process()
    advice.remember(arguments)
    end_with_parent()
    signal.signal(signal.SIGTERM, _end_run)
    os.environ["TQDM_DISABLE"] = "1"
    _worker_context.append(context_on(gpus.get(), num_threads))


def _end_run(_number: int, _frame: object) -> None:
    # Whoever ends all processes at once sends it twice: to this one, and through its parent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(EXIT_TERMINATED)


def _execute_in_worker(task: RunTask) -> RunResult:
    return execute_silently(task, lambda run: train_run(run, _worker_context[0]))


def execute_silently(task: RunTask, action: Callable[[Run], object]) -> RunResult:
    """Execute a task in a process without a terminal: the result holds what was printed."""
    printed = StringIO()
    with redirect_stdout(printed):
        result = execute(task, action)
    return replace(result, text=printed.getvalue().strip())


@cache
def context_on(gpu: int, num_threads: int) -> "RunContext":
    """Return what the runs of a process share, on a GPU, others computing beside."""
    import torch

    from training.engine.devices import choose_device
    from training.sweep.run_context import RunContext

    torch.set_num_threads(num_threads)
    return RunContext(choose_device(gpu))


def launch_here(
    gpus: Sequence[int], cluster: Cluster, _runs: Sequence[Run], inputs: "InputCache"
) -> Launcher:
    """Return the launcher of this machine: this process, or one for each run at a time."""
    from training.engine.devices import choose_device
    from training.sweep.run_context import RunContext

    devices = [choose_device(gpu) for gpu in gpus]
    slots = slots_of(gpus, cluster)
    if len(slots) > 1:
        return ProcessLauncher(slots, cluster.cpus_per_run)
    return Launcher(RunContext(devices[0], inputs))


def launch_on_ray(
    gpus: Sequence[int], cluster: Cluster, runs: Sequence[Run], _inputs: "InputCache"
) -> Launcher:
    """Return the launcher of a Ray cluster, which gives each run a GPU of its own choice."""
    from training.sweep.ray_launcher import RayLauncher

    return RayLauncher(cluster, CPU in gpus, runs[0].files.results_folder)


# By [cluster] launcher.
LAUNCHERS: "dict[str, Callable[[Sequence[int], Cluster, Sequence[Run], InputCache], Launcher]]" = {
    "local": launch_here,
    "ray": launch_on_ray,
}


def slots_of(gpus: Sequence[int], cluster: Cluster) -> list[int]:
    """Return the GPU of each run that is at work at a time: one that runs share stands there often.

    Of the floating-point shares 0.1 goes into a GPU ten times.
    """
    shares = 1 if CPU in gpus else math.floor(1 / cluster.gpus_per_run + 1e-9)
    return [gpu for _ in range(shares) for gpu in gpus]
