"""The answer in one line: true in every case, and never longer than fifteen words."""

from typing import Any

import pytest

from plotting.reporting.compare import compare
from plotting.reporting.findings import find
from plotting.reporting.summary import answer, answer_line
from tests.synthetic_results import (
    AGAINST_NOISE,
    AGAINST_RANDOM,
    BASELINE,
    baselines,
    loaded,
    make_result,
    series,
)

Results = list[dict[str, Any]]
# Gains of eight seeds; their means are 5, 5.2, 0.5 and 1 points.
GAINS = (4.0, 6.0, 5.0, 3.0, 7.0, 5.0, 4.0, 6.0)
AS_MUCH = (5.0, 5.0, 5.5, 4.0, 6.5, 5.2, 4.4, 6.0)
LITTLE = (0.5, 1.0, 0.2, 0.9, 0.4, 0.0, 0.7, 0.3)
UNCLEAR = (4.0, -6.0, 5.0, -3.0, 7.0, 2.0, -4.0, 3.0)
MORE = tuple(gain + 1 for gain in GAINS)
LESS = tuple(-gain for gain in GAINS)
LAYER: dict[str, Any] = {"at_layer": 3}
REVERSAL: dict[str, Any] = {
    "kind": "gradient_reversal",
    "gradient_reversal_label": "noise_type",
    "gradient_reversal_layer": 13,
}
DUAL: dict[str, Any] = {
    **AGAINST_NOISE,
    "kind": "dual_anti_transfer",
    "at_pretraining": "experiment28",
    "at_dataset": "librispeech, iemocap, noisyspeech",
    "at_layer": "3, 5; 12; 13",
}
PRODUCT: dict[str, Any] = {
    **AGAINST_NOISE,
    "kind": "product_of_experts",
    "at_method": "product_of_experts",
    "at_layer": "",
}
INITIALIZATION: dict[str, Any] = {"kind": "weight_initialization", "at_pretraining": "noisyspeech"}


def transfer(gains: tuple[float, ...], **parameters: Any) -> Results:
    return series(gains, 28, **{**AGAINST_NOISE, **LAYER, **parameters})


def random(gains: tuple[float, ...], **parameters: Any) -> Results:
    return series(gains, 29, **{**AGAINST_RANDOM, **LAYER, **parameters})


def collapsed(results: Results, number: int) -> Results:
    for result in results[:number]:
        result["0"]["collapsed"] = True
    return results


def errors(falls: tuple[float, ...], experiment: int, **parameters: Any) -> Results:
    return [
        make_result(value - fall / 100, seed, experiment, "regression", **parameters)
        for seed, (value, fall) in enumerate(zip(BASELINE, falls, strict=True))
    ]


