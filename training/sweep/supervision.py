"""A process of its own for what talks to a Ray cluster: Ray ends the process whose cluster is lost.

The command goes on from there as soon as the cluster is back, as it would if typed again.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

from config.cluster import UnreachableError
from config.errors import UserError
from training.sweep.children import CONTEXT, begin_child, end, interruptible
from training.sweep.task import reason_of

RECONNECT_SECONDS = 600.0
PAUSE_SECONDS = 5.0
MAX_LOSSES = 20
END_SECONDS = 60.0

# (what says that the cluster is joined, the arguments) -> the exit code
Work = Callable[..., int]
Message = tuple[str, Any]


def supervised(work: Work, arguments: Sequence[Any]) -> int:
    """Do the work in a process of its own, again if the loss of the cluster ends it.

    Returns:
        Its exit code.

    Raises:
        UserError: raised by the work, or the cluster does not come back, or is lost too often.
    """
    losses, lost_at = 0, 0.0
    while True:
        messages = _once(work, arguments)
        kind, value = messages[-1]
        if kind == "code":
            return int(value)
        if kind == "joined":  # and nothing after that
            losses, lost_at = losses + 1, time.monotonic()
            print("the connection to the cluster was lost; the runs go on when it is back")
        waited = time.monotonic() - lost_at
        if kind == "refused" or not losses:
            raise UserError(str(value))
        if waited > RECONNECT_SECONDS:
            raise UserError(f"{value}; it did not come back within {RECONNECT_SECONDS:.0f} s")
        if losses > MAX_LOSSES:
            raise UserError(f"the connection to the cluster was lost {losses} times")
        time.sleep(PAUSE_SECONDS)


def _once(work: Work, arguments: Sequence[Any]) -> list[Message]:
    """What the work said, its end last."""
    reader, writer = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_child, args=(writer, work, tuple(arguments)))
    child.start()
    writer.close()
    try:
        messages = _heard(reader)
        child.join(END_SECONDS)
    finally:
        if child.is_alive():
            end(child, END_SECONDS)
        reader.close()
    return messages


def _heard(reader: Connection) -> list[Message]:
    messages: list[Message] = [("error", "the process that was to join the Ray cluster ended")]
    try:
        while messages[-1][0] in ("error", "joined"):
            messages.append(reader.recv())
    except EOFError:
        pass
    return messages


def _child(writer: Connection, work: Work, arguments: Sequence[Any]) -> None:
    begin_child()
    _silence_ray()

    has_joined = False

    def joined() -> None:
        nonlocal has_joined
        has_joined = True
        interruptions.enter_context(interruptible())  # Ray puts a handler of its own there
        writer.send(("joined", None))

    interruptions = ExitStack()
    try:
        with interruptible(), interruptions:
            code = work(joined, *arguments)
        writer.send(("code", code))
    except UnreachableError as error:
        writer.send(("unreachable", str(error)))
    except UserError as error:
        writer.send(("refused", str(error)))
    except KeyboardInterrupt:
        pass  # the parent ends it, and says so
    except Exception as error:
        from ray.exceptions import RayError

        # Only Ray's own errors say that the cluster is lost.
        if not isinstance(error, RayError):
            writer.send(("refused", reason_of(error)))
        elif not has_joined:
            writer.send(("unreachable", reason_of(error)))


def _silence_ray() -> None:
    """Ray's own code writes to the process's error output, and pages of it when it ends a process.

    What Python writes there still reaches the terminal.
    """
    terminal = os.dup(2)
    sys.stderr = open(terminal, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
