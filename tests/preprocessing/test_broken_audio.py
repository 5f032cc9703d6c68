"""Every way in which a clip can be broken, from the file to the matrices: listed, never lost."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.matrices import PARTS
from preprocessing.pipeline.tables import read_rows
from tests.preprocessing.conftest import RATE, TINY, Prepare

BROKEN = 4


def noise(seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * RATE))


def with_sample(value: float) -> Callable[[Path], Any]:
    values = noise()
    values[500] = value
    return lambda path: soundfile.write(path, values, RATE, subtype="FLOAT")


def cut(path: Path, container: str) -> None:
    soundfile.write(path, noise(), RATE, format=container)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_rate_in_its_header(path: Path, rate: int) -> None:
    soundfile.write(path, noise(), RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)


def in_its_place(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


# How a file is broken, and the kind of reason that must be given.
BREAKAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty file": (lambda path: path.write_bytes(b""), "unreadable"),
    "truncated WAV": (lambda path: cut(path, "WAV"), "truncated"),
    "truncated FLAC": (lambda path: cut(path, "FLAC"), "unreadable"),
    "text": (lambda path: path.write_text("this is no audio\n" * 99), "unreadable"),
    "NaN": (with_sample(np.nan), "holds NaN or infinite samples"),
    "infinity": (with_sample(np.inf), "holds NaN or infinite samples"),
    "far beyond full scale": (with_sample(1e30), "out of range"),
    "zero length": (lambda path: soundfile.write(path, np.zeros(0), RATE), "empty"),
    "eight channels": (
        lambda path: soundfile.write(path, np.tile(noise()[:, None], 8), RATE),
        "wrong channel count",
    ),
    "rate of 1 Hz": (lambda path: with_rate_in_its_header(path, 1), "wrong rate"),
    "clipped": (lambda path: soundfile.write(path, np.sign(noise()), RATE), "clipped"),
    "pipe": (lambda path: in_its_place(path, os.mkfifo), "unreadable"),
    "broken link": (
        lambda path: in_its_place(path, lambda link: link.symlink_to("nowhere")),
        "missing",
    ),
    "gone": (lambda path: path.unlink(), "missing"),
}


@pytest.fixture
def left_out(folder: Path) -> Path:
    """The list of clips that are left out."""
    return folder / f"{TINY}_left_out.csv"


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_clip_is_left_out_with_its_reason(
    name: str, clips: list[Clip], prepare: Prepare, folder: Path, left_out: Path
) -> None:
    """One of twelve is more than 0.08 allow, so nothing is written; 0.09 allow it."""
    breakage, kind = BREAKAGES[name]
    breakage(clips[BROKEN].path)
    with pytest.raises(UserError, match="1 of 12 clips cannot be used") as caught:
        prepare(max_skipped_fraction=0.08)
    assert str(caught.value).isprintable()
    parts = {f"{TINY}_{part}.{PARTS[part]}" for part in PARTS}
    assert parts & {path.name for path in folder.iterdir()} == {left_out.name}
    matrices = prepare(max_skipped_fraction=0.09)
    (row,) = read_rows(left_out, ("clip", "file", "reason"))
    assert (row["clip"], row["file"]) == ("c04.wav", str(clips[BROKEN].path))
    assert row["reason"].partition(":")[0] == kind
    expected = [clip.name for clip in clips if clip is not clips[BROKEN]]
    assert matrices.index["clip"].unique().tolist() == expected
    assert (matrices.info["num_left_out"], matrices.info["num_clips"]) == (1, 12)
    assert np.isfinite(matrices.predictors).all()


def test_a_clip_repaired_with_its_size_and_time_is_taken_up(
    clips: list[Clip], prepare: Prepare
) -> None:
    """As after a disk or a permission was at fault, which no size or time tells."""
    path = clips[BROKEN].path
    whole, time = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(b"RIFX" + whole[4:12] + bytes(len(whole) - 12))
    os.utime(path, ns=(time, time))
    prepare(max_skipped_fraction=0.09)
    path.write_bytes(whole)
    os.utime(path, ns=(time, time))
    matrices = prepare(max_skipped_fraction=0.09)
    assert matrices.index["clip"].unique().tolist() == [clip.name for clip in clips]


def test_left_out_clips_are_counted_by_reason(
    clips: list[Clip], prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (3, 4):
        cut(clips[number].path, "WAV")
    clips[5].path.unlink()
    soundfile.write(clips[6].path, np.zeros(RATE), RATE)
    prepare(max_skipped_fraction=0.5)
    said = "left out: 4 clips (2 truncated, 1 missing, 1 silent), listed in"
    assert said in capsys.readouterr().out


def test_a_folder_whose_name_is_not_utf_8(
    clips: list[Clip], prepare: Prepare, left_out: Path, tmp_path: Path
) -> None:
    """Its files are read like others, and listed with its odd byte escaped."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    clips[0].path.parent.rename(folder)
    clips[:] = [replace(clip, path=folder / clip.path.name) for clip in clips]
    clips[BROKEN].path.write_bytes(b"")
    prepare(max_skipped_fraction=0.09)
    assert r"caf\udce9/c04.wav" in left_out.read_text()
