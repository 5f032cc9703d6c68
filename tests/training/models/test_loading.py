"""Networks by name, frozen ones from files, and convolutions that a training starts from."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from config.errors import UserError
from config.ini_files import load_settings
from training.models.frozen import pretrained_of
from training.models.loading import (
    head_of,
    load_trunk,
    load_whole,
    to_device,
    without_head,
)
from training.models.registry import architecture_of, build_network, num_parameters
from training.models.resnet import ResNet18
from training.models.weights import load_weights, save_weights
from training.results.best_run import initial_weights
from training.results.loading import ResultReader
from training.similarity.taps import Taps

if TYPE_CHECKING:
    from tests.conftest import Suite


NETWORKS = load_settings().networks
ALL_LAYERS = {"vgg16": 13, "resnet18": 20, "small_cnn": 8}


def small(num_classes: int = 3, seed: int = 0, network: str = "vgg16") -> nn.Module:
    return build_network(architecture_of(NETWORKS[network], num_classes, 1 / 32), seed)


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("network", "num_layers"), ALL_LAYERS.items())
def test_every_built_in_network_is_tapped_filled_and_started_from(
    network: str, num_layers: int
) -> None:
    model, other = (small(5, seed, network) for seed in (0, 1))
    inputs = torch.randn(2, 1, 40, 36)
    with Taps(model, range(1, num_layers + 1)) as taps:
        assert to_device(model, torch.device("cpu"))(inputs).shape == (2, 5)
        assert all(len(each) == 2 for each in taps.take().values())
    with pytest.raises(UserError, match=f"allowed: 1 to {num_layers}"):
        Taps(model, [num_layers + 1])
    before = copied(model)
    load_trunk(model, other.state_dict(), "other")
    head = head_of(model)
    for name, value in model.state_dict().items():
        expected = before if name.startswith(f"{head}.") else other.state_dict()
        assert torch.equal(value, expected[name]), name
    load_whole(model, other.state_dict(), "other")
    torch.testing.assert_close(model.eval()(inputs), other.eval()(inputs))
    kept = {name for name in before if not name.startswith(f"{head}.")}
    assert without_head(model).state_dict().keys() == kept


def test_resnet18_is_torchvisions_with_one_input_channel() -> None:
    """Names, shapes and numbers are those of torchvision.models.resnet18()."""
    with torch.device("meta"):
        model = ResNet18(1000, in_channels=3)
    state = model.state_dict()
    assert sum(each.numel() for each in model.parameters()) == 11_689_512
    assert len(state) == 122
    assert state["layer4.0.downsample.0.weight"].shape == (512, 256, 1, 1)
    assert state["layer2.1.bn2.running_var"].shape == (128,)
    assert num_parameters(architecture_of(NETWORKS["resnet18"], 1000, 1.0)) == 11_689_512 - 6272


@pytest.mark.parametrize(
    ("network", "head"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3)), "2"),
        (
            nn.ModuleDict(
                {
                    "body": nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)),
                    "top": nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Dropout(), nn.Linear(3, 2)),
                }
            ),
            "top",
        ),
        (nn.Sequential(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))), "0.1"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), ""),
    ],
)
def test_the_head_is_the_last_linear_layer_with_linear_ones_beside_it(
    network: nn.Module, head: str
) -> None:
    assert head_of(network) == head


def test_a_frozen_network_has_the_weights_of_its_file(suite: "Suite") -> None:
    folder = suite.write_extractor("elsewhere", seed=4)
    random_state = torch.get_rng_state()
    settings = suite.settings(at_noisyspeech_model_path=folder)
    frozen = pretrained_of(settings, "noisyspeech").load()
    assert torch.equal(torch.get_rng_state(), random_state)
    stored = load_file(folder / "model.safetensors")
    assert frozen.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in frozen.state_dict().items())
    convolutions = {name for name in stored if name.startswith("features.")}
    assert without_head(frozen).state_dict().keys() == convolutions


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network", "other", r"extractor\.json: is a network other, which no \[network other\]"),
        ("in_channels", 3, r"features\.0\.weight has shape \(2, 1, 3, 3\), expected \(2, 3, 3, 3"),
        ("width", 1 / 16, r"\(31 of 32 keys do not fit\)"),
    ],
)
def test_an_extractor_whose_description_does_not_fit_is_refused(
    suite: "Suite", key: str, value: Any, message: str
) -> None:
    architecture = architecture_of(NETWORKS["vgg16"], 11, 1 / 32).described()
    suite.write_extractor(architecture=architecture | {key: value})
    with pytest.raises(UserError, match=message):
        pretrained_of(suite.settings(), "noisyspeech").load()


def test_other_weights_than_described_are_refused_by_both_ways_to_use_them(suite: "Suite") -> None:
    folder = suite.write_extractor(seed=1)
    other = {name: value + 1 for name, value in load_weights(folder / "model.safetensors").items()}
    save_weights(folder / "model.safetensors", other)
    source = initial_weights(suite.settings(at_pretraining="noisyspeech"), ResultReader(), 0)
    assert source == folder / "model.safetensors"
    for read in (
        lambda: pretrained_of(suite.settings(), "noisyspeech").load(),
        lambda: load_weights(source),
    ):
        with pytest.raises(UserError, match=r"is not the network that extractor\.json describes"):
            read()


@pytest.mark.parametrize("load", [load_trunk, load_whole])
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
