"""The table and the sentences at the end of a run against numbers worked out by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from plotting.comparisons import compare
from plotting.findings import find
from plotting.paired_statistics import smallest_effect
from plotting.report_tables import control_table, layer_table, main_table
from plotting.runs import run_of
from plotting.summary import summary_text

MakeResult = Callable[..., dict[str, Any]]
AGAINST_NOISE = {"kind": "anti_transfer", "anti_transfer": True, "at_dataset": "noisyspeech"}
RANDOM = {**AGAINST_NOISE, "at_dataset": "random"}
BASELINE = (0.50, 0.70, 0.60, 0.55, 0.65, 0.62)


def said(*results: dict[str, Any]) -> list[str]:
    text = summary_text(run_of(result, result["experiment"]) for result in results)
    return [" ".join(line.split()) for line in text.split("\n")]


def sentence_of(lines: list[str], start: str) -> str:
    (sentence,) = [line for line in lines if line.startswith(f"- {start}")]
    return sentence


def series(make_result: MakeResult, gains: tuple[float, ...], **parameters: Any) -> list[Any]:
    """Runs with given gains, in points, over BASELINE."""
    return [
        make_result(BASELINE[seed] + gain / 100, seed, 28, **parameters)
        for seed, gain in enumerate(gains)
    ]


def baselines(make_result: MakeResult, number: int = 6) -> list[Any]:
    return series(make_result, (0.0,) * number, kind="baseline")


def test_the_table_has_a_line_for_each_method(make_result: MakeResult) -> None:
    """70, 80, 90: mean 80, deviation 10; gains of 4, 6 and 5 points."""
    lines = said(
        *(
            make_result(t, s, 5, validation=v)
            for s, (t, v) in enumerate([(0.7, 0.60), (0.8, 0.64), (0.9, 0.62)])
        ),
        *(make_result(t, s, 28, **AGAINST_NOISE) for s, t in enumerate((0.74, 0.86, 0.95))),
        make_result(0.5, 0, 108, kind="weight_initialization", at_pretraining="noisyspeech"),
    )
    assert lines[0] == (
        "gsc_randsplit (random by clip: speakers shared); 90 test examples; chance 25.0 %"
    )
    assert "baseline 3 62.0 ± 2.0 80.0 ± 10.0" in lines
    (row,) = [line for line in lines if line.startswith("anti-transfer")]
    assert (
        row
        == "anti-transfer against noisyspeech 13 3 50.0 ± 0.0 85.0 ± 10.5 +5.0 +4.0 to +6.0 0.25"
    )
    assert "weight initialization from noisyspeech 1 50.0 50.0 -20.0" in lines


def test_a_gain_is_claimed_only_with_interval_and_p_value(make_result: MakeResult) -> None:
    gains = (4.0, 6.0, 5.0, 3.0, 7.0, 5.0)
    six = said(*baselines(make_result), *series(make_result, gains, **AGAINST_NOISE))
    sentence = sentence_of(six, "Anti-transfer")
    assert "minus baseline, same seeds: +5.0 points" in sentence
    assert "p = 0.031 (6 pairs): it helped here." in sentence
    three = said(*baselines(make_result, 3), *series(make_result, gains[:3], **AGAINST_NOISE))
    sentence = sentence_of(three, "Anti-transfer")
    assert "do not show a difference" in sentence
    assert "(3 pairs cannot show any difference: at least 6 repetitions are needed)" in sentence
    assert "the p-value of so few pairs is never below 0.25: no claim is made" in sentence
    assert "could have shown" not in sentence


def test_what_could_have_been_shown_is_said_only_of_what_could(make_result: MakeResult) -> None:
    """s = 1 of six pairs +-a: a = sqrt(5/6); d = 1.435 s of six pairs at 0.05 (G*Power 3)."""
    unit = (5 / 6) ** 0.5
    runs = series(make_result, (unit, -unit) * 3, **AGAINST_NOISE)
    sentence = sentence_of(said(*baselines(make_result), *runs), "Anti-transfer")
    assert "(6 pairs with this spread could have shown one of about 1.4 points" in sentence
    second = series(make_result, (unit, -unit) * 3, **AGAINST_NOISE, at_layer=2)
    sentence = sentence_of(said(*baselines(make_result), *runs, *second), "Anti-transfer")
    assert (
        "(6 pairs, corrected over 2 layers, cannot show any difference: at least 7 repetitions "
        "are needed)"
    ) in sentence


def test_the_table_leaves_empty_what_could_not_have_been_shown(make_result: MakeResult) -> None:
    """Two layers: alpha is halved, and 6 pairs are one too few, 10 are enough."""
    for number, shown in ((6, False), (10, True)):
        results = [make_result(0.5 + seed / 50, seed, 5) for seed in range(number)]
        results += [
            make_result(0.5 + seed / 50 + (-1) ** seed / size, seed, 28, at_layer=layer, **against)
            for layer in (2, 3)
            for against, size in ((AGAINST_NOISE, 100), (RANDOM, 50))
            for seed in range(number)
        ]
        (comparison,) = compare([run_of(result, result["experiment"]) for result in results])
        findings = find(comparison)
        effect = findings.methods[0].chosen.smallest_effect
        assert (effect is not None) == shown
        for table in (main_table(findings), control_table(findings)):
            column = [each.name for each in table.columns].index("could show")
            assert any(row[column] is not None for row in table.rows) == shown
    half = smallest_effect([1.0, -1.0] * 5, 0.025)
    assert effect == pytest.approx(half)


def test_the_least_p_value_is_the_best_that_all_layers_can_do_together(
    make_result: MakeResult,
) -> None:
    """Layers of 10 and 9 pairs, 13 in all: 12 x 2 / 2^9 is below 0.05, 13 x 2 / 2^9 is not."""
    results = [make_result(0.5, seed, 5) for seed in range(10)]
    results += [
        make_result(0.6 + seed / 100, seed, 28, at_layer=layer, **AGAINST_NOISE)
        for layer in range(1, 14)
        for seed in range(9 if layer == 1 else 10)
    ]
    (comparison,) = compare([run_of(result, result["experiment"]) for result in results])
    short, whole, *_ = find(comparison).methods[0].layers
    assert whole.least_p == pytest.approx(13 * 2 / 2**10)
    assert short.least_p == pytest.approx(13 * 2 / 2**10)
    assert short.verdict == "better"


def test_layers_that_are_not_chosen_from_are_said(make_result: MakeResult) -> None:
    lucky = make_result(0.99, 0, 28, validation=0.99, at_layer=9, **AGAINST_NOISE)
    runs = series(make_result, (4.0, 6.0, 5.0, 3.0, 7.0, 5.0), **AGAINST_NOISE)
    sentence = sentence_of(said(*baselines(make_result), *runs, lucky), "Anti-transfer")
    assert "layer 13 chosen on validation" in sentence
    assert "Not among the layers to choose from: layer 9 has 1 of 6 repetitions." in sentence
    (comparison,) = compare(
        [run_of(result, result["experiment"]) for result in (*baselines(make_result), *runs, lucky)]
    )
    findings = find(comparison)
    for table in (main_table(findings), layer_table(findings.methods[0], findings)):
        assert any("layer 9 has 1 of 6 repetitions" in note for note in table.notes)


def test_a_loss_and_no_difference_are_said(make_result: MakeResult) -> None:
    worse = series(make_result, (-4.0, -6.0, -5.0, -3.0, -7.0, -5.0), **AGAINST_NOISE)
    assert "it hurt here." in sentence_of(said(*baselines(make_result), *worse), "Anti-transfer")
    same = series(make_result, (4.0, -4.0, 1.0, -1.0, 2.0, -1.5), **AGAINST_NOISE)
    sentence = sentence_of(said(*baselines(make_result), *same), "Anti-transfer")
    assert "do not show a difference" in sentence
    assert "helped" not in sentence
    assert "hurt" not in sentence


def test_a_smaller_error_of_a_regression_is_a_gain(make_result: MakeResult) -> None:
    errors = (0.50, 0.70, 0.60, 0.55, 0.65, 0.62)
    results = [make_result(error, seed, 40, "regression") for seed, error in enumerate(errors)]
    results += [
        make_result(error - 0.1 - seed / 100, seed, 41, "regression", **AGAINST_NOISE)
        for seed, error in enumerate(errors)
    ]
    sentence = sentence_of(said(*results), "Anti-transfer")
    assert "-0.125 RMSE" in sentence
    assert "it helped here." in sentence


def test_one_run_for_each_layer_concludes_nothing(make_result: MakeResult) -> None:
    """The baseline's deviation: of 50 70 60 55 65 62, it is 7.07 points."""
    runs = [
        make_result(0.7, 0, 28, at_layer=layer, validation=layer / 20, **AGAINST_NOISE)
        for layer in range(1, 14)
    ]
    sentence = sentence_of(said(*baselines(make_result), *runs), "Anti-transfer")
    assert "layer 13 chosen on validation" in sentence
    assert "+20.0 points in one pair; one pair cannot tell a gain from training noise" in sentence
    assert "standard deviation of 7.1 points over its 6 repetitions" in sentence
    assert "one run for each of 13 layers neither a gain" in sentence


