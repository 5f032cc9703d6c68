"""What is compared with what, where the layer is chosen, and which results are refused."""

from collections.abc import Callable
from typing import Any

import pytest

from config.errors import UserError
from plotting.comparisons import Comparison, Method, compare
from plotting.findings import find
from plotting.runs import run_of

MakeResult = Callable[..., dict[str, Any]]
AGAINST_NOISE = {"kind": "anti_transfer", "anti_transfer": True, "at_dataset": "noisyspeech"}
AGAINST_NOTHING = {**AGAINST_NOISE, "at_dataset": "random"}


def random_control(comparison: Comparison, method: Method) -> Method | None:
    """The method that differs in its frozen network alone, which is an untrained one."""
    return next((each for each in comparison.alike(method) if each.is_random_control), None)


def compared(*results: dict[str, Any]) -> list[Comparison]:
    return compare([run_of(result, result["experiment"]) for result in results])


def swept(
    make_result: MakeResult, layers: dict[int, tuple[float, float]], **parameters: Any
) -> list[dict[str, Any]]:
    """A result for each layer's (validation, test) accuracy, two seeds each."""
    return [
        make_result(test, seed, 28, validation=validation, at_layer=layer, **parameters)
        for layer, (validation, test) in layers.items()
        for seed in (0, 1)
    ]


def test_repetitions_make_a_group_and_layers_a_method(make_result: MakeResult) -> None:
    results = swept(make_result, {2: (0.5, 0.2), 1: (0.5, 0.1)}, **AGAINST_NOISE)
    (comparison,) = compared(*results)
    (method,) = comparison.methods
    assert method.label == "anti-transfer against noisyspeech"
    assert [group.layer for group in method.groups] == ["1", "2"]
    assert method.groups[1].by_seed() == {0: pytest.approx(20.0), 1: pytest.approx(20.0)}
    assert comparison.baseline is None


def test_layers_are_in_the_order_of_numbers(make_result: MakeResult) -> None:
    results = swept(make_result, {13: (0.5, 0.2), 2: (0.5, 0.1), 10: (0.5, 0.1)}, **AGAINST_NOISE)
    (comparison,) = compared(*results)
    assert [group.layer for group in comparison.methods[0].groups] == ["2", "10", "13"]


def test_the_layer_is_chosen_on_validation_and_the_oracle_on_test(make_result: MakeResult) -> None:
    layers = {1: (0.60, 0.80), 2: (0.70, 0.50), 3: (0.65, 0.90)}
    (comparison,) = compared(*swept(make_result, layers, **AGAINST_NOISE))
    method = comparison.methods[0]
    assert method.chosen.layer == "2"
    assert method.oracle.layer == "3"


def test_the_mean_over_repetitions_chooses_not_the_best_run(make_result: MakeResult) -> None:
    """Layer 1 has the best run (0.9), layer 2 the best mean (0.7 against 0.6)."""
    results = [
        make_result(0.5, seed, 28, validation=value, at_layer=layer, **AGAINST_NOISE)
        for layer, values in {1: (0.9, 0.3), 2: (0.7, 0.7)}.items()
        for seed, value in enumerate(values)
    ]
    assert compared(*results)[0].methods[0].chosen.layer == "2"


def test_of_a_regression_the_smallest_error_is_best(make_result: MakeResult) -> None:
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


def test_pairs_are_runs_of_the_same_seed(make_result: MakeResult) -> None:
    baseline = [make_result(test, seed, 5) for seed, test in enumerate((0.5, 0.7, 0.6))]
    other = [make_result(test, seed, 28, **AGAINST_NOISE) for seed, test in ((2, 0.65), (1, 0.76))]
    (comparison,) = compared(*baseline, *other, make_result(0.9, 7, 28, **AGAINST_NOISE))
    (found,) = find(comparison).methods
    assert found.chosen.difference is not None
    assert found.chosen.difference.values == pytest.approx((6.0, 5.0))


