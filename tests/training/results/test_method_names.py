"""Methods told from the parameters of runs, and named so that they can be told apart."""

from typing import Any

import pytest

from tests.synthetic_results import AGAINST_NOISE, AGAINST_RANDOM, make_result
from training.results.method_names import (
    METHODS,
    MethodKind,
    labels_of,
    setting_of,
    uses_random_networks,
)

REVERSAL: dict[str, Any] = {
    "gradient_reversal_label": "noise_type",
    "gradient_reversal_layer": 5,
    "gradient_reversal_weight": 1.0,
}


def parameters(**given: Any) -> dict[str, Any]:
    found: dict[str, Any] = make_result(0.5, 0, 5, **given)["parameters"]
    return found


def labels(*methods: dict[str, Any]) -> list[str]:
    return labels_of([parameters(**each) for each in methods])


def test_labels_tell_methods_apart() -> None:
    assert labels(
        {"kind": "weight_initialization", "at_pretraining": "noisyspeech"},
        AGAINST_NOISE,
        {**AGAINST_NOISE, "at_beta": 3.0},
        AGAINST_RANDOM,
        {**AGAINST_NOISE, "kind": "dual_anti_transfer", "at_pretraining": "experiment 28"},
        {"kind": "gradient_reversal", **REVERSAL},
        {"kind": "gradient_reversal", **REVERSAL, "gradient_reversal_conditional": True},
    ) == [
        "weight initialization from noisyspeech",
        "anti-transfer against noisyspeech (beta 1.0)",
        "anti-transfer against noisyspeech (beta 3.0)",
        "anti-transfer against a random network (control) (beta 1.0)",
        "dual anti-transfer from experiment 28 against noisyspeech (beta 1.0)",
        "gradient reversal of noise_type",
        "gradient reversal of noise_type given the class",
    ]


@pytest.mark.parametrize(
    ("names", "label"),
    [
        ("random", "a random network (control)"),
        ("random, random", "2 random networks (control)"),
        ("random, iemocap", "random, iemocap"),
    ],
)
def test_untrained_networks_alone_are_a_control(names: str, label: str) -> None:
    given = {**AGAINST_NOISE, "at_dataset": names}
    assert labels(given) == [f"anti-transfer against {label}"]
    assert uses_random_networks(parameters(**given)) == ("control" in label)


def test_other_methods_have_their_own_titles_and_say_when_they_know_the_truth() -> None:
    product = {
        "kind": "product_of_experts",
        "anti_transfer": True,
        "at_method": "product_of_experts",
    }
    assert labels(
        *(
            {**product, "at_dataset": each}
            for each in ("noisyspeech", "random", "column:noise_type")
        )
    ) == [
        "product of experts against noisyspeech",
        "product of experts against a random network (control)",
        "product of experts against the true noise_type",
    ]


def test_the_setting_is_all_that_no_method_owns() -> None:
    plain = setting_of(parameters())
    assert plain == setting_of(parameters(**AGAINST_NOISE, **REVERSAL, tracker="tensorboard"))
    assert plain != setting_of(parameters(learning_rate=1.0))
    assert not {"seed", "comment_2", "kind"} & plain.keys()


def test_a_new_method_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, layer and networks are known, and its parameters are no setting any more."""
    kind = MethodKind(
        "product of experts",
        own=("expert_",),
        networks="expert_network",
        words=(lambda own: f"with {own['expert_network']}",),
        named=("expert_network",),
    )
    monkeypatch.setitem(METHODS, "product_of_experts", kind)
    given = {"kind": "product_of_experts", "expert_network": "random", "expert_c": 0.01}
    assert labels(given, {**given, "expert_network": "noisyspeech", "expert_c": 1.0}) == [
        "product of experts with random (expert_c 0.01)",
        "product of experts with noisyspeech (expert_c 1.0)",
    ]
    assert uses_random_networks(parameters(**given))
    assert setting_of(parameters(**given)) == setting_of(parameters())