def test_no_pair_and_no_baseline_are_said(make_result: MakeResult) -> None:
    stranger = make_result(0.6, 77, 28, **AGAINST_NOISE)
    assert "no repetition shares its seed" in sentence_of(
        said(*baselines(make_result), stranger), "Anti-transfer"
    )
    assert "no baseline trained alike" in sentence_of(said(stranger), "Anti-transfer")


@pytest.mark.parametrize(
    ("own", "control", "verdict"),
    [
        (
            (4.0, 6.0, 5.0, 3.0, 7.0, 5.0),
            (0.5, -0.5, 0.2, -0.1, 0.4, 0.0),
            "More than a random untrained network gives: it matters which network was frozen.",
        ),
        (
            (4.0, 6.0, 5.0, 3.0, 7.0, 5.0),
            (5.0, 5.0, 5.5, 4.0, 6.5, 5.2),
            "the gain does not come from the orthogonal task.",
        ),
        (
            (4.0, -6.0, 5.0, -3.0, 7.0, 2.0),
            (-3.0, 5.0, -4.0, 6.0, 1.0, -6.0),
            "The two cannot be told apart",
        ),
        (  # the control's mean is larger, but neither gain is shown
            (-3.0, 5.0, -4.0, 6.0, 1.0, -6.0),
            (4.0, -6.0, 5.0, -3.0, 7.0, 2.0),
            "The two cannot be told apart",
        ),
        (  # the control's gain is shown, the method's larger one is not
            (14.0, -6.0, 10.0, -3.0, 16.0, 5.0),
            (5.0, 5.0, 5.5, 4.0, 6.5, 5.2),
            "The two cannot be told apart",
        ),
        (  # both gains are shown, the control's is smaller by a difference that is not
            (4.0, 6.0, 5.0, 3.0, 7.0, 5.0),
            (3.8, 5.2, 5.5, 3.0, 6.2, 5.0),
            "The two cannot be told apart",
        ),
        (  # the method's gain is shown, the control's is larger
            (4.0, 6.0, 5.0, 3.0, 7.0, 5.0),
            (14.0, -6.0, 10.0, -3.0, 16.0, 5.0),
            "A random untrained network gives as much, as far as",
        ),
        (
            (4.0, 6.0, 5.0, 3.0, 7.0, 5.0),
            (14.0, -6.0, 10.0, -3.0, 16.0, 5.0),
            "there is no evidence that the gain comes from the orthogonal task.",
        ),
        (  # the method's gain is shown, the control's is smaller
            (4.0, 6.0, 5.0, 3.0, 7.0, 5.0),
            (10.0, -6.0, 8.0, -3.0, 12.0, 1.0),
            "The two cannot be told apart",
        ),
        (
            (-4.0, -6.0, -5.0, -3.0, -7.0, -5.0),
            (0.5, -0.5, 0.2, -0.1, 0.4, 0.0),
            "gives more",
        ),
    ],
)
def test_the_random_control_decides(
    make_result: MakeResult, own: tuple[float, ...], control: tuple[float, ...], verdict: str
) -> None:
    lines = said(
        *baselines(make_result),
        *series(make_result, own, **AGAINST_NOISE),
        *series(make_result, control, **RANDOM),
    )
    sentence = sentence_of(lines, "Control for anti-transfer against noisyspeech, layer 13")
    assert verdict in sentence
    assert not any(line.startswith("- No control") for line in lines)


