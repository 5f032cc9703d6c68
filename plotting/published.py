"""The published values, put right where published_results.json says that they are wrong."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

PUBLISHED_FILE = Path(__file__).resolve().parent / "published_results.json"
# The convolutions of VGG16.
PUBLISHED_LAYERS = range(1, 14)
TASK_LABELS = {
    "speech recognition": "Automatic Speech Recognition",
    "speech emotion": "Speech Emotion Recognition",
    "sound goodness": "Sound Goodness Estimation",
}

Pair = tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """One bar of the accuracy figure: pairs of (baseline, anti-transfer) test accuracy in percent.

    Attributes:
        differs: how published heights of this bar differ from the one drawn; empty: they do not.
    """

    label: str
    pairs: tuple[Pair, ...]
    differs: str = ""

    @property
    def improvements(self) -> list[float]:
        """Return each pair's improvement in percentage points."""
        return [anti_transfer - baseline for baseline, anti_transfer in self.pairs]

    @property
    def height(self) -> float:
        """Return the mean improvement in percentage points."""
        return fmean(self.improvements)


def load_published() -> dict[str, Any]:
    """Return the content of published_results.json, as published."""
    content: dict[str, Any] = json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))
    return content


def accuracy_bars(published: dict[str, Any]) -> list[Bar]:
    """Return the eight bars of the accuracy figure, in its order."""
    groups = published["accuracy_boost"]["groups"]
    return [
        _overall_bar(published),
        *(Bar(label, _case_pairs(published, task)) for task, label in TASK_LABELS.items()),
        *(_group_bar(published, label, groups[label]) for label in groups),
    ]


def per_layer_improvement(published: dict[str, Any], curve: str) -> list[float]:
    """Return the improvement over the baseline at convolutions 1 to 13, in percentage points.

    Args:
        curve: '<train or test>_<libri or iemo>_<random or actor>', as in the file.
    """
    values = published["per_layer"]
    set_name, _, split = curve.split("_")
    baseline_name = f"{set_name}_{'random' if split == 'random' else 'speaker'}"
    baseline = values["baselines"][baseline_name]
    return [100 * (accuracy - baseline) for accuracy in values["curves"][curve]]


def mean_per_layer_improvement(published: dict[str, Any], set_name: str) -> list[float]:
    """Return the mean of per_layer_improvement over the four curves of a set (train, test)."""
    curves = [
        per_layer_improvement(published, curve)
        for curve in published["per_layer"]["curves"]
        if curve.startswith(f"{set_name}_")
    ]
    return [fmean(improvements) for improvements in zip(*curves, strict=True)]


def _pair(values: list[float]) -> Pair:
    baseline, anti_transfer = values
    return baseline, anti_transfer


def _case_pairs(published: dict[str, Any], task: str | None = None) -> tuple[Pair, ...]:
    return tuple(
        (case["baseline"], case["anti_transfer"])
        for case in published["accuracy_boost"]["cases"]
        if task in (None, case["task"])
    )


def _overall_bar(published: dict[str, Any]) -> Bar:
    label = "Overall"
    bar = Bar(label, _case_pairs(published))
    divisor = published["corrections"]["overall_divisor"]["published"]
    released = sum(bar.improvements) / divisor
    first_version = published["accuracy_boost"]["bars_of_first_version_percent"][label]
    differs = (
        f"{bar.height:.2f} is the mean of all {len(bar.pairs)} cases; "
        f"the release divides their sum by {divisor} ({released:.2f}), "
        f"the first version shows {first_version:.2f}"
    )
    return Bar(label, bar.pairs, differs)


def _group_bar(published: dict[str, Any], label: str, values: list[list[float]]) -> Bar:
    as_published = Bar(label, tuple(_pair(pair) for pair in values))
    pairs, reasons = list(as_published.pairs), []
    for correction in published["corrections"]["pairs"]:
        if correction["group"] == label:
            wrong, right = correction["published"], correction["right"]
            pairs[pairs.index(_pair(wrong))] = _pair(right)
            reasons.append(f"the pair {wrong} for {right} ({correction['reason']})")
    bar = Bar(label, tuple(pairs))
    if not reasons:
        return bar
    differs = (
        f"{bar.height:.2f} is the mean of the right pairs; "
        f"the release shows {as_published.height:.2f} with {'; '.join(reasons)}"
    )
    return Bar(label, bar.pairs, differs)