NAME = "Anti-transfer against noisyspeech at layer 3"
SHORT = "Anti-transfer at layer 3"
CASES: list[tuple[Results, str]] = [
    (baselines(), "Only the baseline was run: 60.8 % accuracy"),
    (transfer(GAINS), f"{NAME}: 65.8 % accuracy, no baseline"),
    (
        [*baselines(), *transfer(GAINS)],
        f"{SHORT}: +5.0 points; no control says whether the frozen network matters",
    ),
    (
        [*baselines(), *transfer(GAINS), *random(AS_MUCH)],
        f"{NAME}: +5.0 points; a random network gives as much (+5.2)",
    ),
    (
        [*baselines(), *transfer(GAINS), *random(MORE)],
        f"{NAME}: +5.0 points; a random network gives more (+6.0)",
    ),
    (
        [*baselines(), *transfer(GAINS), *random(LITTLE)],
        f"{NAME}: +5.0 points; 4.5 better than with a random network",
    ),
    (
        [*baselines(), *transfer(GAINS), *random(UNCLEAR)],
        f"{SHORT}: +5.0 points; not shown to come from the frozen network's knowledge",
    ),
    (  # the control was run at another layer
        [*baselines(), *transfer(GAINS), *random(LITTLE, at_layer=5)],
        f"{SHORT}: +5.0 points; no control says whether the frozen network matters",
    ),
    (
        [*baselines(), *transfer(UNCLEAR), *random(GAINS)],
        f"{NAME}: +1.0 points; these runs do not show a difference",
    ),
    (
        [*baselines(), *transfer(GAINS[:3]), *random(LITTLE[:3])],
        f"{NAME}: +5.0 points; 3 pairs cannot show a difference",
    ),
    (
        [*baselines(), *transfer(GAINS[:1])],
        f"{NAME}: +4.0 points in one pair, which shows nothing",
    ),
    (
        [*baselines(3), *transfer(GAINS)[3:]],
        f"{NAME} shares no seed with the baseline: nothing to compare",
    ),
    ([*baselines(), *transfer(LESS)], f"{NAME}: -5.0 points; it hurts here"),
    (
        [*baselines(), *collapsed(transfer(UNCLEAR), 2)],
        f"{NAME}: +1.0 points (not shown); 2 of 8 runs collapsed",
    ),
    (
        [*collapsed(baselines(), 1), *transfer(GAINS)],
        f"{NAME}: +5.0 points; 1 of the baseline's 8 runs collapsed",
    ),
    (
        collapsed(series(GAINS, 35, **{**DUAL, "at_dataset": "random, random"}), 2),
        "The random control, layers 3,5;12;13: 65.8 % accuracy, no baseline; 2 of 8 runs collapsed",
    ),
    (
        collapsed(baselines(), 2),
        "Only the baseline was run: 60.8 % accuracy; 2 of 8 runs collapsed",
    ),
    (  # a shown gain before a larger one that is not
        [*baselines(), *transfer(LESS), *series(LITTLE, 31, **REVERSAL)],
        "Gradient reversal of noise_type at layer 13: +0.5 points; it helps here",
    ),
    (
        [*baselines(), *transfer(UNCLEAR), *series(GAINS, 32, **INITIALIZATION)],
        "Weight initialization from noisyspeech: +5.0 points; it helps here",
    ),
    (
        [
            *baselines(),
            *series(GAINS, 33, **DUAL),
            *series(UNCLEAR, 34, **{**DUAL, "at_dataset": "random, random, random"}),
        ],
        "Dual anti-transfer, layers 3,5;12;13: +5.0 points; not shown to come from the frozen "
        "network's knowledge",
    ),
    (  # what is told the true labels is the mark to measure by, and needs no control
        [
            *baselines(),
            *transfer(GAINS),
            *random(LITTLE),
            *transfer(MORE, at_dataset="column:room"),
            *series(MORE, 31, **REVERSAL),
        ],
        f"{NAME}: +5.0 points; 4.5 better than with a random network",
    ),
    (
        [*baselines(), *transfer(GAINS, at_dataset="column:room")],
        "Anti-transfer against the true room at layer 3: +5.0 points; it helps here",
    ),
    (  # two methods, each with a control of its own
        [
            *baselines(),
            *transfer(LITTLE),
            *random(GAINS),
            *series(AS_MUCH, 36, **PRODUCT),
            *series(LITTLE, 37, **{**PRODUCT, "at_dataset": "random"}),
        ],
        "Product of experts against noisyspeech: +5.2 points; 4.7 better than with a random "
        "network",
    ),
    (
        [*baselines(), *random(UNCLEAR)],
        "The random control at layer 3: +1.0 points; these runs do not show a difference",
    ),
    (
        [
            *errors((0.0,) * 8, 40),
            *errors(GAINS, 41, **AGAINST_NOISE, **LAYER),
            *errors(LITTLE, 42, **AGAINST_RANDOM, **LAYER),
        ],
        f"{NAME}: -0.050 RMSE; 0.045 better than with a random network",
    ),
    (
        [*errors((0.0,) * 8, 40), *errors(LESS, 41, **AGAINST_NOISE, **LAYER)],
        f"{NAME}: +0.050 RMSE; it hurts here",
    ),
    (
        [
            *baselines(),
            *series(LITTLE, 28, **AGAINST_NOISE, **LAYER, at_beta=1.0),
            *series(GAINS, 28, **AGAINST_NOISE, **LAYER, at_beta=3.0),
        ],
        f"{SHORT}: +5.0 points; no control says whether the frozen network matters",
    ),
]


@pytest.mark.parametrize(("results", "expected"), CASES)
def test_the_answer_is_true_and_short(results: Results, expected: str) -> None:
    (comparison,) = compare(loaded(results))
    said = answer(find(comparison))
    assert said == expected
    assert len(said.split()) <= 15


def test_a_metric_that_was_asked_for_is_named() -> None:
    """Of unweighted average recall 40 and 45 %; of accuracy nothing is told."""
    results = [*baselines(1), *transfer(GAINS[:1])]
    for result, recall in zip(results, (0.40, 0.45), strict=True):
        result["report_metric"] = "uar"
        for values in result["summary"].values():
            values["mean_uar"] = recall
    (comparison,) = compare(loaded(results))
    assert answer_line(find(comparison)) == (
        f"gsc_randsplit, UAR: {NAME}: +5.0 points in one pair, which shows nothing."
    )
