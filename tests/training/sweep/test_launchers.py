"""Processes of one machine side by side: what each is given, and what happens when one is lost."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import training.sweep.schedule
from config.ini_files import load_settings
from config.settings import Cluster
from tests.training.sweep.clusters import CPU, MANAGER, PATIENCE, runs_of
from training.results.loading import ResultReader
from training.sweep.launchers import InlineLauncher, ProcessLauncher, slots_of
from training.sweep.schedule import MAX_LOSSES, Sweep, run_all
from training.sweep.task import Order, Outcome

if TYPE_CHECKING:
    from tests.conftest import Suite


def cluster(**values: Any) -> Cluster:
    return load_settings(overrides={f"cluster.{key}": values[key] for key in values}).cluster


@pytest.mark.parametrize(
    ("gpus", "share", "slots"),
    [
        ([0], 1, [0]),
        ([0, 1, 2, 3], 1, [0, 1, 2, 3]),
        ([0, 1], 0.5, [0, 1, 0, 1]),
        ([0, 0], 1, [0, 0]),
        ([0], 0.1, [0] * 10),
        ([3], 0.7, [3]),
        ([-1], 0.25, [-1]),
        ([-1, -1], 0.25, [-1, -1]),
    ],
)
def test_slots(gpus: list[int], share: float, slots: list[int]) -> None:
    assert slots_of(gpus, cluster(gpus_per_run=share)) == slots


class Fake:
    """A launcher whose runs are at work until the test ends them."""

    is_elsewhere = True
    losses: tuple[type[BaseException], ...] = (ConnectionError,)

    def __init__(self, num_slots: int, script: Callable[[Order, int], Outcome]) -> None:
        self.num_slots = num_slots
        self.script = script
        self.begun: list[str] = []
        self.most = 0
        self._open: list[tuple[Future[Outcome], Order]] = []

    def submit(self, order: Order) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        self.begun.append(order.run.files.stem)
        self._open.append((future, order))
        self.most = max(self.most, len(self._open))
        if len(self._open) == self.num_slots or len(self.begun) >= 3:
            self._end_first()
        return future

    def _end_first(self) -> None:
        for future, order in self._open:
            try:
                outcome = self.script(order, self.begun.count(order.run.files.stem))
            except ConnectionError as error:
                future.set_exception(error)
            else:
                future.set_result(outcome)
        self._open.clear()

    def close(self) -> None:
        pass


@pytest.fixture
def swept(suite: "Suite", monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], Sweep]:
    """Two instances of experiment 1, and 2, which starts from 1's best; no spreadsheets."""
    monkeypatch.setattr(training.sweep.schedule, "POLL_SECONDS", 0.01)
    suite.write_experiment(1, instances={"repeat": 2})
    suite.write_experiment(2, {"at_pretraining": "experiment 1"})

    def sweep(fake: Fake) -> Sweep:
        runs = runs_of(suite)
        spreadsheets: Any = type("Nothing", (), {"add": lambda *_: None})()
        found = Sweep(runs, fake, ResultReader(), spreadsheets)
        found.work(len(runs))
        return found

    return sweep


def finished(_order: Order, _attempt: int) -> Outcome:
    return Outcome(seconds=1.0, host="here")


def test_what_starts_from_others_waits_for_all_of_them(swept: Callable[[Fake], Sweep]) -> None:
    fake = Fake(8, finished)
    with pytest.raises(TimeoutError):
        _within(2.0, lambda: swept(fake))  # nothing ends before 8 are at work, and only 2 are
    assert [stem[-9:] for stem in fake.begun] == ["exp1_run1", "exp1_run2"]


def _within(seconds: float, action: Callable[[], object]) -> None:
    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        action()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_more_at_a_time_than_there_are_slots(swept: Callable[[Fake], Sweep]) -> None:
    one, two = Fake(1, finished), Fake(2, finished)
    swept(one)
    swept(two)
    assert (one.most, two.most) == (1, 2)
    assert len(one.begun) == len(two.begun) == 3


def test_a_lost_run_is_begun_again_and_in_the_end_given_up(
    swept: Callable[[Fake], Sweep], capsys: pytest.CaptureFixture[str], suite: "Suite"
) -> None:
    def script(order: Order, attempt: int) -> Outcome:
        is_first = order.run.files.stem.endswith("exp1_run1")
        if is_first or (attempt == 1 and order.run.experiment.id == 1):
            raise ConnectionError("its node is gone")
        return finished(order, attempt)

    fake = Fake(1, script)
    sweep = swept(fake)
    counts = [fake.begun.count(run.files.stem) for run in runs_of(suite)]
    assert counts == [MAX_LOSSES + 1, 2, 1]
    assert len(sweep.failures) == 1
    title = runs_of(suite)[0].title
    assert sweep.failures[0] == f"{title}: lost 4 times: ConnectionError: its node is gone"
    assert runs_of(suite)[0].files.failure.exists()
    assert capsys.readouterr().out.count("lost, begins again") == MAX_LOSSES + 1


