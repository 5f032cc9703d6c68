"""Long work over many cores: in order, with a progress bar, and continued where it stopped.

A journal beside the output holds one line per finished task; a restart of the same plan skips
them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from preprocessing.pipeline.processes import Results

Task = TypeVar("Task")
Result = TypeVar("Result")


def fingerprint_of(value: Any) -> str:
    """A short hash of anything JSON can express; equal values give equal hashes."""
    return fingerprint_of_each([value])


def fingerprint_of_each(values: Iterable[Any]) -> str:
    """A short hash of values in their order; only one of them is in memory at a time."""
    digest = hashlib.sha256()
    for number, value in enumerate(values):
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
        digest.update(f"\n{text}".encode() if number else text.encode())
    return digest.hexdigest()[:16]


def num_workers(requested: int, num_tasks: int) -> int:
    """Processes that work on some tasks; requested 0: one per core that this process may use."""
    if not requested:
        from joblib import cpu_count

        requested = cpu_count()
    return min(requested, max(1, num_tasks))


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    description: str,
    unit: str,
    done: int = 0,
    size_of: Callable[[Task], int] = lambda _task: 1,
) -> "Results[Result]":
    """Apply a function to tasks in parallel processes; results come in the order of the tasks.

    Only a few results wait in memory at a time. One worker means: in this process. Close the
    generator to end the processes before the last result.

    Args:
        workers: processes; 0: one per core.
        done: units finished by an earlier run, for the progress bar.
        size_of: units in a task.

    Raises:
        UserError: a process was killed.
    """
    from tqdm import tqdm

    from preprocessing.pipeline.processes import in_processes

    workers = num_workers(workers, len(tasks))
    total = done + sum(map(size_of, tasks))
    results = in_processes(function, tasks, workers) if workers > 1 else _here(function, tasks)
    with (
        closing(results),
        tqdm(total=total, initial=done, desc=description, unit=unit, mininterval=0.5) as bar,
    ):
        for task, result in zip(tasks, results, strict=True):
            yield result
            bar.update(size_of(task))


def _here(function: Callable[[Task], Result], tasks: Iterable[Task]) -> "Results[Result]":
    for task in tasks:
        yield function(task)


class Journal(Generic[Result]):
    """One JSON line per finished task; lines of another plan, or half a line, do not count."""

    def __init__(self, path: Path, plan: str) -> None:
        self.path = path
        self.plan = plan
        self.records: list[Any] = self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rewrite()

    def _rewrite(self) -> None:
        aside = self.path.with_name(self.path.name + ".new")
        with aside.open("w", encoding="utf-8") as file:
            for line in ({"plan": self.plan}, *self.records):
                file.write(json.dumps(line) + "\n")
        aside.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def _read(self) -> list[Any]:
        if not self.path.exists():
            return []
        values = []
        try:
            with self.path.open(encoding="utf-8", newline="\n") as file:
                values = [json.loads(line) for line in file if line.endswith("\n")]
        except ValueError:
            return []
        return values[1:] if values and values[0] == {"plan": self.plan} else []

    def append(self, *records: Any) -> None:
        """Note finished tasks, on the disk before this returns."""
        self._file.write("".join(json.dumps(record) + "\n" for record in records))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.extend(records)

    def forget(self) -> None:
        """Start anew: what the finished tasks wrote is no longer there."""
        self.close()
        self.records.clear()
        self._rewrite()

    def close(self) -> None:
        """Stop writing; the file stays for a restart."""
        self._file.close()

    def remove(self) -> None:
        """The work is complete: no restart needs this any more."""
        self.close()
        self.path.unlink(missing_ok=True)
