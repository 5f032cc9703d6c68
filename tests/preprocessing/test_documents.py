"""The tables beside a matrix, against what pandas writes and reads."""

import csv
from pathlib import Path

import pandas

from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.documents import write_index, write_left_out

ROWS = [(0, 0, 126, 0, "ab12"), (0, 126, 126, 0, "ab12"), (2, 0, 39, 1, "0034")]


def clip(name: str, **details: str | float | int) -> Clip:
    return Clip(
        Path("corpus") / f"{name}.wav", name, 3, 'class "x", y', f"group of {name}", details
    )


def test_index_is_pandass(tmp_path: Path) -> None:
    first = clip("a, b", speaker="007", snr=0.1, take=3)
    second = clip("naïve\nname", speaker="", snr=1e-17, take=-1)
    kept = [first, first, second]
    write_index(tmp_path / "index.csv", kept, ROWS)
    table = pandas.DataFrame(
        {
            "clip": each.name,
            "label": each.label,
            "class_name": each.class_name,
            "group": each.group,
            "first_frame": first_frame,
            "num_frames": num_frames,
            "augmented": copy,
            "content": content,
            **each.details,
        }
        for each, (_, first_frame, num_frames, copy, content) in zip(kept, ROWS, strict=True)
    )
    expected = table.to_csv(index=False, lineterminator="\n")
    assert (tmp_path / "index.csv").read_bytes().decode() == expected


def test_details_that_some_clips_lack_are_empty(tmp_path: Path) -> None:
    kept = [clip("a", speaker="x"), clip("b"), clip("c", take=2)]
    write_index(tmp_path / "index.csv", kept, ROWS)
    with (tmp_path / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["speaker"] for row in rows] == ["x", "", ""]
    assert [row["take"] for row in rows] == ["", "", "2"]
    assert [row["clip"] for row in rows] == ["a", "b", "c"]


def test_left_out(tmp_path: Path) -> None:
    clips = [clip("a"), clip("b"), clip("c")]
    write_left_out(tmp_path / "left_out.csv", clips, [(0, "empty"), (2, "unreadable: x, y")])
    table = pandas.read_csv(tmp_path / "left_out.csv")
    assert table.columns.tolist() == ["clip", "file", "reason"]
    assert table["clip"].tolist() == ["a", "c"]
    assert table["file"].tolist() == [str(clips[0].path), str(clips[2].path)]
    assert table["reason"].tolist() == ["empty", "unreadable: x, y"]
