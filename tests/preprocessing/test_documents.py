"""The tables beside a matrix, against what pandas writes and reads."""

from pathlib import Path

import pandas

from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.documents import write_index

ROWS = [
    (0, 0, 126, 0, "ab12"),
    (0, 126, 126, 0, "ab12"),
    (2, 0, 39, 1, "0034"),
    (3, 0, 1, 0, "1e99"),
]


def clip(name: str, **details: str | float | int) -> Clip:
    return Clip(
        Path("corpus") / f"{name}.wav", name, 3, 'class "x", y', f"group of {name}", details
    )


def test_index_is_pandass(tmp_path: Path) -> None:
    first = clip("a, b", speaker="007", snr=0.1, take=3)
    second = clip("naïve\nname", speaker="two\r\nlines", snr=1e-17, take=-1)
    third = clip("\rNA ", speaker="", snr=0.0, take=0)
    kept = [first, first, second, third]
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
    expected = table.to_csv(index=False, lineterminator="\r\n")
    assert (tmp_path / "index.csv").read_bytes().decode() == expected
    read = pandas.read_csv(tmp_path / "index.csv", dtype=str, keep_default_na=False)
    assert read["clip"].tolist() == [each.name for each in kept]
    assert read["speaker"].tolist() == [each.details["speaker"] for each in kept]
