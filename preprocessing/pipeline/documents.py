"""What stands beside a matrix: how it was made, a row for each example, the clips left out."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.errors import UserError, refuse_all
from config.files import written_aside
from config.settings import Settings
from config.text import first_of, printable
from preprocessing.pipeline.dataset import Clip, Dataset
from preprocessing.pipeline.examples import LeftOut, Row
from preprocessing.pipeline.leaks import describe_split, shared_sources
from preprocessing.pipeline.matrices import INDEX_COLUMNS
from preprocessing.pipeline.tables import write_rows

LEFT_OUT_COLUMNS = ("clip", "file", "reason")


def write_index(path: Path, kept: Sequence[Clip], rows: Sequence[Row]) -> None:
    """Write index.csv, line by line; what the corpus knows of a clip gets columns of its own.

    Args:
        kept: the clip of each row.
    """
    details = list(dict.fromkeys(name for clip in kept for name in clip.details))
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*INDEX_COLUMNS, *details])
        for clip, (_, *found) in zip(kept, rows, strict=True):
            known = [clip.name, clip.label, clip.class_name, clip.group]
            writer.writerow([*known, *found, *(clip.details.get(name) for name in details)])


def write_left_out(path: Path, clips: Sequence[Clip], left_out: Sequence[LeftOut]) -> None:
    """Write left_out.csv: clip, file, reason."""
    rows = [
        {"clip": clips[number].name, "file": printable(str(clips[number].path)), "reason": reason}
        for number, reason in left_out
    ]
    write_rows(path, rows, LEFT_OUT_COLUMNS)


def describe(
    dataset: Dataset,
    settings: Settings,
    clips: Sequence[Clip],
    kept: Sequence[Clip],
    num_left_out: int,
    splits: dict[str, Any],
) -> dict[str, Any]:
    """Return what info.json says: how the examples were made, of which classes, and the split.

    Args:
        clips: all of the corpus.
        kept: the clip of each example.
    """
    classes = class_names(dataset, clips)
    counts = Counter(clip.label for clip in kept)
    shares = shared_sources(kept, dataset.sources, splits["folds"][0])
    decisive = dataset.decisive_values(settings)
    split = [describe_split(splits["type"], shares)]
    split += [f"{key} {value:g}" for key, value in decisive.items()]
    return {
        "dataset": dataset.name,
        "task": dataset.task,
        "command": dataset.command,
        "split_type": splits["type"],
        "orthogonal_labels": dataset.orthogonal_labels,
        "preprocessing": decisive,
        "declared": dict(dataset.declared),
        "seconds": dataset.seconds(settings),
        "sample_rate": settings.sampling.sr_target,
        "feature_extraction": settings.feature_extraction.model_dump(mode="json"),
        "is_regression": dataset.is_regression,
        "classes": classes,
        "examples_per_class": {name: counts[label] for label, name in enumerate(classes)},
        "num_clips": len(clips),
        "num_left_out": num_left_out,
        "num_examples": len(kept),
        "sources": shares,
        "split": "; ".join(split),
    }


def class_names(dataset: Dataset, clips: Sequence[Clip]) -> list[str]:
    """Return the names of a dataset's classes in label order; empty where no clip has the label.

    A regression has none.
    """
    if dataset.classes or dataset.is_regression:
        return list(dataset.classes)
    labels = {clip.label: clip.class_name for clip in clips}
    largest = int(max(labels, default=-1))
    return [labels.get(label, "") for label in range(largest + 1)]


def refuse_repeated_names(dataset: Dataset, clips: Sequence[Clip]) -> None:
    """Make sure that no two clips have one name, for splits and tables know them by it.

    Raises:
        UserError: names those that have.
    """
    counts = Counter(clip.name for clip in clips)
    repeated = [f"{name} is there {count} times" for name, count in counts.items() if count > 1]
    refuse_all(dataset.name, repeated, "remove all but one of each from the corpus")


def refuse_empty_classes(dataset: Dataset, clips: Sequence[Clip], kept: Sequence[Clip]) -> None:
    """Make sure that there is an example of each class.

    Raises:
        UserError: names those of which there is none.
    """
    found = {clip.label for clip in kept}
    names = class_names(dataset, clips)
    empty = [name or str(label) for label, name in enumerate(names) if label not in found]
    if empty:
        raise UserError(
            f"{dataset.name}: no example of {len(empty)} of {len(names)} classes: "
            f"{first_of(empty, 20)}"
        )
