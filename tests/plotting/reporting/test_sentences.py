"""The table and the sentences at the end of a run against numbers worked out by hand."""

from collections.abc import Sequence
from typing import Any

import pytest

from plotting.reporting.summary import summary_text
from tests.synthetic_results import (
    AGAINST_NOISE,
    AGAINST_RANDOM,
    baselines,
    loaded,
    make_result,
    series,
)

# Gains over the baseline of eight seeds, in points.
GAINS = (4.0, 6.0, 5.0, 3.0, 7.0, 5.0, 4.0, 6.0)
AS_MUCH = (5.0, 5.0, 5.5, 4.0, 6.5, 5.2, 4.4, 6.0)
A_LITTLE_LESS = (3.8, 5.2, 5.5, 3.0, 6.2, 5.0, 3.9, 6.2)
NOTHING = (0.5, -0.5, 0.2, -0.1, 0.4, 0.0, 0.1, -0.3)
UNCLEAR = (4.0, -6.0, 5.0, -3.0, 7.0, 2.0, -4.0, 3.0)
LARGE_UNCLEAR = (14.0, -6.0, 10.0, -3.0, 16.0, 5.0, -2.0, 12.0)


def said(*results: dict[str, Any]) -> list[str]:
    text = summary_text(loaded(results))
    return [" ".join(line.split()) for line in text.split("\n")]


def sentence_of(lines: list[str], start: str) -> str:
    (sentence,) = [line for line in lines if line.startswith(f"- {start}")]
    return sentence


def test_the_table_has_a_line_for_each_method() -> None:
    """70, 80, 90: mean 80, deviation 10; gains of 4, 6 and 5 points."""
    lines = said(
        *(
            make_result(t, s, 5, validation=v)
            for s, (t, v) in enumerate([(0.7, 0.60), (0.8, 0.64), (0.9, 0.62)])
        ),
        *(make_result(t, s, 28, **AGAINST_NOISE) for s, t in enumerate((0.74, 0.86, 0.95))),
        make_result(0.5, 0, 108, kind="weight_initialization", at_pretraining="noisyspeech"),
    )
    assert lines[2] == (
        "gsc_randsplit (random by clip: speakers shared); 90 test examples; chance 25.0 %"
    )
    assert "baseline 3 62.0 ± 2.0 80.0 ± 10.0" in lines
    (row,) = [line for line in lines if line.startswith("anti-transfer")]
    assert (
        row
        == "anti-transfer against noisyspeech 13 3 50.0 ± 0.0 85.0 ± 10.5 +5.0 +4.0 to +6.0 0.25"
    )
    assert "weight initialization from noisyspeech 1 50.0 50.0 -20.0" in lines


def test_a_gain_is_claimed_only_with_interval_and_p_value() -> None:
    six = said(*baselines(6), *series(GAINS[:6], **AGAINST_NOISE))
    sentence = sentence_of(six, "Anti-transfer")
    assert "minus baseline, same seeds: +5.0 points" in sentence
    assert "p = 0.031 (6 pairs): it helped here." in sentence
    three = said(*baselines(3), *series(GAINS[:3], **AGAINST_NOISE))
    sentence = sentence_of(three, "Anti-transfer")
    assert "do not show a difference" in sentence
    assert "(3 pairs cannot show any difference: at least 6 repetitions are needed)" in sentence


def test_a_loss_and_no_difference_are_said() -> None:
    worse = series([-gain for gain in GAINS], **AGAINST_NOISE)
    assert "it hurt here." in sentence_of(said(*baselines(), *worse), "Anti-transfer")
    same = series((4.0, -4.0, 1.0, -1.0, 2.0, -1.5, 1.0, -2.0), **AGAINST_NOISE)
    sentence = sentence_of(said(*baselines(), *same), "Anti-transfer")
    assert "do not show a difference" in sentence
    assert "helped" not in sentence
    assert "hurt" not in sentence


def test_a_smaller_error_of_a_regression_is_a_gain() -> None:
    errors = (0.50, 0.70, 0.60, 0.55, 0.65, 0.62)
    results = [make_result(error, seed, 40, "regression") for seed, error in enumerate(errors)]
    results += [
        make_result(error - 0.1 - seed / 100, seed, 41, "regression", **AGAINST_NOISE)
        for seed, error in enumerate(errors)
    ]
    sentence = sentence_of(said(*results), "Anti-transfer")
    assert "-0.125 RMSE" in sentence
    assert "it helped here." in sentence


