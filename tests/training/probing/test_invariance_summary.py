"""The table of the terminal, on made-up analyses."""

from typing import Any

from training.probing.analysis import Found
from training.probing.summary import left_out, table


def analysed(experiment: int, last: float, first: float = 0.5, /, **parameters: Any) -> Found:
    layers = [
        {"layer": "1", "probes": {"noise": {"accuracy": first, "shuffled": 0.0}}},
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


def rows(found: list[Found]) -> list[list[str]]:
    """The cells of each row; a cell stands apart from the next by two blanks or more."""
    return [
        [cell.strip() for cell in line.split("  ") if cell] for line in table(found).splitlines()
    ]


def test_repetitions_are_averaged_and_configurations_are_not() -> None:
    against: dict[str, Any] = {
        "kind": "anti_transfer",
        "anti_transfer": True,
        "at_dataset": "random",
    }
    found = [
        analysed(200, 0.5, 0.2),
        analysed(200, 0.6, 0.4, seed=1, repetition=1, comment_2="x", tracker="tensorboard"),
        analysed(207, 0.9, at_ramp=0.0),  # the same run in another experiment
        analysed(203, 0.3, **against, at_layer=3),
        analysed(203, 0.4, **against, at_layer=5),
    ]
    method = "203 anti-transfer against a random network (control)"
    # The standard error of a guess that is right in 25 of 100 cases is 4.3 points.
    assert rows(found)[1:] == [
        ["label", "network", "runs", "chance", "shuffled", "1", "last"],
        ["-" * len(table(found).splitlines()[1])],
        ["noise", "200 baseline", "2", "25", "24", "30", "55"],
        ["noise", f"{method}, layer 3", "1", "25", "24", "50", "30*"],
        ["noise", f"{method}, layer 5", "1", "25", "24", "50", "40"],
    ]
    assert left_out(found) == ["speaker: not probed on digits: too few."]


def test_whatever_differs_makes_another_row_and_is_named() -> None:
    found = [analysed(200, 0.5, learning_rate=0.001), analysed(201, 0.6, learning_rate=0.01)]
    assert [row[1] for row in rows(found)[3:]] == [
        "200 baseline (learning_rate 0.001)",
        "201 baseline (learning_rate 0.01)",
    ]
