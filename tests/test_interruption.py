"""Ctrl-C and SIGTERM, sent to the commands that users type while they work."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import files as config_files
from preprocessing.pipeline.audio import write_audio

if TYPE_CHECKING:
    from tests.conftest import Suite

ROOT = Path(config_files.__file__).resolve().parent.parent
PATIENCE = 120.0  # s; a machine may be busy, and what is told does not depend on the time
RATE = 16000

Working = Callable[[], bool]


class Command:
    """A script in a process group of its own, as a terminal has it."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self.errors = folder / f"stderr_{len(list(folder.glob('stderr_*')))}.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                start_new_session=True,
                preexec_fn=_with_default_signals,  # noqa: PLW1509  (the tests have one thread)
            )

    def wait_until(self, working: Working) -> None:
        deadline = time.monotonic() + PATIENCE
        while not working():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)

    def send(self, number: int, times: int = 1) -> None:
        """To the whole group, as a terminal and a cluster do."""
        for each in range(times):
            if each:
                time.sleep(0.1)
            with suppress(ProcessLookupError):  # the first one was enough
                os.killpg(self.process.pid, number)

    def outcome(self) -> tuple[int, list[str]]:
        """Exit code, and the lines on stderr; nothing of the group may be left."""
        code = self.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while _is_alive(self.process.pid):
            assert time.monotonic() < deadline, "a worker outlives its parent"
            time.sleep(0.02)
        return code, re.split(r"[\r\n]+", self.errors.read_text().strip())

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _with_default_signals() -> None:
    """A shell ignores SIGINT for what it starts in the background; the tests may be such."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def end(
    words: Sequence[str],
    folder: Path,
    working: Working,
    number: int,
    times: int = 1,
) -> tuple[int, list[str]]:
    """Start a script, end it while it works; its exit code and stderr."""
    command = Command(words, folder)
    try:
        command.wait_until(working)
        command.send(number, times)
        return command.outcome()
    finally:
        command.kill()


def assert_clean(
    code: int,
    lines: list[str],
    expected: int,
    word: str,
    folder: Path,
    cure: str = "continues where this stopped",
) -> None:
    """One line that says how to go on, no traceback, and no file that is not whole."""
    text = "\n".join(lines)
    assert code == expected, text
    assert lines[-1] == f"{word}: the same command {cure}"
    assert sum(word in line for line in lines) == 1, text
    for trace in ("Traceback", "Exception", "Error", "  File "):
        assert trace not in text
    left = [path for path in folder.rglob("*") if "partial" in path.name]
    assert left == []


def test_ctrl_c_three_times_ends_experiments(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(5, {"num_epochs": 100_000, "early_stopping": False}, {"repeat": 2})
    words = ["experiments_manager.py", "[5]", "-1", *suite.arguments]
    state = suite.files(5).state(0)
    found = end(words, suite.folder, state.exists, signal.SIGINT, times=3)
    assert_clean(*found, 130, "interrupted", suite.folder)
    assert state.exists()
    assert not suite.files(5).json_path.exists()
    left = [path.name for path in suite.results.rglob("*.pt")]
    assert left == [state.name]


PREPROCESSING = """
import sys
from pathlib import Path
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset
from preprocessing.pipeline.extraction import preprocess_command
paths = [Path(sys.argv.pop(1)) for _ in range(2)]
clips = [Clip(paths[n % 2], f"clip{n}", n % 2, f"class{n % 2}", f"clip{n}") for n in range(20_000)]
preprocess_command(Dataset("tiny", "PREPROCESSING", "test", 1.0, RANDOM_BY_CLIP, lambda _: clips))
"""


def test_sigterm_ends_preprocessing_with_workers(suite: "Suite") -> None:
    # Neighbours in one file would be worked on together.
    paths = [str(suite.folder / f"clip{number}.wav") for number in range(2)]
    for path in paths:
        write_audio(Path(path), np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    words = ["-c", PREPROCESSING, *paths, "--config", str(suite.config), "--set", "workers=2"]

    def working() -> bool:
        written = suite.matrices.glob(".*.partial.npy")
        return any(path.stat().st_size > 200_000 for path in written)

    found = end(words, suite.folder, working, signal.SIGTERM)
    assert_clean(*found, 143, "terminated", suite.folder, "begins anew what was not finished")
    left = {each.name for each in suite.matrices.iterdir()}
    assert left == {".tiny_spectrum_fast.lock", "-c.log"}


DRIVER = """
import signal, sys, time
from pathlib import Path
from config.command_line import run_command
ready = Path(sys.argv[1])
def clean(seconds):
    ready.with_name("cleaning").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    ready.with_name("cleaned").touch()
def command():
    try:
        ready.touch()
        time.sleep(600)
    finally:
        clean(float(sys.argv[2]))
run_command(command, resume="make demo continues where this stopped")
"""


def driven(folder: Path, seconds: float) -> Command:
    command = Command(["-c", DRIVER, str(folder / "ready"), str(seconds)], folder)
    command.wait_until((folder / "ready").exists)
    return command


def test_a_second_ctrl_c_does_not_disturb_the_cleaning(tmp_path: Path) -> None:
    command = driven(tmp_path, 1.0)
    command.send(signal.SIGINT)
    command.wait_until((tmp_path / "cleaning").exists)
    command.send(signal.SIGINT, 2)
    command.send(signal.SIGTERM)
    assert command.outcome() == (130, ["interrupted: make demo continues where this stopped"])
    assert (tmp_path / "cleaned").exists()


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """nohup and a shell's background jobs ignore Ctrl-C."""
    script = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + DRIVER
    command = Command(["-c", script, str(tmp_path / "ready"), "0"], tmp_path)
    command.wait_until((tmp_path / "ready").exists)
    command.send(signal.SIGINT)
    time.sleep(0.3)
    assert command.process.poll() is None
    command.send(signal.SIGTERM)
    assert command.outcome() == (143, ["terminated: make demo continues where this stopped"])
