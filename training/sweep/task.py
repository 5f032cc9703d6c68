"""One run as it is handed out: what the process that gets it does, and what it says afterwards."""

import io
import re
import socket
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace

from config.errors import UserError
from config.files import Identity, identity_of
from config.locks import locked
from config.text import printable
from training.results.dictionary import InstanceFiles
from training.sweep.runs import Run

Train = Callable[[Run], None]


@dataclass(frozen=True)
class Order:
    """A run to be carried out.

    Attributes:
        stale: the result that it replaces; any other that is there makes the run superfluous. None:
            there was none.
        source: of the run whose weights it starts from, if any.
    """

    run: Run
    stale: Identity | None = None
    source: InstanceFiles | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    Attributes:
        failure: why it failed, in one line; "": it did not.
        is_busy: another process is at the same run, so nothing was done.
        text: what the run printed.
        seconds: that it took; 0 if another process had finished it in the meantime.
        host: the machine that it ran on.
    """

    failure: str = ""
    is_busy: bool = False
    text: str = ""
    seconds: float = 0.0
    host: str = ""


def carry_out(order: Order, train: Train) -> Outcome:
    """Train the run of an order, unless another process is at it or has finished it.

    Whatever goes wrong is in the outcome, so that other runs do not suffer from it.
    """
    run = order.run
    with locked(run.files.lock) as is_ours:
        if not is_ours:
            return Outcome(is_busy=True)
        outcome = Outcome()
        _remove_leftovers(run.files)
        if not is_finished(order):
            started = time.monotonic()
            outcome = Outcome(attempt(run.title, lambda: train(run)))
            outcome = replace(outcome, seconds=time.monotonic() - started)
        tidy(run.files)
    return replace(outcome, host=socket.gethostname())


def carry_out_quietly(order: Order, train: Train) -> Outcome:
    """The same for a process whose terminal is elsewhere: the outcome says what was printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        outcome = carry_out(order, train)
    return replace(outcome, text=printed.getvalue().strip())


def is_finished(order: Order) -> bool:
    """Whether there is a result that the order does not want to replace."""
    now = identity_of(order.run.files.json_path)
    return now is not None and now != order.stale


def _remove_leftovers(files: InstanceFiles) -> None:
    """What a process was writing of this run when it was killed, on whichever machine."""
    name = re.compile(rf"\..*_{re.escape(files.stem)}(_fold\d+)?\.\d+@[^@]*\.partial(\..*)?")
    for path in files.folder.rglob(".*.partial*"):
        if name.fullmatch(path.name):
            path.unlink(missing_ok=True)


def attempt(name: str, action: Callable[[], None]) -> str:
    """Do something that others must not suffer from; returns what went wrong, or ""."""
    try:
        action()
    except Exception as error:  # whatever it is, the next instance goes on
        return f"{name}: {reason_of(error)}"
    return ""


def reason_of(error: BaseException) -> str:
    """An error in one line; one that is not for people says its type.

    Ray's errors hold what went wrong on a node as their cause; they themselves are its traceback.
    """
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    text = printable(" ".join(str(error).split()))
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def tidy(files: InstanceFiles) -> None:
    """Remove what only unfinished instances need; a process that waits looks for the result."""
    if files.json_path.exists():
        files.lock.unlink(missing_ok=True)
        with suppress(OSError):  # others of the experiment are unfinished
            files.unfinished.rmdir()
