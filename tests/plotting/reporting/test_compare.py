"""What is compared with what, where the layer is chosen, and which control is whose."""

from collections.abc import Sequence
from typing import Any

import pytest

from plotting.reporting.compare import Comparison, Method, compare, undecided_searches
from plotting.reporting.findings import find
from plotting.reporting.statistics import holm, permutation_p_value
from plotting.reporting.summary import answer_line
from plotting.reporting.tables import describe, layer_table, main_table
from tests.synthetic_results import (
    AGAINST_NOISE,
    AGAINST_RANDOM,
    baselines,
    loaded,
    make_result,
    series,
)


def control_of(comparison: Comparison, method: Method) -> Method | None:
    """Return the method that differs in its frozen network alone, which is an untrained one."""
    return next((each for each in comparison.alike(method) if each.is_control), None)


def compared(*results: dict[str, Any]) -> list[Comparison]:
    return compare(loaded(results))


def swept(layers: dict[int, tuple[float, float]], **parameters: Any) -> list[dict[str, Any]]:
    """Return a result for each layer's (validation, test) accuracy, two seeds each."""
    return [
        make_result(test, seed, 28, validation=validation, at_layer=layer, **parameters)
        for layer, (validation, test) in layers.items()
        for seed in (0, 1)
    ]


def test_the_layer_is_chosen_on_validation_and_the_oracle_on_test() -> None:
    layers = {1: (0.60, 0.80), 2: (0.70, 0.50), 3: (0.65, 0.90)}
    (comparison,) = compared(*swept(layers, **AGAINST_NOISE))
    method = comparison.methods[0]
    assert method.chosen.layer == "2"
    assert method.oracle.layer == "3"
    findings = find(comparison)
    table = layer_table(findings.methods[0], findings).shown()
    assert table["chosen"].tolist() == ["", "on validation", "oracle (best on test)"]


def test_of_a_regression_the_smallest_error_is_best() -> None:
    results = [
        make_result(test, 0, 28, "regression", validation=test, at_layer=layer, **AGAINST_NOISE)
        for layer, test in {1: 0.9, 2: 0.4, 3: 0.6}.items()
    ]
    (comparison,) = compared(make_result(0.7, 0, 5, "regression"), *results)
    assert comparison.methods[0].chosen.layer == "2"
    (found,) = find(comparison).methods
    assert found.chosen.difference is not None
    assert found.chosen.difference.mean == pytest.approx(-0.3)
    assert comparison.first.chance is None


def test_pairs_are_runs_of_the_same_seed() -> None:
    baseline = [make_result(test, seed, 5) for seed, test in enumerate((0.5, 0.7, 0.6))]
    other = [make_result(test, seed, 28, **AGAINST_NOISE) for seed, test in ((2, 0.65), (1, 0.76))]
    (comparison,) = compared(*baseline, *other, make_result(0.9, 7, 28, **AGAINST_NOISE))
    (found,) = find(comparison).methods
    assert found.chosen.difference is not None
    assert found.chosen.difference.values == pytest.approx((6.0, 5.0))


def test_p_values_are_corrected_over_the_table_that_they_stand_in() -> None:
    """Eight pairs of equal sign give 2 / 256, with the smallest turned 4 / 256.

    Three methods: 3 x 2, 2 x 2 (no less than the one before) and 1 x 4 (the same) of 256; two
    layers: twice 2; two controls: the second minus the first.
    """
    turned = (-1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    gains = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    random = [gain / 2 for gain in gains]
    results = [
        *baselines(),
        *series(gains, at_layer=1, **AGAINST_NOISE),
        *series(gains, at_layer=2, **AGAINST_NOISE),
        *series(turned, 29, at_layer=1, **{**AGAINST_NOISE, "at_dataset": "iemocap_1sec"}),
        *series(random, 30, at_layer=1, **AGAINST_RANDOM),
    ]
    found = find(compared(*results)[0])
    raw = [each.chosen.difference.p_value for each in found.methods if each.chosen.difference]
    assert raw == pytest.approx([2 / 256, 4 / 256, 2 / 256])
    corrected = [each.chosen.p_corrected for each in found.methods]
    assert corrected == pytest.approx([6 / 256, 6 / 256, 6 / 256])
    assert [each.p_corrected for each in found.methods[0].layers] == pytest.approx([4 / 256] * 2)
    differences = [
        [own - other for own, other in zip(gains, others, strict=True)]
        for others in (random, turned)
    ]
    differences.append([own - other for own, other in zip(turned, random, strict=True)])
    expected = holm([permutation_p_value(each) for each in differences])
    assert [each.between.p_corrected for each in found.controls] == pytest.approx(expected)


def test_the_least_p_value_is_the_best_that_all_layers_can_do_together() -> None:
    """Layers of 10 and 9 pairs, 13 in all: 12 x 2 / 2^9 is below 0.05, 13 x 2 / 2^9 is not."""
    results = [make_result(0.5, seed, 5) for seed in range(10)]
    results += [
        make_result(0.6 + seed / 100, seed, 28, at_layer=layer, **AGAINST_NOISE)
        for layer in range(1, 14)
        for seed in range(9 if layer == 1 else 10)
    ]
    short, whole, *_ = find(compared(*results)[0]).methods[0].layers
    assert whole.least_p == pytest.approx(13 * 2 / 2**10)
    assert short.least_p == pytest.approx(13 * 2 / 2**10)
    assert short.verdict == "better"


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1.0}, {"dataset": "another"}, {"width": 0.5}, {"batch_size": 2}]
)
def test_runs_made_otherwise_are_not_compared(change: dict[str, Any]) -> None:
    other = make_result(0.7, 0, 28, **AGAINST_NOISE, **change)
    assert len(compared(make_result(0.5, 0, 5), other)) == 2
    alike = make_result(0.7, 0, 28, **AGAINST_NOISE)
    assert len(compared(make_result(0.5, 0, 5), alike)) == 1


