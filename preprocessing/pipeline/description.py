"""What info.json says of a set of matrices: how they were made, of which classes, and the split."""

from typing import Any

import numpy as np

from config.errors import UserError
from config.settings import Settings
from preprocessing.pipeline.audio import Clip
from preprocessing.pipeline.dataset import Dataset
from preprocessing.pipeline.leaks import describe_split, shared_sources


def description(
    dataset: Dataset,
    settings: Settings,
    clips: list[Clip],
    kept: list[Clip],
    left_out: list[tuple[int, str]],
) -> dict[str, Any]:
    """How the examples of the clips that were kept were made.

    Args:
        clips: all of the corpus.
        left_out: clip numbers and reasons.
    """
    classes = _class_names(dataset, clips)
    counts = np.bincount([clip.label for clip in kept], minlength=len(classes))
    return {
        "dataset": dataset.name,
        "task": dataset.task,
        "command": dataset.command,
        "split_type": dataset.split_type,
        "orthogonal_labels": dataset.orthogonal_labels,
        "preprocessing": dataset.decisive_values(settings),
        "seconds": dataset.seconds(settings),
        "sample_rate": settings.sampling.sr_target,
        "feature_extraction": settings.feature_extraction.model_dump(mode="json"),
        "classes": classes,
        "examples_per_class": dict(zip(classes, counts.tolist(), strict=True)),
        "num_clips": len(clips),
        "num_left_out": len(left_out),
        "num_examples": len(kept),
    }


def sharing(
    dataset: Dataset, settings: Settings, kept: list[Clip], splits: dict[str, Any]
) -> dict[str, Any]:
    """What the sets of the first fold have in common, in figures and in words."""
    shares = shared_sources(kept, dataset.sources, splits["folds"][0])
    words = [describe_split(dataset.split_type, shares)]
    words += [f"{key} {value:g}" for key, value in dataset.decisive_values(settings).items()]
    return {"sources": shares, "split": "; ".join(words)}


def _class_names(dataset: Dataset, clips: list[Clip]) -> list[str]:
    labels = {clip.label: clip.class_name for clip in clips}
    return list(dataset.classes) or [labels.get(label, "") for label in range(max(labels) + 1)]


def refuse_empty_classes(dataset: Dataset, clips: list[Clip], kept: list[Clip]) -> None:
    """Make sure that there is an example of each class.

    Raises:
        UserError: names those of which there is none.
    """
    found = {clip.label for clip in kept}
    names = _class_names(dataset, clips)
    empty = [name or str(label) for label, name in enumerate(names) if label not in found]
    if empty:
        raise UserError(
            f"{dataset.name}: no example of {len(empty)} of {len(names)} classes: "
            f"{', '.join(empty[:20])}"
        )
