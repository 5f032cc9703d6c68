"""Networks in files of the user's own: trained, frozen, started from, and refused in one line."""

import json
import re
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from config.errors import UserError
from pretraining.pretrain import pretrain
from tests.conftest import Suite
from training.models.description import read_description
from training.models.registry import architecture_of, build_network
from training.results.dictionary import differences
from training.sweep.input_cache import InputCache
from training.sweep.inputs import input_fingerprints

OWN = """
import torch
from torch import nn

class Frames(nn.Module):
    '''A 1-D network: the bins are its channels.'''

    def __init__(self, num_classes, in_channels, channels=6):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(33, channels, 3), nn.BatchNorm1d(channels), nn.ReLU(),
            nn.Conv1d(channels, 2 * channels, 3), nn.ReLU(),
        )
        self.top = nn.Linear(2 * channels, num_classes)

    def forward(self, inputs):
        hidden = self.body(inputs.squeeze(1).transpose(1, 2))
        return self.top(hidden.mean(2).view(len(inputs), -1))

class Attention(nn.Module):
    '''A transformer over frames. A schedule like this one needs values, not meta tensors.'''

    def __init__(self, num_classes, in_channels, features=8):
        super().__init__()
        drops = [each.item() for each in torch.linspace(0, 0.1, 2)]
        self.embed = nn.Linear(33, features)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(features, 2, 16, drop, batch_first=True) for drop in drops
        )
        self.top = nn.Linear(features, num_classes)

    def forward(self, inputs):
        hidden = self.embed(inputs.squeeze(1))
        for block in self.blocks:
            hidden = block(hidden)
        return self.top(hidden.mean(1))

def per_frame(num_classes, in_channels):
    return nn.Linear(33, num_classes)

class Squeezed(nn.Sequential):
    def forward(self, inputs):
        return super().forward(inputs).squeeze()

def squeezed(num_classes, in_channels):
    return Squeezed(nn.AdaptiveAvgPool2d((1, 5)), nn.Flatten(), nn.Linear(5, num_classes))

def too_long(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, num_classes))
"""
FRAMES = "frames = own_networks:Frames"
DECLARED: dict[str, dict[str, Any]] = {
    "frames": {"factory": "own_networks:Frames"},
    "wider": {"factory": "own_networks:Frames", "channels": 9},
    "attention": {"factory": "own_networks:Attention"},
    "per_frame": {"factory": "own_networks:per_frame"},
    "squeezed": {"factory": "own_networks:squeezed"},
    "too_long": {"factory": "own_networks:too_long"},
    "theirs": {
        "factory": "own_networks:Frames",
        "channels": 9,
        "weights": "theirs.safetensors",
        "num_classes": 7,
    },
    "small_of_theirs": {
        "factory": "training.models.small_cnn:SmallCNN",
        "weights": "small.pt",
        "num_classes": 4,
    },
}


@pytest.fixture
def own(suite: Suite) -> Suite:
    """A suite whose configuration declares networks of a module beside it, and has the data."""
    (suite.folder / "own_networks.py").write_text(OWN)
    with suite.config.open("a") as file:
        for name, keys in DECLARED.items():
            lines = [f"{key} = {value}" for key, value in keys.items()]
            file.write(f"\n[network {name}]\n" + "\n".join(lines) + "\n")
    suite.write_matrices()
    save_file(weights_of(suite, "theirs", 7), suite.folder / "theirs.safetensors")
    torch.save(weights_of(suite, "small_of_theirs", 4), suite.folder / "small.pt")
    return suite


def weights_of(suite: Suite, network: str, num_classes: int, seed: int = 3) -> dict[str, Any]:
    declared = suite.settings().networks[network]
    architecture = architecture_of(declared, num_classes, width=None)
    return dict(build_network(architecture, seed).state_dict())


def against(name: str, layer: Any, aggregation: str = "gram", **more: Any) -> dict[str, Any]:
    return {
        "anti_transfer": True,
        "at_dataset": name,
        "at_layer": layer,
        "at_aggregation": aggregation,
        **more,
    }


