"""Tasks over several processes: in order, a few at a time, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from config.errors import UserError
from config.text import PROJECT_FOLDER
from preprocessing.pipeline.workers import map_in_order

SECONDS = 30  # within which processes must have ended
FOREVER = """
import time
from preprocessing.pipeline.workers import map_in_order
if __name__ == "__main__":
    list(map_in_order(time.sleep, [0.0] * 4 + [600.0] * 4, 2, "sleep", "nap"))
"""


def square(number: int) -> int:
    time.sleep(0.02 if number % 3 == 0 else 0)
    return number**2


def fails_at_five(number: int) -> int:
    if number == 5:
        raise ValueError("five")
    return number


def kills_itself(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = psutil.Process().children()
    yield
    assert psutil.Process().children() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    found = list(map_in_order(square, range(20), workers, "squares", "number"))
    assert found == [number**2 for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_the_callers(workers: int) -> None:
    results = map_in_order(fails_at_five, range(50), workers, "numbers", "number")
    with pytest.raises(ValueError, match="five"):
        list(results)


def test_a_killed_process_is_one_line_that_says_what_may_help() -> None:
    with pytest.raises(UserError, match=r"was killed.*--set workers=<number>"):
        list(map_in_order(kills_itself, range(50), 2, "numbers", "number"))


def test_no_process_outlives_its_parent() -> None:
    command = [sys.executable, "-c", FOREVER]
    parent = subprocess.Popen(command, cwd=PROJECT_FOLDER, stderr=subprocess.DEVNULL)
    try:
        last = time.monotonic() + SECONDS
        children: list[psutil.Process] = []
        while len(children) < 2 and time.monotonic() < last:
            time.sleep(0.05)
            children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.wait(SECONDS)
    _, alive = psutil.wait_procs(children, SECONDS)
    assert alive == []
