"""Whose files are listed: the user's, however their extension is written, and nobody else's."""

import os
from pathlib import Path

import pytest

from config.errors import UserError
from config.listing import files_in, folders_in

OTHER_PROGRAMS = (
    "._mine{}",
    ".#mine{}",
    ".mine{}",
    "#mine{}#",
    "mine{}~",
    "mine{}.bak",
    "~$mine{}",
    "mine{}:Zone.Identifier",
    "mine{}@SynoEAStream",
    "mine (Ann's conflicted copy 2024-05-01){}",
    "mine.sync-conflict-20240501-101112-ABCDEFG{}",
    "mine_DiskStation_May-01-1011-2024_Conflict{}",
    ".DS_Store",
    "Thumbs.db",
    "Desktop.ini",
)


def fill(folder: Path, *names: str, text: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(text)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ini", ".txt"])
def test_only_the_user_s_files_in_any_case(tmp_path: Path, suffix: str) -> None:
    mine = ["a", "b (1)", "c~d", "e#f", "my conflict"]
    fill(tmp_path, *(f"{name}{suffix}" for name in mine), f"Z{suffix.upper()}", "y.WaV", "y.FlaC")
    fill(tmp_path, *(name.format(suffix) for name in OTHER_PROGRAMS))
    (tmp_path / f"folder{suffix}").mkdir()
    listed = [path.name for path in files_in(tmp_path, suffix)]
    expected = [f"Z{suffix.upper()}", *(f"{name}{suffix}" for name in mine)]
    expected += [name for name in ("y.WaV", "y.FlaC") if name.lower().endswith(suffix)]
    assert listed == sorted(expected)


def test_only_the_user_s_folders(tmp_path: Path) -> None:
    for name in (
        "zero",
        "@home",
        "__MACOSX",
        "@eaDir",
        ".git",
        "zero~",
        "$RECYCLE.BIN",
        "#recycle",
    ):
        (tmp_path / name).mkdir()
    fill(tmp_path, "file")
    assert [path.name for path in folders_in(tmp_path)] == ["@home", "zero"]
    assert folders_in(tmp_path / "nowhere") == files_in(tmp_path / "nowhere", ".wav") == []


def test_names_that_are_not_utf_8_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "é.wav")
    for name in (b"\xe9.wav", b"a\xff.wav"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("")
    assert [path.name for path in files_in(tmp_path, ".wav")] == ["é.wav"]
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert r"2 left out, whose names are not UTF-8: a\udcff.wav, \udce9.wav" in said


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", "a.WAV", "b.wav", "b.Wav", "b.flac", "c.wav", "._c.WAV")
    with pytest.raises(UserError, match=r"2 problems: a\.WAV or a\.wav; b\.Wav or b\.wav; remove"):
        files_in(tmp_path, ".wav")


def test_a_broken_link_is_listed_so_that_it_is_found_missing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "not fetched")
    assert [path.name for path in files_in(tmp_path, ".wav")] == ["a.wav"]