POOLED = {"at_distance": "cka_within_class"}
RUNS: dict[str, dict[str, Any]] = {
    "1-D against itself untrained": {"network": "frames", **against("random", "1, 2")},
    "1-D against a wider one": {"network": "frames", **against("theirs", 2, "mean")},
    "1-D against an untrained one of another kind": {
        "network": "frames",
        **against("random:theirs", 2, "sum"),
    },
    "1-D against an untrained built-in one": {
        "network": "frames",
        **against("random:resnet18", 2, "pool", at_frozen_layer="layer4", **POOLED),
    },
    "transformer": {"network": "attention", **against("random", "blocks.0, blocks.1")},
    "vgg16 against a small one": {
        **against("small_of_theirs", "features.6", "max", at_frozen_layer="features.9"),
    },
    "resnet18 by names": {"network": "resnet18", **against("random", "layer1.0.conv2, 5")},
    "small_cnn from theirs": {
        "network": "small_cnn",
        "at_pretraining": "small_of_theirs",
        "width": 1,
    },
    "gradient reversal of a transformer": {
        "network": "attention",
        "gradient_reversal_label": "class_name",
        "gradient_reversal_layer": "blocks.0.linear1",
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_a_network_of_ones_own_is_checked_trained_and_its_result_names_it(
    own: Suite, name: str
) -> None:
    training = {"num_epochs": 1, "width": 1 / 8, **RUNS[name]}
    own.write_experiment(1, training)
    assert own.manage("--check", "1") == 0
    result = own.run(1)
    network = training.get("network", "vgg16")
    assert result["parameters"]["network"] == result["model"]["network"] == network
    assert result["inputs"].get("network", "vgg16").partition(" = ")[0] == network
    if "at_dataset" in training:
        terms = [key for key in result["0"] if re.fullmatch("train_.*_loss_hist", key)]
        others = {"train_loss_hist", "train_task_loss_hist", "train_feature_loss_hist"}
        assert len(set(terms) - others) == len(str(training["at_layer"]).split(", "))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a number that it has not": (
        {"network": "frames", **against("random", 3)},
        r"layer 3: no such convolution in this network; allowed: 1 to 2",
    ),
    "a name that it has not": (
        {"network": "attention", **against("random", "block.0")},
        r"layer block\.0: no such module in this network; nearest: blocks\.0",
    ),
    "a name that the frozen one has not": (
        {"network": "frames", **against("theirs", 2, "mean", at_frozen_layer="body.9")},
        r"frozen network theirs: layer body\.9: no such module",
    ),
    "other channels with gram": (
        {"network": "frames", **against("theirs", 2)},
        r"theirs_layer2: aggregates differ in shape.*equal numbers of channels are not needed",
    ),
    "outputs of another shape": (
        {"network": "per_frame"},
        r"own_networks:per_frame: its network makes \(2, 1, 40, 3\) of \(2, 1, 40, 33\), must make",
    ),
    "outputs without the axis of a lone example": (
        {"network": "squeezed"},
        r"its network makes \(3,\) of \(1, 1, 40, 33\), must make \(1, 3\)",
    ),
    "a frozen network without weights": (
        {"network": "frames", **against("wider", 2)},
        r"\[network wider\]: has no weights",
    ),
    "an extractor of another network to start from": (
        {"network": "frames", "at_pretraining": "noisyspeech"},
        r"is a vgg16, and this run's network is frames; declare an \[extractor NAME\] with network",
    ),
    "a name of nothing": (
        against("thers", 2),
        r"no extractor thers; did you mean theirs\?; there are .*theirs, small_of_theirs, random",
    ),
}


