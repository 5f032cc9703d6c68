"""Processes of one machine side by side: what each is given, and what happens when one is lost."""

import json
import os
import signal
import threading
import time

import psutil
import pytest

from config.errors import UserError
from config.ini_files import load_settings
from tests.conftest import Suite
from tests.training.sweep.commands import (
    ENDLESS,
    MANAGER,
    PATIENCE,
    assert_as_run_in_order,
    command,
    leftovers,
    runs_of,
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


def test_the_loss_of_a_process_is_one_line(suite: Suite) -> None:
    write_three(suite)
    before = psutil.Process().children()

    def kill_worker() -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for child in psutil.Process().children():
                if child not in before and "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    lost = "what executed it is lost: BrokenProcessPool: .*the same command goes on from there$"
    with pytest.raises(UserError, match=lost):
        suite.manage("[1]", "-1,-1", "1", "1")
    killer.join()


def test_what_is_killed_goes_on_to_the_same_results(suite: Suite) -> None:
    """The process of a run ends with the manager; the second time two processes do the rest."""
    suite.write_extractor()
    against_noise = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 5}
    write_three(suite, num_epochs=20, early_stopping=False, **against_noise)
    with command(suite, "[1]", "-1,-1", "1", "1") as manager:
        manager.wait_until(lambda: states(suite))
        children = manager.children
        assert any(map(holds_a_lock, children))
        manager.process.kill()
        _, alive = psutil.wait_procs(children, PATIENCE)
        assert not alive
    with command(suite, "[2,1]", "-1,-1") as manager:
        assert manager.code() == 0, manager.text
        assert manager.done[-1] == "experiment 2 run 1"
    assert_as_run_in_order(suite)
    # What was typed, also in a result of a process that the manager has started.
    for run in runs_of(suite):
        made = json.loads(run.files.json_path.read_text())["provenance"]
        assert f"{MANAGER} " in made["command"]


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
