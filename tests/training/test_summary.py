"""The table at the end of a run against numbers worked out by hand."""

from typing import Any

import pytest

from training.summary import conclusions, group_results, spread, summary_table


def result(
    test: float, seed: int = 0, validation: float = 0.5, **parameters: Any
) -> dict[str, Any]:
    """What the table reads of a twin."""
    return {
        "0": {"test_chance": 0.25},
        "model": {"split": "by session"},
        "summary": {
            "training": {"mean_acc": 0.9, "acc_std": 0.0},
            "validation": {"mean_acc": validation, "acc_std": 0.0},
            "test": {"mean_acc": test, "acc_std": 0.0},
        },
        "parameters": {
            "dataset": "tiny",
            "task": "classification",
            "kind": "baseline",
            "repetition": seed,
            "seed": seed,
            "anti_transfer": False,
            "at_dataset": "",
            "at_layer": "",
            "at_pretraining": None,
            "comment_1": "a comment",
            "comment_2": f"repetition{seed}",
            "tracker": "none",
            **parameters,
        },
    }


def anti_transfer(test: float, seed: int = 0, layer: int = 13) -> dict[str, Any]:
    return result(
        test,
        seed,
        kind="anti_transfer",
        anti_transfer=True,
        at_dataset="noisyspeech",
        at_layer=layer,
    )


def regression(seed: int, **parameters: Any) -> dict[str, Any]:
    summary = {name: {"mean_loss": 1.0, "loss_std": 0.0} for name in ("validation", "test")}
    made = result(0.0, seed, task="regression", **parameters)
    return {**made, "0": {}, "summary": summary}


def test_spread_is_mean_and_sample_deviation_in_percent() -> None:
    """Of 70, 80 and 90: mean 80, deviation sqrt(200 / 2) = 10."""
    assert spread([0.7, 0.8, 0.9]) == "80.0 ± 10.0"
    assert spread([0.123]) == "12.3"


def test_repetitions_are_put_together_and_layers_are_not() -> None:
    results = [anti_transfer(0.1 * layer, seed, layer) for layer in (1, 2) for seed in (0, 1, 2)]
    groups = group_results(28, "description", results)
    assert [len(group.results) for group in groups] == [3, 3]
    assert [group.label for group in groups] == [
        "anti transfer against noisyspeech, layer 1",
        "anti transfer against noisyspeech, layer 2",
    ]
    assert groups[1].by_seed == {0: 0.2, 1: 0.2, 2: 0.2}


def test_the_table_has_a_line_for_each_configuration() -> None:
    baseline = group_results(
        5, "", [result(0.70, 0, 0.60), result(0.80, 1, 0.64), result(0.90, 2, 0.62)]
    )
    other = group_results(
        108, "", [result(0.5, kind="weight_initialization", at_pretraining="noisyspeech")]
    )
    header, line, *rows = summary_table([*baseline, *other]).split("\n")
    assert " ".join(header.split()) == "experiment what runs validation % test % chance % split"
    assert set(line) == {"-"}
    assert [" ".join(row.split()) for row in rows] == [
        "5 baseline 3 62.0 ± 2.0 80.0 ± 10.0 25.0 by session",
        "108 weight initialization from noisyspeech 1 50.0 50.0 25.0 by session",
    ]


def test_chance_is_a_mean_over_repetitions() -> None:
    first, second = result(0.7, 0), result(0.8, 1)
    second["0"]["test_chance"] = 0.35
    (group,) = group_results(5, "", [first, second])
    assert group.chance == pytest.approx(0.30)


def test_a_comparison_is_one_of_pairs_with_the_same_seed() -> None:
    """Gains 4, 6, 5 points: mean 5, deviation 1, t(2) = 4.303, interval 5 -+ 4.303 / sqrt(3)."""
    groups = group_results(5, "", [result(test, seed) for seed, test in enumerate((0.5, 0.7, 0.6))])
    groups += group_results(
        28, "", [anti_transfer(test, seed) for seed, test in enumerate((0.54, 0.76, 0.65))]
    )
    (sentence,) = conclusions(groups)
    assert sentence == (
        "anti transfer against noisyspeech, layer 13 (experiment 28) minus baseline, same seeds: "
        "+5.0 points, 95 % interval +2.5 to +7.5 (3 pairs): it helped here."
    )


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        ((0.44, 0.66, 0.55), "-5.0 points, 95 % interval -7.5 to -2.5 (3 pairs): it hurt here."),
        ((0.54, 0.66, 0.60), "do not show a difference."),
    ],
)
def test_a_loss_and_no_difference_are_said(tests: tuple[float, ...], verdict: str) -> None:
    groups = group_results(5, "", [result(test, seed) for seed, test in enumerate((0.5, 0.7, 0.6))])
    groups += group_results(28, "", [anti_transfer(test, seed) for seed, test in enumerate(tests)])
    (sentence,) = conclusions(groups)
    assert sentence.endswith(verdict)


def test_one_pair_and_no_pair_are_said() -> None:
    baseline = group_results(5, "", [result(0.5, 0), result(0.5, 1)])
    (one,) = conclusions([*baseline, *group_results(28, "", [anti_transfer(0.6, 1)])])
    assert "+10.0 points in one pair" in one
    (none,) = conclusions([*baseline, *group_results(28, "", [anti_transfer(0.6, 7)])])
    assert "no repetition shares its seed" in none


def test_only_results_on_the_same_data_are_compared() -> None:
    other = result(0.9, kind="anti_transfer", dataset="another")
    groups = group_results(5, "", [result(0.5)]) + group_results(29, "", [other])
    assert conclusions(groups) == []


def test_a_regression_has_no_accuracies_to_compare() -> None:
    groups = group_results(40, "", [regression(0), regression(1)])
    groups += group_results(41, "", [regression(0, kind="weight_initialization")])
    assert conclusions(groups) == []
    assert "baseline" not in summary_table(groups)


def test_runs_made_otherwise_are_not_compared() -> None:
    """The weights of both are of one seed, but the steps of one are ten times as large."""
    baseline = group_results(5, "", [result(0.5, 0), result(0.6, 1)])
    parameters: dict[str, Any] = {
        "kind": "weight_initialization",
        "at_pretraining": "noisyspeech",
    }
    alike = group_results(108, "", [result(0.7, seed, **parameters) for seed in (0, 1)])
    other = group_results(
        109, "", [result(0.7, seed, learning_rate=1.0, **parameters) for seed in (0, 1)]
    )
    assert len(conclusions([*baseline, *alike])) == 1
    assert conclusions([*baseline, *other]) == []