def test_p_values_are_corrected_over_the_layers(make_result: MakeResult) -> None:
    """Six pairs at two layers: 2 / 64 each, times two."""
    seeds = range(6)
    results = [make_result(0.5, seed, 5) for seed in seeds]
    results += [
        make_result(0.6 + seed / 100, seed, 28, at_layer=layer, **AGAINST_NOISE)
        for layer in (1, 2)
        for seed in seeds
    ]
    (found,) = find(compared(*results)[0]).methods
    assert found.chosen.difference is not None
    assert found.chosen.difference.p_value == pytest.approx(2 / 64)
    assert found.chosen.p_corrected == pytest.approx(4 / 64)


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1.0}, {"dataset": "another"}, {"width": 0.5}, {"batch_size": 2}]
)
def test_runs_made_otherwise_are_not_compared(
    make_result: MakeResult, change: dict[str, Any]
) -> None:
    other = make_result(0.7, 0, 28, **AGAINST_NOISE, **change)
    assert len(compared(make_result(0.5, 0, 5), other)) == 2
    alike = make_result(0.7, 0, 28, **AGAINST_NOISE)
    assert len(compared(make_result(0.5, 0, 5), alike)) == 1


def test_runs_on_other_data_or_another_split_are_not_compared(make_result: MakeResult) -> None:
    first, second, third = (make_result(0.5, 0, identifier) for identifier in (5, 6, 7))
    second["inputs"]["data"] = "other"
    third["model"]["split"] = "by speaker"
    assert len(compared(first, second, third)) == 3


def test_what_a_method_does_not_use_does_not_matter(make_result: MakeResult) -> None:
    """A baseline knows no beta; repetitions are named differently and report elsewhere."""
    (comparison,) = compared(
        make_result(0.5, 0, 5, at_beta=1.0),
        make_result(0.5, 1, 5, at_beta=3.0, comment_2="x", tracker="tensorboard", at_cache="off"),
    )
    assert comparison.baseline is not None
    assert len(comparison.baseline.runs) == 2


def test_labels_tell_methods_apart(make_result: MakeResult) -> None:
    reversal = {"kind": "gradient_reversal", "gradient_reversal_label": "noise_type"}
    dual = {"kind": "dual_anti_transfer", "at_pretraining": "experiment 28"}
    (comparison,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.5, 0, 29, **AGAINST_NOISE, at_beta=3.0),
        make_result(0.5, 0, 108, kind="weight_initialization", at_pretraining="noisyspeech"),
        make_result(0.5, 0, 30, **AGAINST_NOTHING),
        make_result(0.5, 0, 31, **{**AGAINST_NOISE, **dual}),
        make_result(0.5, 0, 32, gradient_reversal_layer=5, **reversal),
    )
    assert [method.label for method in comparison.methods] == [
        "weight initialization from noisyspeech",
        "anti-transfer against noisyspeech (beta 1.0)",
        "anti-transfer against noisyspeech (beta 3.0)",
        "anti-transfer against a random network (control) (beta 1.0)",
        "dual anti-transfer from experiment 28 against noisyspeech (beta 1.0)",
        "gradient reversal of noise_type",
    ]
    assert comparison.methods[-1].chosen.layer == "5"


def test_a_similarity_is_named_by_its_values(make_result: MakeResult) -> None:
    pooled = {"at_aggregation": "pool", "at_distance": "cka_within_class", "at_ramp": 0.3}
    (comparison,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE, at_ramp=0.0),
        make_result(0.5, 0, 29, **AGAINST_NOISE, **pooled),
    )
    assert [method.label for method in comparison.methods] == [
        "anti-transfer against noisyspeech (gram, cos_squared)",
        "anti-transfer against noisyspeech (pool, cka_within_class, ramp 0.3)",
    ]


def test_a_control_is_alike_in_all_but_its_network(make_result: MakeResult) -> None:
    (comparison,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.5, 0, 29, **AGAINST_NOTHING, at_beta=3.0),
        make_result(0.5, 0, 30, **{**AGAINST_NOISE, "at_dataset": "iemocap_1sec"}),
    )
    against_noise = comparison.methods[0]
    assert random_control(comparison, against_noise) is None
    assert [each.against for each in comparison.alike(against_noise)] == ["iemocap_1sec"]
    (alike,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE), make_result(0.5, 0, 29, **AGAINST_NOTHING)
    )
    control = random_control(alike, alike.methods[0])
    assert control is not None
    assert control.is_random_control


