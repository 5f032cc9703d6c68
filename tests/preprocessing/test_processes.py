"""Processes: order, how many results exist, and that none of them stays behind."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from config.errors import UserError
from config.settings import PROJECT_FOLDER
from preprocessing.pipeline import processes
from preprocessing.pipeline.processes import CAN_FORK, in_processes, tasks_in_flight

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="functions of tests cannot be pickled")

SECONDS_TO_END = 20.0

# A parent that says who its workers are and then waits to be killed.
PARENT = """
import os, time
from preprocessing.pipeline.processes import in_processes
results = in_processes(lambda task: os.getpid() if task < 6 else time.sleep(600), range(9), 2)
print({next(results) for _ in range(3)} | {os.getpid()}, flush=True)
next(results)
time.sleep(600)
"""


@pytest.fixture
def none_left() -> Iterator[None]:
    """No process that a test starts outlives it; earlier ones may have left some."""
    before = psutil.Process().children(recursive=True)
    yield
    assert psutil.Process().children(recursive=True) == before


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS_TO_END
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.usefixtures("none_left")
def test_order_and_number_of_processes() -> None:
    def where(task: int) -> tuple[int, int]:
        time.sleep(0.01 * (task % 3))
        return task, os.getpid()

    found = list(in_processes(where, range(20), 2))
    assert [task for task, _ in found] == list(range(20))
    assert len({process for _, process in found}) == 2
    assert os.getpid() not in {process for _, process in found}


def test_a_task_starts_after_the_caller_is_done_with_an_earlier_one(tmp_path: Path) -> None:
    """Memory that a result lies in may be filled again by the task that many places later."""

    def note(task: int) -> int:
        (tmp_path / str(task)).touch()
        return task

    distance = tasks_in_flight(2)
    for task in in_processes(note, range(20), 2):
        time.sleep(0.01)
        begun = {int(path.name) for path in tmp_path.iterdir()}
        assert max(begun) < task + distance
    assert len(begun) == 20


@pytest.mark.usefixtures("none_left")
def test_an_error_comes_through_and_ends_the_processes() -> None:
    def divide(task: int) -> float:
        return 1 / (3 - task)

    results = in_processes(divide, range(100), 2)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.usefixtures("none_left")
def test_closing_ends_processes_after_the_tasks_that_they_are_at() -> None:
    def work(task: int) -> int:
        time.sleep(0.5)
        return task

    results = in_processes(work, range(1000), 2)
    assert next(results) == 0
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < SECONDS_TO_END


@pytest.mark.usefixtures("none_left")
def test_a_killed_process_is_a_users_error_of_one_line() -> None:
    def end(task: int) -> int:
        if task == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(UserError, match=r"was killed.*--set workers=") as caught:
        list(in_processes(end, range(100), 2))
    assert "\n" not in str(caught.value)


def test_processes_leave_ctrl_c_to_their_parent() -> None:
    def interrupt(task: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return task

    assert list(in_processes(interrupt, range(4), 2)) == [0, 1, 2, 3]


def test_processes_end_with_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=PROJECT_FOLDER, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        numbers = [int(word) for word in parent.stdout.readline().strip("{}\n").split(",")]
        parent.kill()
        parent.wait()
    workers = [number for number in numbers if number != parent.pid]
    assert workers
    assert eventually(lambda: not any(map(psutil.pid_exists, workers)))


def test_where_processes_cannot_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CAN_FORK", False)
    assert list(in_processes(math.factorial, range(5), 2)) == [1, 1, 2, 6, 24]


def test_freed_memory_stays(tmp_path: Path) -> None:
    """Pages of an array that is made again and again are asked for once."""
    script = """
import resource, numpy as np, sys
from preprocessing.pipeline.processes import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    arrays = [np.ones(1 << 18) for _ in range(4)]
work(); work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""
    faults = [
        int(subprocess.check_output([sys.executable, "-c", script, word], cwd=PROJECT_FOLDER))
        for word in ("keep", "give back")
    ]
    if os.confstr("CS_GNU_LIBC_VERSION"):
        assert faults[0] < 100
    assert all(kept <= given for kept, given in pairwise(faults))
