"""When the instances of an experiment do what, and how much memory their process takes.

python -m benchmarks.stopwatch LAPS.json <arguments of experiments_manager.py>
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import experiments_manager
from config.command_line import run_command
from config.files import write_json

STATUS = Path("/proc/self/status")


@dataclass
class Laps:
    """When an instance began, got its first batch, was trained, measured and written.

    In s of time.monotonic(), which is the same in all processes.

    Attributes:
        epochs: when each epoch began.
    """

    begun: float = 0.0
    first_batch: float = 0.0
    trained: float = 0.0
    measured: float = 0.0
    written: float = 0.0
    seconds_of_features: float = 0.0
    epochs: list[float] = field(default_factory=list)

    @property
    def seconds_of_epochs(self) -> list[float]:
        """Of each epoch, with its figures and what is kept of it."""
        ends = [*self.epochs[1:], self.trained]
        return [end - begin for begin, end in zip(self.epochs, ends, strict=True)]


@dataclass
class Stopwatch:
    """Notes the laps of all instances that are run in this process while it is open."""

    instances: list[Laps] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> "Stopwatch":
        from training.data.batches import ExampleSet
        from training.data.frozen_cache import FeatureStore
        from training.engine import folds
        from training.sweep import instance

        watched: list[tuple[Any, str, Callable[..., Any]]] = [
            (instance, "run_instance", self._running),
            (instance, "train_fold", self._until("measured")),
            (folds, "fit", self._until("trained")),
            (FeatureStore, "features", self._computing_features),
            (ExampleSet, "training_batches", self._epoch),
        ]
        for owner, name, watch in watched:
            original = getattr(owner, name)
            self._stack.enter_context(mock.patch.object(owner, name, _wrapped(original, watch)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _running(self, original: Callable[[], Any]) -> Any:
        self.instances.append(Laps(begun=now()))
        result = original()
        self.instances[-1].written = now()
        return result

    def _until(self, lap: str) -> Callable[[Callable[[], Any]], Any]:
        def watch(original: Callable[[], Any]) -> Any:
            result = original()
            setattr(self.instances[-1], lap, now())
            return result

        return watch

    def _computing_features(self, original: Callable[[], Any]) -> Any:
        start = now()
        result = original()
        self.instances[-1].seconds_of_features += now() - start
        return result

    def _epoch(self, original: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        laps = self.instances[-1]
        laps.epochs.append(now())
        for batch in original():
            laps.first_batch = laps.first_batch or now()
            yield batch


def _wrapped(original: Callable[..., Any], watch: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: watch(lambda: original(*args, **kwargs))


def now() -> float:
    """Seconds, after everything that a GPU was asked for is done."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.monotonic()


def peak_process_bytes() -> int | None:
    """The most memory that this process held at one time; None where Linux does not tell.

    Pages of memory-mapped files count. The figure of getrusage() would not do: it begins with that
    of the process that started this one.
    """
    if not STATUS.exists():
        return None
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None


def peak_gpu_bytes() -> int | None:
    """The most memory that tensors took on the GPU at one time; None if it was not used."""
    import torch

    is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.cuda.max_memory_allocated() if is_used else None


def main(words: list[str]) -> int:
    """Run experiments_manager.py; the laps and peaks go to the file that is named first."""
    path, *words = words
    arguments = experiments_manager.build_parser().parse_intermixed_args(words)
    with Stopwatch() as stopwatch:
        code = experiments_manager.main(arguments)
    laps = [
        {**asdict(each), "seconds_of_epochs": each.seconds_of_epochs}
        for each in stopwatch.instances
    ]
    content = {
        "instances": laps,
        "process_bytes": peak_process_bytes(),
        "gpu_bytes": peak_gpu_bytes(),
    }
    write_json(Path(path), content)
    return code


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
