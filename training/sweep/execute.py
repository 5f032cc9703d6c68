"""One run as it is handed out: what the process that gets it does, and what it hands back."""

import re
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from config.errors import UserError
from config.files import Identity, identity_of, locked
from config.log import logger
from config.text import printable
from training.results.dictionary import InstanceFiles
from training.sweep.runs import Run


@dataclass(frozen=True)
class RunTask:
    """A run to be executed.

    Attributes:
        replaces: the result that it replaces; any other that is there makes the run superfluous.
            None: there was none.
    """

    run: Run
    replaces: Identity | None = None


@dataclass(frozen=True)
class RunResult:
    """What became of a task.

    Attributes:
        failure: why it failed, in one line; "": it did not.
        is_busy: another process is at the same run, so nothing was done.
        seconds: that it took; 0 if another process had finished it in the meantime.
        host: the machine that it ran on.
        text: what the run printed, if its process has no terminal.
    """

    failure: str = ""
    is_busy: bool = False
    seconds: float = 0.0
    host: str = ""
    text: str = ""


def execute(task: RunTask, train: Callable[[Run], object]) -> RunResult:
    """Train the run of a task, unless another process is at it or has finished it.

    Whatever goes wrong is in the result, so that other runs do not suffer from it.
    """
    run = task.run
    with locked(run.files.lock) as is_ours:
        if not is_ours:
            return RunResult(is_busy=True)
        result = RunResult(host=socket.gethostname())
        _remove_leftovers(run.files)
        if identity_of(run.files.json_path) in (None, task.replaces):
            started = time.monotonic()
            failure = attempt(run.title, lambda: train(run))
            result = replace(result, failure=failure, seconds=time.monotonic() - started)
        tidy(run.files)
    return result


def _remove_leftovers(files: InstanceFiles) -> None:
    """Remove what a process was writing of this run when it was killed, on whichever machine."""
    name = re.compile(rf"\..*_{re.escape(files.stem)}(_fold\d+)?\.\d+@[^@]*\.partial(\..*)?")
    for path in files.folder.rglob(".*.partial*"):
        if name.fullmatch(path.name):
            path.unlink(missing_ok=True)


def attempt(name: str, action: Callable[[], object]) -> str:
    """Do something that others must not suffer from; return what went wrong, or "".

    What is no error for people is printed with its traceback.
    """
    try:
        action()
    except Exception as error:  # whatever it is, the next run goes on
        if not isinstance(error, UserError | OSError):
            logger.warning("".join(traceback.format_exception(error)))
        return f"{name}: {reason_of(error)}"
    return ""


def reason_of(error: BaseException) -> str:
    """Return an error in one line; one that is not for people says its type.

    Ray's errors hold what went wrong on a node as their cause; they themselves are its traceback.
    """
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    text = printable(" ".join(str(error).split()))
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def tidy(files: InstanceFiles) -> None:
    """Remove the lock of a finished run, and the folder of unfinished ones if it is empty."""
    if files.json_path.exists():
        files.lock.unlink(missing_ok=True)
        with suppress(OSError):  # others of the experiment are unfinished
            files.unfinished.rmdir()
