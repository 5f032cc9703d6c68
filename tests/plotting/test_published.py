"""The published values and what is put right in them, against sums worked by hand."""

from typing import Any

import pytest

from plotting.published import (
    accuracy_bars,
    load_published,
    per_layer_improvement,
)


@pytest.fixture
def published() -> dict[str, Any]:
    return load_published()


def test_bars_stand_in_the_order_of_the_figure_with_hand_computed_heights(
    published: dict[str, Any],
) -> None:
    heights = {bar.label: bar.height for bar in accuracy_bars(published)}
    expected = {
        "Overall": (2.5 + 11.5 + 2.8 + 4.1 + 1.28 + 1.53 + 0.94) / 7,
        "Automatic Speech Recognition": (1.28 + 1.53 + 0.94) / 3,
        "Speech Emotion Recognition": (2.8 + 4.1) / 2,
        "Sound Goodness Estimation": (2.5 + 11.5) / 2,
        "Pre-train on bigger dataset (GS + IEMOCAP)": (2.5 + 7.2 + 3.2 + 3.9) / 4,
        "Pre-train on same dataset (GS + IEMOCAP)": (2.8 + 4.2 + 1.9 + 11.5) / 4,
        "Single AT (GSC)": (0.38 + 0.25 + 1.14 + 1.24 + 0.94 + 0.55) / 6,
        "Dual AT (GSC)": (1.28 + 0.32 + 1.24 + 1.53 + 0.54 + 0.23) / 6,
    }
    assert list(heights) == list(expected)
    assert heights == pytest.approx(expected, abs=1e-9)


def test_each_corrected_bar_says_what_was_published(published: dict[str, Any]) -> None:
    differing = {bar.label: bar.differs for bar in accuracy_bars(published) if bar.differs}
    assert list(differing) == ["Overall", "Single AT (GSC)"]
    for text in ("3.52", "4.11", "5.25"):
        assert text in differing["Overall"]
    for text in ("0.75", "0.59", "[91.38, 90.99]", "90.44"):
        assert text in differing["Single AT (GSC)"]


@pytest.mark.parametrize(
    ("curve", "layer", "expected"),
    [
        ("train_libri_random", 1, 72.5185185 - 69.05),
        ("test_libri_random", 4, 67.7884615 - 63.7),
        ("train_iemo_actor", 1, 64.7147796 - 67.8),
        ("test_iemo_actor", 13, 62.3076923 - 57.2),
    ],
)
def test_per_layer_improvement_is_measured_from_the_splits_own_baseline(
    published: dict[str, Any], curve: str, layer: int, expected: float
) -> None:
    improvement = per_layer_improvement(published, curve)
    assert len(improvement) == 13
    assert improvement[layer - 1] == pytest.approx(expected, abs=1e-6)
