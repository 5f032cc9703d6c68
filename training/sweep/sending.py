"""Results of nodes that do not see the results folder: trained in a folder of their own, then sent.

Files go in pieces through an actor on the manager's machine, which renames them into place when
all of a run are there; no node and no store ever holds a whole model for that.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from config.files import aside_of, make_folder
from config.locks import locked
from training.results.dictionary import InstanceFiles
from training.sweep.task import Order, Outcome, Train, carry_out_quietly, is_finished, tidy

PIECE_BYTES = 16 * 2**20
Answer = Literal["begin", "busy", "finished"]
# Calls a method of the collector, wherever that lies, and waits for what it returns.
Call = Callable[..., Any]


class DeliveryLostError(Exception):
    """The collector knows nothing of a run: it was given to another node, or began anew."""


@dataclass
class _Delivery:
    """A run that a node is at: its lock is held here, its files so far lie beside their places."""

    files: InstanceFiles
    lock: ExitStack
    asides: dict[str, Path] = field(default_factory=dict)


class Collector:
    """Takes the files of runs, and gives those that other runs start from.

    Args:
        folder: the results folder; nothing is written or read elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._deliveries: dict[str, _Delivery] = {}

    def begin(self, ticket: str, order: Order) -> Answer:
        """Whether a node may train a run; its lock is held until `finish` or `release`."""
        files = order.run.files
        lock = ExitStack()
        if not lock.enter_context(locked(files.lock)):
            return "busy"
        if is_finished(order):
            tidy(files)
            lock.close()
            return "finished"
        self._deliveries[ticket] = _Delivery(files, lock)
        return "begin"

    def write(self, ticket: str, name: str, piece: bytes) -> None:
        """Append to a file of a run.

        Args:
            name: relative to the results folder.

        Raises:
            DeliveryLostError: the run was given to another node since.
            ValueError: the name leads out of the results folder.
        """
        delivery = self._delivery(ticket)
        if name not in delivery.asides:
            aside = aside_of(self._path(name))
            aside = aside.with_name(f".{ticket}{aside.name}")
            make_folder(aside.parent)
            aside.unlink(missing_ok=True)
            delivery.asides[name] = aside
        with delivery.asides[name].open("ab") as file:
            file.write(piece)

    def finish(self, ticket: str, last: str) -> None:
        """All files of a run are there: they get their names.

        Args:
            last: the name of the file that marks the run finished.
        """
        delivery = self._delivery(ticket)
        for aside in delivery.asides.values():
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
        # From here on the files no longer belong to the result of an earlier run.
        self._path(last).unlink(missing_ok=True)
        for name in sorted(delivery.asides, key=lambda each: each == last):
            delivery.asides.pop(name).replace(self._path(name))
        self.release(ticket)

    def release(self, ticket: str) -> None:
        """A run is over, or its node is lost: what it sent of unfinished files is removed."""
        delivery = self._deliveries.pop(ticket, None)
        if delivery is None:
            return
        for aside in delivery.asides.values():
            aside.unlink(missing_ok=True)
        tidy(delivery.files)
        delivery.lock.close()

    def read(self, name: str, start: int) -> bytes:
        """A piece of a file, empty at its end."""
        with self._path(name).open("rb") as file:
            file.seek(start)
            return file.read(PIECE_BYTES)

    def _delivery(self, ticket: str) -> _Delivery:
        if ticket not in self._deliveries:
            raise DeliveryLostError(f"delivery {ticket} is not expected here any more")
        return self._deliveries[ticket]

    def _path(self, name: str) -> Path:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{name}: leads out of the results folder")
        return self._folder / relative


def carry_out_and_send(order: Order, ticket: str, train: Train, call: Call) -> Outcome:
    """Train a run in a folder of this machine, and send what it wrote to the collector.

    Args:
        ticket: of this attempt.
        call: (name of a Collector's method, its arguments).
    """
    answer: Answer = call("begin", ticket, order)
    if answer != "begin":
        return Outcome(is_busy=answer == "busy")
    try:
        # In TMPDIR: about five times as large as the network's weights.
        with tempfile.TemporaryDirectory(prefix="anti-transfer-") as folder:
            moved = _moved(order, Path(folder))
            _fetch(order, Path(folder), call)
            outcome = carry_out_quietly(moved, train)
            if not outcome.failure:
                files = moved.run.files
                shutil.rmtree(files.unfinished, ignore_errors=True)
                _send(files, ticket, call)
    finally:
        call("release", ticket)
    return outcome


def _moved(order: Order, folder: Path) -> Order:
    """The same run with another results folder."""
    instance = order.run.instance
    results = instance.settings.results.model_copy(update={"results_folder": folder})
    settings = instance.settings.model_copy(update={"results": results})
    run = replace(
        order.run,
        instance=replace(instance, settings=settings),
        files=replace(order.run.files, results_folder=folder),
    )
    return Order(run)


def _fetch(order: Order, folder: Path, call: Call) -> None:
    """Bring the run whose weights this one starts from."""
    source = order.source
    if source is None:
        return
    num_folds = order.run.instance.settings.training_defaults.num_folds
    for path in (source.json_path, *map(source.model, range(num_folds))):
        name = path.relative_to(source.results_folder).as_posix()
        target = folder / name
        make_folder(target.parent)
        with target.open("wb") as file:
            while piece := call("read", name, file.tell()):
                file.write(piece)


def _send(files: InstanceFiles, ticket: str, call: Call) -> None:
    folder = files.results_folder
    last = files.json_path.relative_to(folder).as_posix()
    for path in _written(files):
        for piece in _pieces(path):
            call("write", ticket, path.relative_to(folder).as_posix(), piece)
    call("finish", ticket, last)


def _written(files: InstanceFiles) -> list[Path]:
    """All files of the run itself, and of its tracker."""
    folders = (files.folder, files.results_folder / "tracking")
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def _pieces(path: Path) -> Iterator[bytes]:
    """The file's content, at least one piece."""
    with path.open("rb") as file:
        yield file.read(PIECE_BYTES)
        while piece := file.read(PIECE_BYTES):
            yield piece
