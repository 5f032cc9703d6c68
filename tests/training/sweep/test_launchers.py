"""Processes of one machine side by side: what each is given, and what happens when one is lost."""

import os
import signal

import psutil
import pytest

from config.ini_files import load_settings
from tests.conftest import Suite
from tests.training.sweep.commands import (
    ENDLESS,
    LONG,
    PATIENCE,
    assert_as_run_in_order,
    command,
    leftovers,
    states,
    write_three,
)
from training.sweep.launchers import slots_of


@pytest.mark.parametrize(
    ("gpus", "share", "slots"),
    [
        ([0], 1, [0]),
        ([0, 1], 0.5, [0, 1, 0, 1]),
        ([3], 0.7, [3]),
        ([-1, -1], 0.25, [-1, -1]),
    ],
)
def test_slots(gpus: list[int], share: float, slots: list[int]) -> None:
    cluster = load_settings(overrides={"cluster.gpus_per_run": share}).cluster
    assert slots_of(gpus, cluster) == slots


def holds_a_lock(process: psutil.Process) -> bool:
    return any(file.path.endswith(".lock") for file in process.open_files())


def test_what_is_killed_goes_on_to_the_same_results(suite: Suite) -> None:
    """First one of two processes, then the manager; the third time two processes do the rest."""
    write_three(suite, **{**LONG, "num_epochs": 20})
    with command(suite, "[1,2]", "-1,-1") as manager:
        manager.wait_until(lambda: states(suite))
        victim = next(child for child in manager.children if holds_a_lock(child))
        victim.kill()
        assert manager.code() == 2, manager.text
        (line,) = [line for line in manager.text.splitlines() if line.startswith("error: ")]
        assert "what executed it is lost: BrokenProcessPool: " in line
        assert line.endswith("the same command goes on from there")
        assert "Traceback" not in manager.text
    with command(suite, "[1,2]", "-1,-1") as manager:
        manager.wait_until(lambda: len(manager.children) > 2)
        children = manager.children
        manager.process.kill()
        _, alive = psutil.wait_procs(children, PATIENCE)
        assert not alive
    with command(suite, "[2,1]", "-1,-1") as manager:
        assert manager.code() == 0, manager.text
        assert manager.done[-1] == "experiment 2 run 1"
    assert_as_run_in_order(suite)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes_in_order(number: int, code: int, suite: Suite) -> None:
    write_three(suite, **ENDLESS)
    with command(suite, "[1,2]", "-1,-1") as manager:
        manager.wait_until(lambda: len(states(suite)) == 2)
        children = manager.children
        os.killpg(manager.process.pid, number)
        assert manager.code() == code
        said = manager.text.splitlines()
        assert said[-1].endswith("the same command continues where this stopped")
        assert "Traceback" not in manager.text
        assert leftovers(suite) == ["unfinished"]
        _, alive = psutil.wait_procs(children, PATIENCE)
        assert not alive
