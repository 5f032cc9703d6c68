"""Locks: one process has it, and none keeps it beyond its end."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from config.errors import UserError
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


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOTSUP, errno.EPERM, errno.ENOSYS, errno.EIO, errno.EINVAL]
)
def test_a_file_system_without_locks_is_named_with_the_cure(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where filelock would take a file in place of a lock, which outlives a killed process."""

    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "run.lock"
    for lock in (locked(path), waited_for(path), waited_for(path, "work", "--set a=FOLDER")):
        with pytest.raises(UserError) as caught, lock:
            pass
        text = str(caught.value)
        assert text.startswith(f"{path}: its file system gives no locks ({os.strerror(number)})")
        assert "=FOLDER" in text