def test_as_many_frozen_networks_as_the_control_has(make_result: MakeResult) -> None:
    """Two terms are another loss than one, whatever their networks know."""
    pair = {**AGAINST_NOISE, "at_dataset": "noisyspeech, iemocap"}
    (comparison,) = compared(
        make_result(0.5, 0, 28, **pair),
        make_result(0.5, 0, 29, **AGAINST_NOTHING),
        make_result(0.5, 0, 30, **AGAINST_NOISE),
    )
    two, one, single = (
        next(method for method in comparison.methods if method.against == against)
        for against in ("noisyspeech, iemocap", "random", "noisyspeech")
    )
    assert random_control(comparison, two) is None
    assert comparison.alike(two) == []
    assert random_control(comparison, single) is one
    (comparison,) = compared(
        make_result(0.5, 0, 28, **pair),
        make_result(0.5, 0, 29, **{**AGAINST_NOISE, "at_dataset": "random, random"}),
    )
    control = random_control(comparison, comparison.methods[0])
    assert control is not None
    assert control.label == "anti-transfer against 2 random networks (control)"


REVERSAL = {
    "gradient_reversal_label": "noise_type",
    "gradient_reversal_layer": 5,
    "gradient_reversal_weight": 1.0,
}


def test_anti_transfer_with_gradient_reversal_is_a_method_of_its_own(
    make_result: MakeResult,
) -> None:
    results = [
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.6, 0, 29, **AGAINST_NOISE, **REVERSAL),
        make_result(0.7, 0, 29, **AGAINST_NOISE, **REVERSAL, at_layer=2),
        make_result(0.8, 0, 30, **AGAINST_NOISE, **{**REVERSAL, "gradient_reversal_layer": 9}),
        make_result(0.9, 0, 31, **AGAINST_NOTHING),
    ]
    (comparison,) = compared(*results)
    plain, fifth, ninth, control = comparison.methods
    assert [method.label for method in comparison.methods] == [
        "anti-transfer against noisyspeech",
        "anti-transfer against noisyspeech with gradient reversal of noise_type at layer 5",
        "anti-transfer against noisyspeech with gradient reversal of noise_type at layer 9",
        "anti-transfer against a random network (control)",
    ]
    assert [group.layer for group in fifth.groups] == ["2", "13"]
    assert [method.chosen.mean() for method in (plain, ninth)] == pytest.approx([50, 80])
    assert random_control(comparison, plain) is control
    assert random_control(comparison, fifth) is None


def test_weights_of_reversal_are_named_only_where_there_is_reversal(
    make_result: MakeResult,
) -> None:
    stronger = {**REVERSAL, "gradient_reversal_weight": 3.0}
    (comparison,) = compared(
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.6, 0, 29, **AGAINST_NOISE, **REVERSAL),
        make_result(0.6, 0, 30, **AGAINST_NOISE, **stronger),
    )
    ends = [method.label.partition("noisyspeech")[2] for method in comparison.methods]
    reversal = " with gradient reversal of noise_type at layer 5"
    assert ends == ["", f"{reversal} (weight 1.0)", f"{reversal} (weight 3.0)"]


@pytest.mark.parametrize(
    "idle",
    [
        {"at_ramp": 0.0},
        {"gradient_reversal_label": None, "gradient_reversal_weight": 2.0},
        {"gradient_reversal_label": None, "gradient_reversal_layer": None},
        {"gradient_reversal_label": ""},
    ],
)
def test_keys_that_decide_nothing_split_nothing(
    make_result: MakeResult, idle: dict[str, Any]
) -> None:
    """Results from before a key existed are repetitions of those after it."""
    (comparison,) = compared(
        make_result(0.5, 0, 5),
        make_result(0.5, 1, 5, **idle),
        make_result(0.5, 0, 28, **AGAINST_NOISE),
        make_result(0.5, 1, 28, **AGAINST_NOISE, **idle),
        make_result(0.5, 0, 29, **AGAINST_NOTHING, **idle),
    )
    assert [len(group.runs) for group in comparison.groups] == [2, 2, 1]
    assert random_control(comparison, comparison.methods[0]) is not None
    (method, _) = comparison.methods
    assert method.label == "anti-transfer against noisyspeech"