def test_runs_on_other_data_or_another_split_are_not_compared() -> None:
    first, second, third, fourth = (make_result(0.5, 0, identifier) for identifier in range(4))
    second["inputs"]["data"] = "other"
    third["model"]["split"] = "by speaker"
    fourth["0"]["numeric_precision"] = "bf16"
    assert len(compared(first, second, third, fourth)) == 4


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({"num_epochs": 4}, ["num_epochs none", "num_epochs 4"]),
        ({"learning_rate": 1.0}, ["learning_rate 0.001", "learning_rate 1.0"]),
        (
            {"features_type": "mel", "width": 0.5},
            ["features_type spectrum_fast; width 1.0", "features_type mel; width 0.5"],
        ),
        ({"dataset": "another"}, ["", ""]),
    ],
)
def test_comparisons_on_the_same_data_say_what_tells_them_apart(
    change: dict[str, Any], texts: list[str]
) -> None:
    comparisons = compared(make_result(0.5, 0, 5), make_result(0.7, 0, 6, **change))
    assert ["; ".join(each.apart_texts) for each in comparisons] == texts
    assert len({each.title for each in comparisons}) == 2
    assert len({describe(each) for each in comparisons}) == 2
    assert len({answer_line(find(each)) for each in comparisons}) == 2


@pytest.mark.parametrize(
    "idle",
    [
        {"comment_2": "x", "tracker": "tensorboard", "at_cache": "off"},
        {"at_ramp": 0.0},
        {"gradient_reversal_label": None, "gradient_reversal_weight": 2.0},
        {"gradient_reversal_label": "", "gradient_reversal_layer": None},
    ],
)
def test_keys_that_decide_nothing_split_nothing(idle: dict[str, Any]) -> None:
    """Results from before a key existed are repetitions of those after it."""
    (comparison,) = compared(
        make_result(0.5, 0, 5, at_beta=1.0),
        make_result(0.5, 1, 5, at_beta=3.0, **idle),
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.5, 1, 28, **AGAINST_NOISE, **idle),
        make_result(0.5, 0, 29, **AGAINST_RANDOM, **idle),
    )
    assert [len(group.results) for group in comparison.groups] == [2, 2, 1]
    method, control = comparison.methods
    assert control_of(comparison, method) is control


def test_a_control_is_alike_in_all_but_its_network() -> None:
    (comparison,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.5, 0, 29, **AGAINST_RANDOM, at_beta=3.0),
        make_result(0.5, 0, 30, **{**AGAINST_NOISE, "at_dataset": "iemocap_1sec"}),
    )
    against_noise = comparison.methods[0]
    assert control_of(comparison, against_noise) is None
    assert [each.against for each in comparison.alike(against_noise)] == ["iemocap_1sec"]


def test_as_many_frozen_networks_as_the_control_has() -> None:
    """Two terms are another loss than one, whatever their networks know."""
    pair = {**AGAINST_NOISE, "at_dataset": "noisyspeech, iemocap"}
    (comparison,) = compared(
        make_result(0.5, 0, 28, **pair),
        make_result(0.5, 0, 29, **AGAINST_RANDOM),
        make_result(0.5, 0, 30, **AGAINST_NOISE),
        make_result(0.5, 0, 31, **{**AGAINST_NOISE, "at_dataset": "random, random"}),
    )
    two, single, one_random, two_random = comparison.methods
    assert (one_random.against, two_random.against) == ("random", "random, random")
    assert control_of(comparison, two) is two_random
    assert control_of(comparison, single) is one_random


def test_anti_transfer_with_gradient_reversal_is_a_method_of_its_own() -> None:
    reversal: dict[str, Any] = {
        "gradient_reversal_label": "noise_type",
        "gradient_reversal_layer": 5,
    }
    (comparison,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.6, 0, 29, **AGAINST_NOISE, **reversal),
        make_result(0.7, 0, 29, **AGAINST_NOISE, **reversal, at_layer=2),
        make_result(0.8, 0, 30, **AGAINST_NOISE, **{**reversal, "gradient_reversal_layer": 9}),
        make_result(0.9, 0, 31, **AGAINST_RANDOM),
    )
    plain, fifth, ninth, control = comparison.methods
    assert [group.layer for group in fifth.groups] == ["2", "13"]
    assert [method.chosen.mean() for method in (plain, ninth)] == pytest.approx([50, 80])
    assert control_of(comparison, plain) is control
    assert control_of(comparison, fifth) is None


