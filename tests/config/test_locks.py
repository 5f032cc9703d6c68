"""Locks: one process has it, and none keeps it beyond its end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config.files import locked, waited_for

HOLDER = """
import sys, time
from pathlib import Path
from config.files import locked
with locked(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_is_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "run.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with locked(path) as is_ours:
            assert not is_ours
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with waited_for(path), locked(path) as is_ours:
        assert not is_ours


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError), locked(tmp_path / "run.lock") as is_ours:
            assert is_ours
            raise RuntimeError