def check(own: Suite, training: dict[str, Any]) -> str:
    """Return what --check says of an experiment."""
    own.write_experiment(1, training)
    try:
        assert own.manage("--check", "1") == 2
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_go_together_is_one_line_of_check(
    own: Suite, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    training, message = BAD[name]
    own.write_extractor()
    said = check(own, training) or capsys.readouterr().err.splitlines()[0]
    assert re.search(message, said), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"x": torch.zeros(1)}, r"x does not belong .* \(1 such key"),
        (
            lambda state: {f"module.{key}": value for key, value in state.items()},
            r"module\.\S* does not .* \(11 such keys\); take module\. off their names, and",
        ),
        (
            lambda state: {key: value[..., None] for key, value in state.items()},
            r"body.*11 of 11 keys",
        ),
    ],
)
def test_weights_that_do_not_fit_are_one_line_of_check(
    own: Suite, change: Any, message: str
) -> None:
    save_file(change(weights_of(own, "theirs", 7)), own.folder / "theirs.safetensors")
    said = check(own, {"network": "frames", **against("theirs", 2, "mean")})
    assert re.search(rf"theirs\.safetensors: {message}", said), said


def test_what_the_code_of_a_network_raises_is_its_own_traceback(own: Suite) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied") as caught:
        check(own, {"network": "too_long"})
    (note,) = caught.value.__notes__
    assert "suite.ini [network too_long] for inputs (2, 1, 40, 33)" in note


def test_a_training_starts_from_the_best_run_of_the_same_network(own: Suite) -> None:
    own.write_experiment(1, {"num_epochs": 1}, {"network": "vgg16, frames"})
    results = [own.run(1, number) for number in (1, 2)]
    own.write_experiment(2, {"network": "frames", "at_pretraining": "experiment 1"})
    assert own.run(2)["inputs"]["experiment 1"] == results[1]["fingerprint"]
    own.write_experiment(2, {"network": "attention", "at_pretraining": "experiment 1"})
    with pytest.raises(UserError, match=r"no finished instance with .* and network = attention"):
        own.run(2)


def test_an_extractors_network_is_tried_before_its_training(own: Suite) -> None:
    with own.config.open("a") as file:
        file.write("\n[extractor room]\ndataset = tiny\nnetwork = per_frame\n")
    settings = own.settings()
    with pytest.raises(UserError, match=r"its network makes \(2, 1, 40, 3\) of \(2, 1, 40, 33\)"):
        pretrain(settings.extractors["room"], settings, [-1])


def test_an_extractor_of_ones_own_network_is_frozen_by_another_kind(own: Suite) -> None:
    with own.config.open("a") as file:
        file.write("\n[extractor room]\ndataset = tiny\nnetwork = wider\nnum_epochs = 1\n")
    settings = own.settings()
    folder = pretrain(settings.extractors["room"], settings, [-1])
    assert read_description(folder)["architecture"] == {
        "network": "wider",
        "num_classes": 3,
        "in_channels": 1,
        "channels": 9,
    }
    assert read_description(folder)["plan"]["network"] == "wider = own_networks:Frames(channels=9)"
    own.write_experiment(1, {"network": "frames", **against("room", 2, "sum"), "num_epochs": 1})
    weights = read_description(folder)["weights_fingerprint"]
    assert own.run(1)["inputs"]["extractor room"] == weights


def test_another_option_or_network_is_another_result(own: Suite) -> None:
    own.write_experiment(1, {"network": "frames", "num_epochs": 1})
    own.run(1)

    def asked_for(**overrides: Any) -> list[str]:
        instance = own.instance(1, **overrides)
        result = json.loads(own.files(1).json_path.read_text())
        found = input_fingerprints(instance, InputCache())
        return differences(result, instance.parameters, found)

    assert asked_for() == []
    (difference,) = asked_for(**{"network frames.channels": 7})
    assert difference == f"network: '{FRAMES}' then, '{FRAMES}(channels=7)' now"
    assert asked_for(network="small_cnn")[-1].endswith("then, 'small_cnn' now")
    assert any("network: 'frames'" in each for each in asked_for(network="vgg16"))
