"""What a label's probe keeps apart, on made-up test sets of which it is known what leaks."""

import numpy as np
import pandas as pd
import pytest

from training.probing.labels import described, labels_of
from training.probing.probes import probe_accuracy

NUM_EXAMPLES = 120
NUM_TYPES = 3


def index(recordings_per_type: int, column: str = "noise_type") -> pd.DataFrame:
    """Speakers, and noises of three types with some recordings each, independent of each other."""
    numbers = np.random.default_rng(3).permutation(NUM_EXAMPLES)
    kinds = numbers % NUM_TYPES
    recordings = numbers // NUM_TYPES % recordings_per_type
    return pd.DataFrame(
        {
            "clip": [f"clip{number}" for number in range(NUM_EXAMPLES)],
            "group": [f"speaker{number % 12}" for number in range(NUM_EXAMPLES)],
            "speaker": [f"speaker{number % 12}" for number in range(NUM_EXAMPLES)],
            column: [f"type{kind}" for kind in kinds],
            "noise": [f"{kind}_{each}.wav" for kind, each in zip(kinds, recordings, strict=True)],
        }
    )


def test_features_that_know_the_recording_but_not_its_type_are_at_chance() -> None:
    """With speakers kept apart alone, they would be right in all cases."""
    accuracies = []
    for seed in range(8):
        table = index(4)
        codes = np.unique(table["noise"], return_inverse=True)[1]
        identity = np.random.default_rng(seed).standard_normal((12, 20))
        (plan,) = labels_of(["noise_type"], table).plans.values()
        of_noise = np.array(table["noise"])[plan.rows]
        for training, held_out in plan.folds:
            assert not set(of_noise[training]) & set(of_noise[held_out])
        accuracies.append(probe_accuracy(identity[codes], plan))
    assert np.mean(accuracies) < 0.5
    by_speaker = labels_of(["noise_type"], table.drop(columns="noise")).plans["noise_type"]
    assert probe_accuracy(identity[codes], by_speaker) == 1


def test_two_recordings_of_each_type_are_enough() -> None:
    found = labels_of(["noise_type", "speaker"], index(2))
    entry = described("noise_type", "orthogonal", [found])
    assert (entry["grouped_by"], entry["not_apart"], entry["num_folds"]) == ("noise", [], 5)
    entry = described("speaker", "orthogonal", [found])
    assert (entry["grouped_by"], entry["not_apart"]) == ("clip", [])


@pytest.mark.parametrize(
    "spoiled", [index(1), index(4).drop(columns="noise"), index(4).assign(noise="")]
)
def test_where_recordings_cannot_be_kept_apart_it_is_said(spoiled: pd.DataFrame) -> None:
    """One recording of each type; no column that names them; one that is empty."""
    found = labels_of(["noise_type"], spoiled)
    entry = described("noise_type", "orthogonal", [found])
    assert (entry["grouped_by"], entry["not_apart"]) == ("speaker", ["noise"])
    # Of two folds, the one that fell back decides.
    folds = [labels_of(["noise_type"], index(2)), found]
    entry = described("noise_type", "orthogonal", folds)
    assert (entry["grouped_by"], entry["not_apart"]) == ("noise, speaker", ["noise"])


@pytest.mark.parametrize("num_known", [0, 10, 60])
def test_examples_without_a_value_are_counted_and_take_no_part(num_known: int) -> None:
    table = index(4)
    table.loc[num_known:, "speaker"] = ""
    found = labels_of(["speaker", "noise_type"], table.drop(columns="group"))
    if num_known == 60:
        assert len(found.plans["speaker"].rows) == 60
    else:
        said = f"{120 - num_known} of 120 have none: clip{num_known}, clip{num_known + 1}"
        assert said in found.left_out["speaker"]
    # Whether a speaker is on both sides cannot be told, so that is not said.
    assert found.plans["noise_type"].grouped_by == "noise"
    spoiled = labels_of(["noise_type"], table.drop(columns=["group", "noise"]))
    assert spoiled.plans["noise_type"].grouped_by == "clip"


def test_clips_with_a_recording_in_common_stay_together() -> None:
    """Each clip has two recordings, and those of a type are all linked, or make two halves."""
    table = index(4)
    number = table["noise"].str.extract(r"_(\d)", expand=False).astype(int)
    kind = table["noise"].str[0]
    ring = kind + "_" + number.astype(str) + ";" + kind + "_" + ((number + 1) % 4).astype(str)
    entry = described("noise_type", "x", [labels_of(["noise_type"], table.assign(noise=ring))])
    assert (entry["grouped_by"], entry["not_apart"]) == ("speaker", ["noise"])
    halves = kind + "_" + number.astype(str) + ";" + kind + "_half" + (number // 2).astype(str)
    entry = described("noise_type", "x", [labels_of(["noise_type"], table.assign(noise=halves))])
    assert (entry["grouped_by"], entry["not_apart"]) == ("noise", [])