def test_a_failure_is_noted_and_a_run_of_another_process_waited_for(
    swept: Callable[[Fake], Sweep], capsys: pytest.CaptureFixture[str], suite: "Suite"
) -> None:
    def script(order: Order, attempt: int) -> Outcome:
        if order.run.files.stem.endswith("exp1_run1"):
            return Outcome("exp1: it failed", seconds=1.0, text="a warning")
        if order.run.files.stem.endswith("exp1_run2") and attempt < 3:
            return Outcome(is_busy=True)
        return finished(order, attempt)

    sweep = swept(Fake(1, script))
    assert sweep.failures == ["exp1: it failed"]
    assert "exp1: it failed" in runs_of(suite)[0].files.failure.read_text()
    captured = capsys.readouterr()
    assert captured.out.count("another process is running it") == 1
    assert "a warning" in captured.out
    assert captured.err.splitlines()[-1] == "2/3 done, 0 running, 0 waiting, 1 failed, 00:00 left"


def write_three(suite: "Suite", **training: Any) -> None:
    suite.write_matrices()
    suite.write_experiment(1, training, {"repeat": 2})
    suite.write_experiment(2, {"at_pretraining": "experiment 1", **training})


def test_processes_give_the_results_of_runs_in_order(suite: "Suite") -> None:
    import torch

    from training.sweep.instance import Workshop

    write_three(suite)
    for folder, launcher in (
        ("in_order", InlineLauncher(Workshop(torch.device("cpu")))),
        ("side_by_side", ProcessLauncher([CPU, CPU], cluster())),
    ):
        runs = runs_of(suite, results_folder=suite.folder / folder)
        workshop = Workshop(torch.device("cpu"))
        assert run_all(runs, launcher, {}, ResultReader(), workshop) == 0
    for run in runs_of(suite):
        twin = run.files.json_path.relative_to(suite.results)
        first, second = (suite.folder / name / twin for name in ("in_order", "side_by_side"))
        assert first.read_text() == second.read_text()
    assert not list((suite.folder / "side_by_side").rglob("unfinished"))
    assert not multiprocessing.active_children()


class Command:
    """The manager with two runs at a time, as a user starts it."""

    def __init__(self, suite: "Suite") -> None:
        self.log = suite.folder / "log.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(MANAGER), "[1,2]", "-1,-1", *suite.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


def states(suite: "Suite") -> list[Path]:
    return list(suite.results.rglob("unfinished/state_*.pt"))


LONG = {"num_epochs": 25, "early_stopping": False}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_the_system_kills_is_replaced(number: int, suite: "Suite") -> None:
    write_three(suite, **LONG)
    command = Command(suite)
    command.wait_until(lambda: len(states(suite)) == 2)
    lock = next(iter(suite.results.rglob("unfinished/*.lock")))
    victims = [
        child
        for child in psutil.Process(command.process.pid).children(recursive=True)
        if str(lock) in {file.path for file in child.open_files()}
    ]
    victims[0].send_signal(number)
    assert command.process.wait(PATIENCE) == 0, command.log.read_text()
    text = command.log.read_text()
    assert text.count("lost, begins again: ") == 1
    assert text.count("done: ") == 3
    assert "Traceback" not in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_all_processes_in_order(
    number: int, code: int, suite: "Suite"
) -> None:
    write_three(suite, **LONG)
    command = Command(suite)
    command.wait_until(lambda: len(states(suite)) == 2)
    children = psutil.Process(command.process.pid).children(recursive=True)
    os.killpg(command.process.pid, number)
    assert command.process.wait(PATIENCE) == code
    text = command.log.read_text()
    assert text.splitlines()[-1].endswith("the same command continues where this stopped")
    assert "Traceback" not in text
    assert not [name for name in suite.results.rglob("*") if "partial" in name.name]
    psutil.wait_procs(children, PATIENCE)
    assert not [child for child in children if child.is_running()]


def test_processes_end_with_a_manager_that_is_killed(suite: "Suite") -> None:
    write_three(suite, **LONG)
    command = Command(suite)
    command.wait_until(lambda: len(states(suite)) == 2)
    children = psutil.Process(command.process.pid).children(recursive=True)
    command.process.kill()
    command.process.wait(PATIENCE)
    _, alive = psutil.wait_procs(children, 60)
    assert not alive


def test_a_process_that_is_killed_between_two_runs_is_replaced(suite: "Suite") -> None:
    write_three(suite)
    runs = runs_of(suite)
    launcher = ProcessLauncher([CPU, CPU], runs[0].instance.settings.cluster)
    try:
        assert launcher.submit(Order(runs[0])).result().failure == ""
        (child,) = launcher._slots[0].children
        child.kill()
        child.join()
        time.sleep(0.5)  # until the pool has seen it
        assert launcher.submit(Order(runs[1])).result().failure == ""
    finally:
        launcher.close()


def test_a_cluster_without_room_is_said(
    swept: Callable[[Fake], Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    class Grows(Fake):
        asked = 0

        @property
        def num_slots(self) -> int:
            self.asked += 1
            return 0 if self.asked < 4 else 1

        @num_slots.setter
        def num_slots(self, number: int) -> None:
            pass

    swept(Grows(1, finished))
    assert capsys.readouterr().out.count("no node of the cluster has what a run takes") == 1


def test_processes_side_by_side_share_the_memory(suite: "Suite") -> None:
    """Each alone would keep its data in what is free, before the others have taken theirs."""
    import torch

    from training.engine.device_memory import free_bytes

    write_three(suite)
    run = runs_of(suite)[0]
    launcher = ProcessLauncher([CPU] * 50, run.instance.settings.cluster)
    try:
        launcher.submit(Order(run)).result()
        pool = launcher._slots[0].pool
        assert pool is not None
        free = pool.submit(free_bytes, torch.device("cpu")).result()
    finally:
        launcher.close()
    assert free < psutil.virtual_memory().total / 50
