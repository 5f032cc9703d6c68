"""Long work over many cores: in order, with a progress bar, and continued where it stopped.

A journal beside the output holds one line per finished task; a restart of the same plan skips
them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


def fingerprint_of(value: Any) -> str:
    """A short hash of anything JSON can express; equal values give equal hashes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    description: str,
    unit: str,
    done: int = 0,
    size_of: Callable[[Task], int] = lambda _task: 1,
) -> Iterator[Result]:
    """Apply a function to tasks in parallel processes; results come in the order of the tasks.

    Only a few results wait in memory at a time. One worker means: in this process.

    Args:
        workers: processes; 0: one per core.
        done: units finished by an earlier run, for the progress bar.
        size_of: units in a task.
    """
    from joblib import Parallel, cpu_count, delayed

    workers = min(workers or cpu_count(), max(1, len(tasks)))
    parallel = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="3*n_jobs")
    total = done + sum(map(size_of, tasks))
    with tqdm(total=total, initial=done, desc=description, unit=unit, mininterval=0.5) as bar:
        results = parallel(delayed(function)(task) for task in tasks)
        for task, result in zip(tasks, results, strict=True):
            yield result
            bar.update(size_of(task))


class Journal(Generic[Result]):
    """One JSON line per finished task; lines of another plan, or half a line, do not count."""

    def __init__(self, path: Path, plan: str) -> None:
        self.path = path
        self.plan = plan
        self.records: list[Any] = self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rewrite()

    def _rewrite(self) -> None:
        lines = [{"plan": self.plan}, *self.records]
        aside = self.path.with_name(self.path.name + ".new")
        aside.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        aside.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def _read(self) -> list[Any]:
        if not self.path.exists():
            return []
        try:
            *lines, _unfinished = self.path.read_text(encoding="utf-8").split("\n")
            values = [json.loads(line) for line in lines]
        except ValueError:
            return []
        return values[1:] if values and values[0] == {"plan": self.plan} else []

    def append(self, record: Any) -> None:
        """Note a finished task, on the disk before this returns."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

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