def test_a_layer_with_fewer_repetitions_is_never_chosen() -> None:
    """Of an interrupted sweep, layer 9 has one run, which is the best of all on both sets."""
    results = swept({1: (0.60, 0.80), 2: (0.70, 0.50)}, **AGAINST_NOISE)
    results += [
        make_result(0.99, 0, 28, validation=0.99, at_layer=layer, **AGAINST_NOISE)
        for layer in (9, 11)
    ]
    (comparison,) = compared(*results, *swept({9: (0.5, 0.5)}, **AGAINST_RANDOM))
    method, control = comparison.methods
    assert method.chosen.layer == "2"
    assert method.oracle.layer == "1"
    assert method.incomplete == ["9", "11"]
    assert control.incomplete == []
    whole = compared(*results[:5])[0].methods[0]
    assert whole.incomplete == ["9"]


def test_a_random_network_may_be_drawn_anew_for_each_seed() -> None:
    results = [make_result(0.5, seed, 29, **AGAINST_RANDOM) for seed in (0, 1)]
    for seed, result in enumerate(results):
        result["inputs"]["extractor random"] = str(seed)
    assert len(compared(*results)[0].methods[0].groups[0].results) == 2
    others = [make_result(0.5, seed, 28 + seed, **AGAINST_NOISE) for seed in (0, 1)]
    for seed, result in enumerate(others):
        result["inputs"]["extractor noisyspeech"] = str(seed)
    label = "anti-transfer against noisyspeech, experiment"
    assert [each.label for each in compared(*others)[0].methods] == [f"{label} 28", f"{label} 29"]


def searched(
    experiment: int, trials: int, tests: Sequence[float], keys: str, **parameters: Any
) -> list[dict[str, Any]]:
    """Return trials and runs of what they chose."""
    words = f"random, {trials} trials: {keys}"
    return [
        make_result(0.99, 100 + n, experiment, **parameters, search=words, search_trial=n)
        for n in range(1, trials + 1)
    ] + [
        make_result(test, seed, experiment, **parameters, search=words, search_trial=0)
        for seed, test in enumerate(tests)
    ]


def test_methods_meet_only_at_equal_numbers_of_trials() -> None:
    """Each has its own learning rate, as found; the trials themselves are in no mean."""
    keys = "learning_rate, at_beta, at_layer"
    own = {**AGAINST_NOISE, "learning_rate": 0.02, "at_beta": 3.0, "at_layer": 4}
    control = {**AGAINST_RANDOM, "learning_rate": 0.03, "at_beta": 0.5, "at_layer": 9}
    tuned, less, plain = compared(
        *searched(5, 4, (0.5, 0.6), "learning_rate", learning_rate=0.01),
        *searched(28, 4, (0.6, 0.8), keys, **own),
        *searched(29, 4, (0.5, 0.7), keys, **control),
        *searched(30, 2, (0.9, 0.9), keys, **own),
        make_result(0.5, 0, 6),
    )
    found = find(tuned)
    assert [each.chosen.group.mean() for each in found.methods] == pytest.approx([70.0, 60.0])
    assert [group.num_trials for group in tuned.groups] == [4, 4, 4]
    (against_random,) = found.controls
    assert against_random.between.difference is not None
    assert against_random.between.difference.values == pytest.approx((10.0, 10.0))
    main = main_table(found).shown().to_dict("records")
    assert [row["trials"] for row in main] == ["4", "4", "4"]
    assert main[1]["found by the search"] == "learning_rate 0.02, at_beta 3, at_layer 4"
    assert less.baseline is None
    assert plain.groups[0].num_trials == 0
    assert [each.title for each in (tuned, less, plain)] == [
        "gsc_randsplit, tuned by random, 4 trials",
        "gsc_randsplit, tuned by random, 2 trials",
        "gsc_randsplit, not tuned",
    ]
    assert tuned.tuned_otherwise == (
        "anti-transfer against noisyspeech (tuned by random, 2 trials)",
        "baseline (not tuned)",
    )


def test_what_one_searched_and_the_other_did_not_is_not_compared() -> None:
    """Equal numbers of trials, but the baseline's learning rate was nobody's choice."""
    comparisons = compared(
        *searched(5, 4, (0.5,), "regularization_lambda", regularization_lambda=0.1),
        *searched(28, 4, (0.6,), "learning_rate", learning_rate=0.02, **AGAINST_NOISE),
    )
    assert len(comparisons) == 2


def test_a_search_without_chosen_runs_is_counted() -> None:
    results = loaded(searched(28, 3, (), "at_beta", **AGAINST_NOISE))
    assert compare(results) == []
    assert undecided_searches(results) == [
        "Experiment 28: 3 trials of a search (random, 3 trials: at_beta); what it chose has no "
        "test runs yet."
    ]
