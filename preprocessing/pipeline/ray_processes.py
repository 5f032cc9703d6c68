"""Tasks on the cores of a Ray cluster: in order, a few in flight, again where a node was lost.

What in_processes is for one machine. Ray itself runs a task anew whose process or node is gone.
"""

import os
import platform
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from config.cluster import INSTALLATION, joined
from config.errors import UserError
from config.sections import Cluster
from config.settings import display_path, printable
from preprocessing.pipeline.processes import TASKS_PER_WORKER, Results, keep_freed_memory

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_RETRIES = 5
LOOK_SECONDS = 2.0
CANCEL_SECONDS = 10.0
# A folder of network storage may show a new file to other machines only after a while.
APPEARANCE_SECONDS = 60.0
LONGEST_REASON = 300
GOES_ON = "the same command goes on from there"


def in_ray(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    cluster: Cluster,
    most_at_once: int = 0,
    files_of: Callable[[Task], Iterable[str | Path]] = lambda _task: (),
    report: Callable[[str], None] = lambda _text: None,
) -> Results[Result]:
    """Results of the tasks in their order; closing the generator ends those at work.

    Each task takes one core. TASKS_PER_WORKER of them for each core that the cluster has at the
    moment are handed out, at work, or finished and not yet taken. Arrays of a result lie in Ray's
    memory and cannot be written to; they are good until the generator ends.

    Args:
        function: sent once; may be applied to a task more than once, where a node is lost.
        most_at_once: tasks, whatever the number of cores; 0: no limit.
        files_of: what a task reads, which must lie at the same path on each node.
        report: told the cores and nodes that there are, each time that they change.

    Raises:
        UserError: Ray or a node cannot do the work; names the node that cannot read a file.
    """
    on_termination = signal.getsignal(signal.SIGTERM)
    with joined(cluster) as ray, _in_one_line(ray):
        # Ray would print where it was, and end the process without leaving things in order.
        if threading.current_thread() is threading.main_thread() and on_termination is not None:
            signal.signal(signal.SIGTERM, on_termination)
        apply = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_apply)
        shared = ray.put(function)
        size = _ClusterSize(ray, report)
        waiting: deque[Any] = deque()
        try:
            for task in tasks:
                waiting.append(apply.remote(shared, task, [str(file) for file in files_of(task)]))
                while len(waiting) >= size.tasks_in_flight(most_at_once):
                    yield _result_of(waiting, size)
            while waiting:
                yield _result_of(waiting, size)
        finally:
            _cancel(ray, waiting)


class _ClusterSize:
    """Cores and nodes of a cluster, which come and go."""

    def __init__(self, ray: Any, report: Callable[[str], None]) -> None:
        self._ray = ray
        self._report = report
        self._looked_at = float("-inf")
        self._found = (0, 0)

    def look(self) -> None:
        """Ask Ray, unless that was a moment ago."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cores = [int(resources.get("CPU", 0)) for resources in nodes]
        found = (sum(cores), sum(map(bool, cores)))
        if found != self._found:
            self._report(f"{found[0]} cores of {found[1]} nodes")
        self._found = found
        self._looked_at = time.monotonic()

    def tasks_in_flight(self, most: int) -> int:
        """Most results that exist at a time."""
        self.look()
        tasks = TASKS_PER_WORKER * max(1, self._found[0])
        return min(tasks, most) if most else tasks


def _result_of(waiting: "deque[Any]", size: _ClusterSize) -> Any:
    """The result of the task that waits longest."""
    # ray.get would make the same error of Ctrl-C and of SIGTERM.
    future: Future[Any] = waiting[0].future()
    while True:
        with suppress(TimeoutError):
            result, unreadable, node = future.result(timeout=LOOK_SECONDS)
            break
        size.look()
    waiting.popleft()
    for file in unreadable:
        if os.access(file, os.R_OK):
            raise UserError(
                f"{display_path(Path(file))}: node {node} cannot read it, this machine can; the "
                "folder must be on storage that all nodes of the cluster see under the same path"
            )
    return result


def _apply(
    function: Callable[[Task], Result], task: Task, files: Sequence[str]
) -> tuple[Result, list[str], str]:
    """On a node: the result, the files that cannot be read there, and the node's name."""
    keep_freed_memory()
    result = function(task)
    return result, [file for file in files if not os.access(file, os.R_OK)], platform.node()


def _cancel(ray: Any, waiting: Iterable[Any]) -> None:
    """End what is at work, and wait until it has: nothing is written afterwards."""
    left = list(waiting)
    for reference in left:
        with suppress(Exception):  # of a cluster that is gone; what ends the work says so
            ray.cancel(reference, force=True)
    if left:
        with suppress(Exception):
            ray.wait(left, num_returns=len(left), timeout=CANCEL_SECONDS, fetch_local=False)


def require_written(files: Iterable[Path]) -> None:
    """Make sure that files which nodes have written are there for this machine, too.

    Raises:
        UserError: one is not, after a while.
    """
    for file in files:
        last = time.monotonic() + APPEARANCE_SECONDS
        while not file.exists():
            if time.monotonic() > last:
                raise UserError(
                    f"{display_path(file)}: a node of the cluster has written it, but it is not "
                    "here; the folder must be on storage that all nodes see under the same path"
                )
            list(file.parent.iterdir())  # has network storage look again
            time.sleep(0.2)


@contextmanager
def _in_one_line(ray: Any) -> Iterator[None]:
    """Ray's errors as the user's; errors of the tasks as they were raised there."""
    errors = ray.exceptions
    try:
        yield
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ImportError | errors.RaySystemError):
            raise UserError(
                f"a node of the cluster cannot run this project ({_line(cause)}); install it there "
                f"as here, at the same version: pip install -e . and {INSTALLATION}"
            ) from None
        raise cause from None
    except (errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
        raise UserError(
            f"a node's object store and disk have no room for more clips ({_line(error)}); "
            f"{GOES_ON}, with fewer tasks at once after --set workers=<number>, or with a larger "
            "ray start --object-store-memory=<bytes>"
        ) from None
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
        raise UserError(
            f"processes of the cluster that prepared the same clips were killed {1 + MAX_RETRIES} "
            f"times, perhaps for lack of memory ({_line(error)}); {GOES_ON}, with fewer tasks at "
            "once after --set workers=<number>"
        ) from None
    except errors.RayError as error:
        raise UserError(f"the Ray cluster failed ({_line(error)}); {GOES_ON}") from None


def _line(error: object) -> str:
    return printable(" ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON])
