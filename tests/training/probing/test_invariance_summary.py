"""The table and the sentences, on made-up analyses."""

from typing import Any

import pytest

from training.probing.analysis import Found
from training.probing.summary import curves, sentences, table


def analysed(experiment: int, last: float, first: float = 0.5, /, **parameters: Any) -> Found:
    probe = {"accuracy": first, "shuffled": 0.0}
    layers = [
        {"layer": "1", "probes": {"noise": probe}},
        {"layer": "penultimate", "probes": {"noise": {"accuracy": last, "shuffled": 0.24}}},
    ]
    label = {"role": "orthogonal", "num_examples": 100, "chance": 0.25}
    return Found(
        {"kind": "baseline", "dataset": "digits", "seed": 0, **parameters},
        {
            "experiment": experiment,
            "labels": {"noise": label},
            "left_out_labels": {"speaker": "too few"},
            "layers": layers,
        },
    )


AGAINST: dict[str, Any] = {
    "kind": "anti_transfer",
    "anti_transfer": True,
    "at_dataset": "random",
    "at_beta": 2.0,
}
RANDOM = "anti-transfer against a random network (control)"


def test_repetitions_are_averaged_and_configurations_are_not() -> None:
    found = [
        analysed(200, 0.5, 0.2),
        analysed(200, 0.6, 0.4, seed=1, repetition=1, comment_2="x", tracker="tensorboard"),
        analysed(203, 0.3, **AGAINST, at_layer=3),
        analysed(203, 0.4, **AGAINST, at_layer=5),
    ]
    assert [(curve.network, curve.num_runs, curve.last) for curve in curves(found)] == [
        ("200 baseline", 2, pytest.approx(0.55)),
        (f"203 {RANDOM}, layer 3", 1, 0.3),
        (f"203 {RANDOM}, layer 5", 1, 0.4),
    ]
    lines = table(found).splitlines()
    assert lines[1].split() == ["label", "network", "runs", "chance", "shuffled", "1", "last"]
    assert lines[3].split() == ["noise", "200", "baseline", "2", "25", "24", "30", "55"]
    assert [len(line) for line in lines[3:]] == [len(lines[2])] * 3


def test_whatever_differs_makes_another_row_and_is_named() -> None:
    ramp: dict[str, Any] = {**AGAINST, "at_layer": 3, "at_ramp": 0.3}
    reversal: dict[str, Any] = {"gradient_reversal_label": "noise", "gradient_reversal_layer": 5}
    found = [
        analysed(200, 0.5, learning_rate=0.001),
        analysed(201, 0.6, learning_rate=0.01),
        analysed(203, 0.3, **AGAINST, at_layer=3, learning_rate=0.001, at_distance="cos"),
        analysed(204, 0.4, **ramp, learning_rate=0.001, at_distance="cos"),
        analysed(205, 0.2, **ramp, **reversal, learning_rate=0.001, at_distance="cka"),
    ]
    reversing = f"{RANDOM} with gradient reversal of noise at layer 5"
    assert [curve.network for curve in curves(found)] == [
        "200 baseline (learning_rate 0.001)",
        "201 baseline (learning_rate 0.01)",
        f"203 {RANDOM} (learning_rate 0.001, cos), layer 3",
        f"204 {RANDOM} (learning_rate 0.001, cos, ramp 0.3), layer 3",
        f"205 {reversing} (learning_rate 0.001, cka, ramp 0.3), layer 3",
    ]


def test_what_decides_nothing_splits_no_repetitions() -> None:
    """Two experiments with the same configuration; a run that both hold counts once."""
    found = [
        analysed(200, 0.5, at_ramp=0.0, at_beta=1.0, gradient_reversal_label=None),
        analysed(207, 0.7, seed=1, at_beta=3.0, gradient_reversal_weight=2.0),
        analysed(207, 0.9, seed=0),
    ]
    (curve,) = curves(found)
    assert (curve.network, curve.num_runs) == ("200,207 baseline", 2)
    assert curve.last == pytest.approx(0.6)


def test_what_the_probe_kept_apart_is_said() -> None:
    found = analysed(200, 0.54)
    label = found.analysis["labels"]["noise"]
    label |= {"grouped_by": "speaker", "not_apart": ["noise"]}
    assert (
        "(no speaker is on both sides of the cross-validation, but recordings (noise) are: "
        in (sentences([found])[0])
    )
    label |= {"grouped_by": "noise, speaker", "not_apart": []}
    assert "(no noise or speaker is on both sides of the cross-validation)" in sentences([found])[0]


def test_sentences_say_the_lowest_the_highest_and_what_is_chance() -> None:
    # The standard error of a guess that is right in 25 of 100 cases is 4.3 points.
    found = [
        analysed(200, 0.54),
        analysed(201, 0.73, kind="weight_initialization", at_pretraining="x"),
        analysed(202, 0.33, kind="gradient_reversal", gradient_reversal_label="noise"),
    ]
    said = sentences(found)
    assert len(said) == 2
    assert "names 33.0 % (202 gradient reversal of noise) to" in said[0]
    assert "to 73.0 % (201 weight initialization from x) of" in said[0]
    assert "always naming the most frequent value names 25.0 %" in said[0]
    assert said[0].endswith("not to be told from chance: 202 gradient reversal of noise.")
    assert said[1] == "speaker: not probed on digits: too few."
    assert sentences([analysed(1, 0.54)])[0].endswith("all of them hold it.")
    assert sentences([analysed(1, 0.3)])[0].endswith("none of them can be told from chance.")
