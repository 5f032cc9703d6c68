"""The launchers on one machine: the runs one after the other here, or one process for each GPU.

A launcher takes orders and gives futures of their outcomes; who decides what runs when is
`training.sweep.schedule`.
"""

import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Protocol

from config.sections import Cluster
from config.words import CPU
from training.sweep.children import (
    CONTEXT,
    PATIENCE_SECONDS,
    begin_child,
    interruptible,
    quiet_start,
)
from training.sweep.runs import Run
from training.sweep.task import Order, Outcome, carry_out, carry_out_quietly

if TYPE_CHECKING:
    from training.sweep.instance import Workshop

_workshops: "dict[int, Workshop]" = {}


class EndedError(Exception):
    """A run's process was told to end, by the manager or by a system short of memory."""


class Launcher(Protocol):
    """What `training.sweep.schedule.run_all` hands orders to.

    Attributes:
        is_elsewhere: whether runs are in other processes, so that the terminal is free for a view
            of all of them.
        losses: exceptions of a future that say that not the run failed, but what it ran on.
    """

    is_elsewhere: bool
    losses: tuple[type[BaseException], ...]

    @property
    def num_slots(self) -> int:
        """Orders that can be at work at a time, now; it may change."""

    def submit(self, order: Order) -> "Future[Outcome]":
        """Begin an order."""

    def close(self) -> None:
        """End what is at work; runs keep what their last epochs left."""


class InlineLauncher:
    """Runs each order while it is submitted, in this process.

    Args:
        workshop: what the runs share, on the device they use.
    """

    num_slots = 1
    is_elsewhere = False
    losses: tuple[type[BaseException], ...] = ()

    def __init__(self, workshop: "Workshop") -> None:
        self._workshop = workshop

    def submit(self, order: Order) -> "Future[Outcome]":
        """Carry the order out; the future has its outcome already."""
        future: Future[Outcome] = Future()
        future.set_result(carry_out(order, lambda run: train(run, self._workshop)))
        return future

    def close(self) -> None:
        """Nothing is at work."""


def train(run: Run, workshop: "Workshop") -> None:
    """Train a run's instance and write its result."""
    from training.sweep.instance import run_instance

    run_instance(run.instance, run.files, workshop, run.title)


@dataclass
class _Slot:
    """A GPU, or a part of one, with the process that uses it."""

    gpu: int
    pool: ProcessPoolExecutor | None = None
    future: "Future[Outcome] | None" = None
    children: list[BaseProcess] = field(default_factory=list)


class ProcessLauncher:
    """One process for each run that is at work, each on a GPU of its own or on a part of one.

    Args:
        gpus: a run at a time on each, more if a run takes a part only; CPU: on the cores.
        cluster: gpus_per_run, and cpus_per_run for the threads of each process.
    """

    is_elsewhere = True
    losses: tuple[type[BaseException], ...] = (BrokenProcessPool, EndedError)

    def __init__(self, gpus: Sequence[int], cluster: Cluster) -> None:
        self._threads = cluster.cpus_per_run
        self._slots = [_Slot(gpu) for gpu in slots_of(gpus, cluster)]
        self.num_slots = len(self._slots)

    def submit(self, order: Order) -> "Future[Outcome]":
        """Hand the order to a process that is free."""
        slot = next(each for each in self._slots if each.future is None or each.future.done())
        try:
            return self._begin(slot, order)
        except BrokenProcessPool:  # its process ended, with a run or after it
            self._end(slot)
            return self._begin(slot, order)

    def _begin(self, slot: _Slot, order: Order) -> "Future[Outcome]":
        if slot.pool is None:
            sharing = sum(each.gpu == slot.gpu for each in self._slots)
            slot.pool = ProcessPoolExecutor(1, CONTEXT, _begin_worker, (self._threads, sharing))
        before = set(multiprocessing.active_children())
        with quiet_start():  # the first order starts the process
            slot.future = slot.pool.submit(_work, order, slot.gpu)
        slot.children += set(multiprocessing.active_children()) - before
        return slot.future

    def close(self) -> None:
        """End all processes."""
        for slot in self._slots:
            if slot.future is not None and not slot.future.done():
                for child in slot.children:
                    child.terminate()  # all at once; each takes a moment
        for slot in self._slots:
            self._end(slot)

    def _end(self, slot: _Slot) -> None:
        if slot.future is not None and wait([slot.future], PATIENCE_SECONDS).not_done:
            for child in slot.children:
                child.kill()
        if slot.pool is not None:
            slot.pool.shutdown(cancel_futures=True)
        slot.pool, slot.children = None, []


def slots_of(gpus: Sequence[int], cluster: Cluster) -> list[int]:
    """The GPU of each run that is at work at a time: one that runs share stands there often."""
    shares = 1 if CPU in gpus else whole_parts(1, cluster.gpus_per_run)
    return [gpu for _ in range(shares) for gpu in gpus]


def whole_parts(available: float, part: float) -> int:
    """How often a part goes into what there is; 0.1 goes into 1 ten times."""
    return math.floor(available / part + 1e-9)


def _begin_worker(threads: int, sharing: int) -> None:
    from training.engine.device_memory import share_device

    begin_child()
    use_threads(threads)
    share_device(sharing)


def use_threads(number: int) -> None:
    """Let torch compute with so many threads: others compute beside."""
    import torch

    torch.set_num_threads(number)


def _work(order: Order, gpu: int) -> Outcome:
    try:
        with interruptible():
            return carry_out_quietly(order, lambda run: train(run, workshop_on(gpu)))
    except KeyboardInterrupt:
        raise EndedError("its process was told to end") from None


def workshop_on(gpu: int) -> "Workshop":
    """What the runs of this process share on a GPU."""
    from training.engine.devices import choose_device
    from training.sweep.instance import Workshop

    if gpu not in _workshops:
        _workshops[gpu] = Workshop(device=choose_device(gpu))
    return _workshops[gpu]
