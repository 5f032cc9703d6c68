"""The two tables beside a matrix: a row for each example, and the clips that were left out."""

import csv
from collections.abc import Sequence
from pathlib import Path

from config.files import written_aside
from preprocessing.pipeline.audio import Clip
from preprocessing.pipeline.blocks import LeftOut, Row
from preprocessing.pipeline.manifests import write_table

INDEX_COLUMNS = (
    "clip",
    "label",
    "class_name",
    "group",
    "first_frame",
    "num_frames",
    "augmented",
    "content",
)


def write_index(path: Path, kept: Sequence[Clip], rows: Sequence[Row]) -> None:
    """Write index.csv, line by line; what the corpus knows of a clip gets columns of its own.

    Args:
        kept: the clip of each row.
    """
    details = list(dict.fromkeys(name for clip in kept for name in clip.details))
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*INDEX_COLUMNS, *details])
        for clip, (_, *found) in zip(kept, rows, strict=True):
            known = [clip.name, clip.label, clip.class_name, clip.group]
            writer.writerow([*known, *found, *(clip.details.get(name) for name in details)])


def write_left_out(path: Path, clips: Sequence[Clip], left_out: Sequence[LeftOut]) -> None:
    """Write left_out.csv: clip, file, reason."""
    rows = [
        {"clip": clips[number].name, "file": str(clips[number].path), "reason": reason}
        for number, reason in left_out
    ]
    write_table(path, rows, ["clip", "file", "reason"])