def test_a_layer_with_fewer_repetitions_is_never_chosen(make_result: MakeResult) -> None:
    """Of an interrupted sweep, layer 9 has one run, which is the best of all on both sets."""
    results = swept(make_result, {1: (0.60, 0.80), 2: (0.70, 0.50)}, **AGAINST_NOISE)
    results += [
        make_result(0.99, 0, 28, validation=0.99, at_layer=layer, **AGAINST_NOISE)
        for layer in (9, 11)
    ]
    (comparison,) = compared(*results, *swept(make_result, {9: (0.5, 0.5)}, **AGAINST_NOTHING))
    method, control = comparison.methods
    assert method.chosen.layer == "2"
    assert method.oracle.layer == "1"
    assert method.incomplete == ["layers 9 / 11 have 1 of 2 repetitions"]
    assert control.incomplete == []
    (whole, alone) = compared(*results[:5])[0].methods[0], compared(*results[-1:])[0].methods[0]
    assert whole.incomplete == ["layer 9 has 1 of 2 repetitions"]
    assert alone.chosen.layer == "11"


def test_a_control_is_compared_where_the_method_has_most_repetitions(
    make_result: MakeResult,
) -> None:
    results = [make_result(0.5, seed, 5) for seed in (0, 1)]
    results += swept(make_result, {1: (0.60, 0.80), 2: (0.70, 0.50)}, **AGAINST_NOISE)
    results += swept(make_result, {1: (0.5, 0.5), 9: (0.5, 0.5)}, **AGAINST_NOTHING)
    lucky = make_result(0.99, 0, 28, validation=0.99, at_layer=9, **AGAINST_NOISE)
    (control,) = find(compared(*results, lucky)[0]).controls
    assert control.own.group.layer == "1"


def test_a_random_network_may_be_drawn_anew_for_each_seed(make_result: MakeResult) -> None:
    results = [make_result(0.5, seed, 29, **AGAINST_NOTHING) for seed in (0, 1)]
    for seed, result in enumerate(results):
        result["inputs"]["extractor random"] = str(seed)
    assert len(compared(*results)[0].methods[0].groups[0].runs) == 2
    others = [make_result(0.5, seed, 28, **AGAINST_NOISE) for seed in (0, 1)]
    for seed, result in enumerate(others):
        result["inputs"]["extractor noisyspeech"] = str(seed)
    assert len(compared(*others)[0].methods) == 2


def test_chance_and_test_examples_are_over_all_folds(make_result: MakeResult) -> None:
    result = make_result(0.5, 0, 5)
    result["1"] = {**result["0"], "test_chance": 0.35, "test_examples": 10, "collapsed": True}
    run = run_of(result, 5)
    assert run.chance == pytest.approx(30.0)
    assert run.num_test == 90 + 10
    assert run.collapsed
    assert not run_of(make_result(0.5, 0, 5), 5).collapsed


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda result: result.pop("summary"), "no summary"),
        (lambda result: result["summary"].pop("test"), "no test"),
        (lambda result: result["parameters"].update(kind="x"), "must be one of"),
        (lambda result: result["parameters"].update(seed="1"), "no whole number"),
        (lambda result: result["summary"]["test"].update(mean_acc=None), "no number"),
        (lambda result: result["summary"]["test"].update(mean_acc=1.5), "mean_acc is 1.5"),
        (lambda result: result["summary"]["test"].update(mean_acc=10**400), "too large"),
        (lambda result: result.update(model=3), "model is no dictionary"),
        (lambda result: result.update(number="\x1b[2J" * 900), "damaged"),
    ],
)
def test_a_damaged_result_is_one_line(
    make_result: MakeResult, damage: Callable[[dict[str, Any]], object], said: str
) -> None:
    result = make_result(0.5, 0, 5)
    damage(result)
    with pytest.raises(UserError, match=said) as error:
        run_of(result, 5)
    assert str(error.value).startswith("experiment 5, result ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 800