def test_nothing_is_said_of_the_source_if_the_two_cannot_be_told_apart(
    make_result: MakeResult,
) -> None:
    lines = said(
        *baselines(make_result),
        *series(make_result, (4.0, 6.0, 5.0, 3.0, 7.0, 5.0), **AGAINST_NOISE),
        *series(make_result, (3.8, 5.2, 5.5, 3.0, 6.2, 5.0), **RANDOM),
    )
    sentence = sentence_of(lines, "Control")
    assert "orthogonal task" not in sentence
    assert "as much" not in sentence


@pytest.mark.parametrize(
    ("control_is", "verdict"), [("smaller", "gives as much"), ("larger", "cannot be told apart")]
)
def test_as_much_of_an_error_is_no_less_of_a_fall(
    make_result: MakeResult, control_is: str, verdict: str
) -> None:
    """The control's error is 0.005 smaller, or larger, on average; the difference is not shown."""
    sign = -1 if control_is == "smaller" else 1
    falls = (0.10, 0.12, 0.11, 0.13, 0.09, 0.10)
    apart = (0.02, -0.01, 0.02, -0.01, 0.02, -0.01)
    results = [make_result(0.6, seed, 40, "regression") for seed in range(6)]
    for parameters, differences in ((AGAINST_NOISE, (0.0,) * 6), (RANDOM, apart)):
        results += [
            make_result(0.6 - fall + sign * other, seed, 41, "regression", **parameters)
            for seed, (fall, other) in enumerate(zip(falls, differences, strict=True))
        ]
    assert verdict in sentence_of(said(*results), "Control")


