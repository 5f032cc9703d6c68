"""Locks: one process has it, and none keeps it beyond its end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config.errors import UserError
from config.locks import locked, reserved, waited_for

HOLDER = """
import sys, time
from pathlib import Path
from config.locks import locked
with locked(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    """Another process that has the lock, once it has said so."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_lock_is_held_by_one_process_and_is_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "run.lock"
    process = holder(path)
    try:
        with locked(path) as is_ours:
            assert not is_ours
        with (
            pytest.raises(UserError, match=r"run\.lock: another process trains it"),
            reserved(path, "trains it"),
        ):
            raise AssertionError
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(path) as is_ours:
        assert is_ours
    with reserved(path, "trains it"), locked(tmp_path / "another.lock") as is_ours:
        assert is_ours


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    for _ in range(2):
        with pytest.raises(RuntimeError), reserved(path, "trains it"):
            raise RuntimeError
    with waited_for(path), pytest.raises(UserError), reserved(path, "trains it"):
        raise AssertionError
