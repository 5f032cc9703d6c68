"""Long work over many cores: in order, with a progress bar, and continued where it stopped.

A journal beside the output holds one line per finished task; a restart of the same plan skips
them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from config.cluster import require_cluster
from config.sections import Cluster
from config.settings import Settings

if TYPE_CHECKING:
    from preprocessing.pipeline.processes import Results

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Crew:
    """Who works through tasks: processes of this machine, or the cores of a Ray cluster.

    workers: processes, or tasks at once on the cluster; 0: one per core, as many as it can do.
    cluster: None: this machine.
    """

    workers: int
    cluster: Cluster | None = None


def crew_of(settings: Settings) -> Crew:
    """Who works according to [preprocessing] workers and [cluster] launcher.

    Raises:
        UserError: the cluster is to work, and does not answer.
    """
    on_ray = settings.cluster.launcher == "ray"
    if on_ray:
        require_cluster(settings.cluster)
    return Crew(settings.preprocessing.workers, settings.cluster if on_ray else None)


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
    crew: Crew,
    description: str,
    unit: str,
    done: int = 0,
    size_of: Callable[[Task], int] = lambda _task: 1,
    files_of: Callable[[Task], Iterable[str | Path]] = lambda _task: (),
) -> "Results[Result]":
    """Apply a function to tasks in parallel processes; results come in the order of the tasks.

    Only a few results wait in memory at a time. One worker means: in this process. Close the
    generator to end the processes before the last result.

    Args:
        done: units finished by an earlier run, for the progress bar.
        size_of: units in a task.
        files_of: what a task reads; the nodes of a cluster must see it, too.

    Raises:
        UserError: a process was killed, or the cluster cannot do the work.
    """
    from tqdm import tqdm

    total = done + sum(map(size_of, tasks))
    with tqdm(total=total, initial=done, desc=description, unit=unit, mininterval=0.5) as bar:
        results = _results(function, tasks, crew, files_of, bar.set_postfix_str)
        with closing(results):
            for task, result in zip(tasks, results, strict=True):
                yield result
                bar.update(size_of(task))


def _results(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    crew: Crew,
    files_of: Callable[[Task], Iterable[str | Path]],
    report: Callable[[str], None],
) -> "Results[Result]":
    if crew.cluster is not None:
        from preprocessing.pipeline.ray_processes import in_ray

        return in_ray(function, tasks, crew.cluster, crew.workers, files_of, report)
    from preprocessing.pipeline.processes import in_processes

    workers = num_workers(crew.workers, len(tasks))
    return in_processes(function, tasks, workers) if workers > 1 else _here(function, tasks)


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