def test_a_missing_control_of_two_networks_is_two_networks(make_result: MakeResult) -> None:
    two = {**AGAINST_NOISE, "at_dataset": "noisyspeech, iemocap"}
    lines = said(
        *baselines(make_result),
        *series(make_result, (4.0, 6.0, 5.0, 3.0, 7.0, 5.0), **two),
        *series(make_result, (4.0, 6.0, 5.0, 3.0, 7.0, 5.0), **RANDOM),
    )
    assert not any(line.startswith("- Control") for line in lines)
    assert "as often as there are frozen networks" in sentence_of(lines, "No control")


def test_another_network_is_named_and_a_missing_control_is_said(make_result: MakeResult) -> None:
    other = {**AGAINST_NOISE, "at_dataset": "iemocap_1sec"}
    lines = said(
        *baselines(make_result),
        *series(make_result, (4.0, 6.0, 5.0, 3.0, 7.0, 5.0), **AGAINST_NOISE),
        *series(make_result, (0.0, 0.5, 0.1, -0.5, 0.3, 0.2), **other),
    )
    sentence = sentence_of(lines, "Another network for anti-transfer against noisyspeech")
    assert "more than the network iemocap_1sec gives" in sentence.lower()
    assert "at_dataset = random" in sentence_of(lines, "No control")


def test_collapsed_runs_are_said(make_result: MakeResult) -> None:
    runs = series(make_result, (4.0, 6.0, 5.0), **AGAINST_NOISE)
    for run in runs[:2]:
        run["0"]["collapsed"] = True
    sentence = sentence_of(said(*baselines(make_result), *runs), "Anti-transfer")
    assert "Collapsed: 2 of its 3 runs named one class only" in sentence


def test_nothing_is_said_of_nothing() -> None:
    assert summary_text([]) == ""
