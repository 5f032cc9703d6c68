"""Files take their final name only when they are whole; JSON is read with checks."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.errors import UserError
from config.files import (
    read_json,
    remove_partial_files,
    write_json,
    write_text,
    written_aside,
)


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    with written_aside(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.parent == path.parent
        assert aside.suffix == ".csv"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug"), UserError("wrong")])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)), written_aside(path) as aside:
        aside.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_contents_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "a.txt", []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(path.exists())
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(path, "ä\n")
    assert synced == [False]
    assert path.read_bytes() == "ä\n".encode()


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"name": "Übung", "values": [1, 2.5, None]}
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert read_json(path) == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert read_json(path) == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1', "is no JSON file"),
        (b'{"a": NaN}', "is no JSON file: NaN is no JSON number"),
        (b"[1, 2]", "is no dictionary"),
    ],
)
def test_what_is_no_json_of_ours(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json: {reason}"):
        read_json(path)
    with pytest.raises(UserError, match=r"none\.json: cannot be read: No such file"):
        read_json(tmp_path / "none.json")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    here, dead = socket.gethostname(), ended.pid
    kept = [
        f".a.{os.getpid()}@{here}.partial.wav",
        f".another_machine.{dead}@not-{here}.partial.wav",
        "b.wav",
        ".c.partial.wav",
    ]
    old = f".forgotten.{os.getpid()}@not-{here}.partial"
    for name in (*kept, f".a.b.{dead}@{here}.partial.wav", f".e.{dead}@{here}.partial", old):
        (tmp_path / name).touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / old, (two_days_ago, two_days_ago))
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
