"""Files take their final name only when they are whole."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from config.files import remove_partial_files, write_json, write_text, written_aside


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    with written_aside(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.parent == path.parent
        assert aside.suffix == ".csv"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail() -> None:
        with written_aside(path) as aside:
            aside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
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
    write_json(path, {"name": "Übung", "values": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "name": "Übung",
        "values": [1, 2.5, None],
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert "Übung" in path.read_text(encoding="utf-8")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    here = socket.gethostname()
    kept = [
        f".a.{os.getpid()}@{here}.partial.wav",
        f".another_machine.{child}@not-{here}.partial.wav",
        "b.wav",
        ".c.partial.wav",
        ".d.partial",
    ]
    old = f".forgotten.{os.getpid()}@not-{here}.partial"
    for name in (*kept, f".a.b.{child}@{here}.partial.wav", f".e.{child}@{here}.partial", old):
        (tmp_path / name).touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / old, (two_days_ago, two_days_ago))
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
