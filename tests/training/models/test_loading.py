"""Networks by name, frozen ones from files, and convolutions that a training starts from."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from config.errors import UserError
from training.models.loading import (
    load_convolutions,
    load_extractor,
    load_whole,
    to_device,
    without_classifier,
)
from training.models.registry import NETWORKS, architecture_of, build_network, num_parameters
from training.models.weights import load_weights, save_weights
from training.results.best_run import initial_weights
from training.results.loading import ResultReader
from training.similarity.taps import Taps

if TYPE_CHECKING:
    from tests.conftest import Suite


class Tiny(nn.Module):
    """A network that the project does not know."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        channels = int(16 * width)
        self.first = nn.Sequential(nn.Conv2d(in_channels, channels, 3), nn.BatchNorm2d(channels))
        self.second = nn.Conv2d(channels, 2 * channels, 3)
        self.head = nn.Linear(2 * channels, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.second(self.first(inputs).relu()).mean((2, 3))
        logits: Tensor = self.head(hidden)
        return logits


def small(num_classes: int = 3, seed: int = 0) -> nn.Module:
    return build_network(architecture_of(num_classes, 1 / 32), seed)


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_network_of_ones_own_is_built_counted_tapped_and_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", Tiny)
    architecture = architecture_of(5, 1 / 4, "tiny")
    # convolutions 4 * 9 + 4 and 8 * 4 * 9 + 8, batch norm 2 * 4, linear 5 * 8 + 5
    assert num_parameters(architecture) == 40 + 296 + 8 + 45
    model, other = (build_network(architecture, seed) for seed in (0, 1))
    inputs = torch.randn(2, 1, 12, 10)
    with Taps(model, [2, "first"]) as taps:
        assert to_device(model, torch.device("cpu"))(inputs).shape == (2, 5)
        assert taps[2].shape == (2, 8, 8, 6)
        assert taps["first"].shape == (2, 4, 10, 8)
    assert without_classifier(model) is model
    load_convolutions(model, other.state_dict(), "other")
    taken = {name for name, value in model.state_dict().items() if value.ndim == 4}
    assert all(torch.equal(model.state_dict()[name], other.state_dict()[name]) for name in taken)
    assert not torch.equal(model.state_dict()["head.weight"], other.state_dict()["head.weight"])
    load_whole(model, other.state_dict(), "other")
    torch.testing.assert_close(model.eval()(inputs), other.eval()(inputs))


def test_a_networks_weights_depend_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    random_state = torch.get_rng_state()
    first = small(seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.manual_seed(2)
    second = small(seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(
        first["features.0.weight"], small(seed=5).state_dict()["features.0.weight"]
    )


def test_a_frozen_network_has_the_weights_of_its_file(suite: "Suite") -> None:
    folder = suite.write_extractor("elsewhere", seed=4)
    random_state = torch.get_rng_state()
    settings = suite.settings(at_noisyspeech_model_path=folder)
    frozen = load_extractor(settings, "noisyspeech")
    assert torch.equal(torch.get_rng_state(), random_state)
    stored = torch.load(folder / "model.pt", weights_only=True)
    assert frozen.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in frozen.state_dict().items())
    convolutions = {name for name in stored if name.startswith("features.")}
    assert without_classifier(frozen).state_dict().keys() == convolutions


@pytest.mark.parametrize(("key", "value"), [("network", "other"), ("in_channels", 3), ("width", 1)])
def test_an_extractor_of_another_architecture_is_refused(
    suite: "Suite", key: str, value: Any
) -> None:
    suite.write_extractor(architecture=architecture_of(11, 1 / 32) | {key: value})
    with pytest.raises(
        UserError,
        match=f"{key} of the extractor is {value}, this run's is .*; train it again: "
        r"python pretraining/pretrain\.py noisyspeech",
    ):
        load_extractor(suite.settings(), "noisyspeech")


def test_other_weights_than_described_are_refused_by_both_ways_to_use_them(suite: "Suite") -> None:
    folder = suite.write_extractor(seed=1)
    other = {name: value + 1 for name, value in load_weights(folder / "model.pt").items()}
    save_weights(folder / "model.pt", other)
    source = initial_weights(suite.settings(at_pretraining="noisyspeech"), ResultReader(), 0)
    assert source == folder / "model.pt"
    for read in (
        lambda: load_extractor(suite.settings(), "noisyspeech"),
        lambda: load_weights(source),
    ):
        with pytest.raises(UserError, match=r"is not the network that extractor\.json describes"):
            read()


def test_weight_initialization_takes_every_convolution_and_nothing_else() -> None:
    model, plain = small(), small().state_dict()
    source = small(num_classes=7, seed=9).state_dict()
    load_convolutions(model, source, "extractor")
    for name, value in model.state_dict().items():
        expected = source if name.startswith("features.") else plain
        assert torch.equal(value, expected[name]), name
    assert not torch.equal(plain["features.0.weight"], source["features.0.weight"])


@pytest.mark.parametrize("load", [load_convolutions, load_whole])
@pytest.mark.parametrize(
    ("bias", "problem"),
    [
        (None, r"extractor X: features.17.bias is missing, expected shape \(16,\)"),
        (torch.zeros(5), r"extractor X: features.17.bias has shape \(5,\), expected \(16,\)"),
        (torch.full((16,), torch.nan), r"features.17.bias \(16,\) holds NaN or infinite values"),
    ],
)
def test_bad_weights_are_refused_and_leave_the_model_alone(
    load: Any, bias: Tensor | None, problem: str
) -> None:
    state = copied(small(seed=1))
    del state["features.17.bias"]
    if bias is not None:
        state["features.17.bias"] = bias
    model = small()
    before = copied(model)
    with pytest.raises(UserError, match=problem):
        load(model, state, "extractor X")
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
