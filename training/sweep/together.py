"""Several processes that train each run together, under torchrun or accelerate launch.

The main one decides what runs and writes; the others train what it names, and nothing else.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from config.errors import UserError
from training.engine.checks import TrainingError
from training.engine.distributed import broadcast
from training.sweep.launchers import train
from training.sweep.runs import Run
from training.sweep.task import Order, Outcome, carry_out

if TYPE_CHECKING:
    from training.sweep.instance import Workshop


class LeadingLauncher:
    """Runs each order while it is submitted, in this process and those that follow it.

    Args:
        runs: as the others know them, in the same order.
        workshop: what the runs share, on this process's device.
    """

    num_slots = 1
    is_elsewhere = False
    losses: tuple[type[BaseException], ...] = ()

    def __init__(self, runs: Sequence[Run], workshop: "Workshop") -> None:
        self._runs = list(runs)
        self._workshop = workshop
        self._others_wait = True

    def submit(self, order: Order) -> "Future[Outcome]":
        """Carry the order out, together.

        Raises:
            UserError: it failed in a way that the others may not know of; all of them end with
                this process.
        """
        future: Future[Outcome] = Future()
        outcome = carry_out(order, self._train)
        if not self._others_wait:
            raise UserError(f"{outcome.failure}; the processes that trained it together end here")
        future.set_result(outcome)
        return future

    def close(self) -> None:
        """Let the others go, unless they are in the middle of a run."""
        if self._others_wait:
            broadcast(None)

    def _train(self, run: Run) -> None:
        broadcast(self._runs.index(run))
        self._others_wait = False
        try:
            train(run, self._workshop)
        except TrainingError:  # of figures that are the same everywhere
            self._others_wait = True
            raise
        self._others_wait = True


def follow(runs: Sequence[Run], workshop: "Workshop") -> int:
    """Train what the main process names, until it names no more; returns the exit code."""
    number: int | None = broadcast(None)
    while number is not None:
        with suppress(TrainingError):  # the main process says it
            train(runs[number], workshop)
        number = broadcast(None)
    return 0
