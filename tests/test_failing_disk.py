"""A disk that refuses to write, and inputs that vanish during a run.

A limit on the size of files (RLIMIT_FSIZE) refuses a write in the middle as a full disk does.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.command_line import run_command
from config.files import write_json, write_text, written_aside
from preprocessing.pipeline.audio import write_audio

if TYPE_CHECKING:
    from tests.conftest import Suite

RATE = 16000
ROOM = 20_000  # bytes, less than any of the files below has
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}

Capture = pytest.CaptureFixture[str]


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """Within the block no file of this process grows beyond so much (Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def partial_files(folder: Path) -> list[str]:
    return [name for name in files_below(folder) if "partial" in name]


def write_an_array(path: Path) -> None:
    with written_aside(path) as aside:
        np.save(aside, np.zeros(10_000))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text.txt": lambda path: write_text(path, "text" * 10_000),
    "value.json": lambda path: write_json(path, list(range(20_000))),
    "array.npy": write_an_array,
    "sound.wav": lambda path: write_audio(path, np.zeros(RATE), RATE),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_is_refused_leaves_what_was_there_before(name: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / name
    with files_up_to(ROOM), pytest.raises(OSError, match="File too large") as caught:
        WRITERS[name](path)
    assert caught.value.filename == str(path)
    assert files_below(tmp_path) == []
    path.write_text("of before")
    with files_up_to(ROOM), pytest.raises(OSError, match="File too large"):
        WRITERS[name](path)
    assert path.read_text() == "of before"
    WRITERS[name](path)
    assert path.stat().st_size > ROOM
    assert files_below(tmp_path) == [f"folder/{name}"]


def outcome(suite: "Suite", capsys: Capture) -> tuple[object, list[str]]:
    """Run experiment 28; returns the exit code and the lines on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: suite.manage("[28]", "-1"))
    lines = capsys.readouterr().err.strip().split("\n")
    assert "Traceback" not in "".join(lines)
    return caught.value.code, lines


@pytest.fixture
def sweep(suite: "Suite") -> "Suite":
    """Matrices, an extractor, and two instances of an anti-transfer experiment (28)."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(28, AGAINST_NOISE | {"num_epochs": 1}, {"repeat": 2})
    return suite


def test_a_sweep_on_a_full_disk(sweep: "Suite", capsys: Capture) -> None:
    with files_up_to(100_000):
        code, lines = outcome(sweep, capsys)
    assert code == 1
    for number in (1, 2):
        (failed, *_) = [
            line for line in lines if line.startswith(f"failed: experiment 28 run {number} ")
        ]
        assert "File too large" in failed
        assert f"{sweep.results}/experiment_28/" in failed
    assert partial_files(sweep.folder) == []
    assert not list(sweep.results.rglob("*.npy"))
    assert sweep.manage("[28]", "-1") == 0
    assert partial_files(sweep.folder) == []