def test_one_run_for_each_layer_concludes_nothing() -> None:
    """The baseline's deviation: of 50 70 60 55 65 62, it is 7.07 points."""
    runs = [
        make_result(0.7, 0, 28, at_layer=layer, validation=layer / 20, **AGAINST_NOISE)
        for layer in range(1, 14)
    ]
    sentence = sentence_of(said(*baselines(6), *runs), "Anti-transfer")
    assert "layer 13 chosen on validation" in sentence
    assert "+20.0 points in one pair; one pair cannot tell a gain from training noise" in sentence
    assert "standard deviation of the baseline's runs: 7.1 points" in sentence
    assert "of 13 layers the best lies above the baseline by luck" in sentence


@pytest.mark.parametrize(
    ("own", "control", "verdict"),
    [
        (GAINS, NOTHING, "More than a random untrained network gives: it matters which network"),
        (GAINS, AS_MUCH, "the gain does not come from the orthogonal task."),
        (UNCLEAR, [-gain for gain in UNCLEAR], "The two cannot be told apart"),
        # The control's mean is larger, but neither gain is shown.
        ([-gain for gain in UNCLEAR], UNCLEAR, "The two cannot be told apart"),
        # The control's gain is shown, the method's larger one is not.
        (LARGE_UNCLEAR, AS_MUCH, "The two cannot be told apart"),
        # Both gains are shown, the control's is smaller by a difference that is not.
        (GAINS, A_LITTLE_LESS, "The two cannot be told apart"),
        # The method's gain is shown, the control's is larger.
        (GAINS, LARGE_UNCLEAR, "A random untrained network gives as much, as far as 8 pairs"),
        (GAINS, LARGE_UNCLEAR, "there is no evidence that the gain comes from the orthogonal"),
        # The method's gain is shown, the control's is smaller.
        (GAINS, (10.0, -6.0, 8.0, -3.0, 12.0, 1.0, -2.0, 9.0), "The two cannot be told apart"),
        ([-gain for gain in GAINS], NOTHING, "gives more"),
    ],
)
def test_the_random_control_decides(
    own: Sequence[float], control: Sequence[float], verdict: str
) -> None:
    lines = said(
        *baselines(),
        *series(own, **AGAINST_NOISE),
        *series(control, **AGAINST_RANDOM),
    )
    sentence = sentence_of(lines, "Control for anti-transfer against noisyspeech, layer 13")
    assert verdict in sentence
    assert not any(line.startswith("- No control") for line in lines)


@pytest.mark.parametrize(
    ("control_is", "verdict"), [("smaller", "gives as much"), ("larger", "cannot be told apart")]
)
def test_as_much_of_an_error_is_no_less_of_a_fall(control_is: str, verdict: str) -> None:
    """The control's error is 0.005 smaller, or larger, on average; the difference is not shown."""
    sign = -1 if control_is == "smaller" else 1
    falls = (0.10, 0.12, 0.11, 0.13, 0.09, 0.10, 0.11, 0.11)
    apart = (0.02, -0.01, 0.02, -0.01, 0.02, -0.01, 0.02, -0.01)
    results = [make_result(0.6, seed, 40, "regression") for seed in range(8)]
    for parameters, differences in ((AGAINST_NOISE, (0.0,) * 8), (AGAINST_RANDOM, apart)):
        results += [
            make_result(0.6 - fall + sign * other, seed, 41, "regression", **parameters)
            for seed, (fall, other) in enumerate(zip(falls, differences, strict=True))
        ]
    lines = said(*results)
    assert verdict in sentence_of(lines, "Control")
    assert "change -0.109 RMSE against noisyspeech" in sentence_of(lines, "Control")


@pytest.mark.parametrize(
    ("penalties", "tasks", "said_of_it"),
    [
        (
            (40.0, 57.6),
            (0.02, 0.026),
            "the penalty pulls more than 10 times as hard as the task at layer 3 (48.8 against "
            "0.023): a smaller at_beta leaves the task more.",
        ),
        ((0.05, 0.07), (0.01, 0.001), "at layer 3 (0.06 against 0.0055)"),
        ((0.05, 0.05), (0.01, 0.01), ""),
        ((0.3, 0.5), (0.0, 0.0), "at layer 3 (0.4 against 0)"),
    ],
)
def test_a_penalty_that_pulls_much_harder_than_the_task_is_named(
    penalties: Sequence[float], tasks: Sequence[float], said_of_it: str
) -> None:
    """By the means over the runs; results from before this was measured say nothing."""
    runs = series(GAINS[:2], **AGAINST_NOISE)
    for run, penalty, task in zip(runs, penalties, tasks, strict=True):
        norms = {"penalty_noisyspeech_layer3": penalty, "task_noisyspeech_layer3": task}
        run["0"]["gradient_norms"] = norms
    lines = [line for line in said(*baselines(2), *runs) if "pulls" in line]
    assert all(said_of_it in line for line in lines)
    assert len(lines) == bool(said_of_it)
    assert not any("pulls" in line for line in said(*baselines(), *series(GAINS, **AGAINST_NOISE)))
