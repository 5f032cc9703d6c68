"""The loss in code that is not this project's: docs/library.md, a ResNet, several processes."""

import copy
import re
import subprocess
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from config.errors import UserError
from config.text import PROJECT_FOLDER
from tests.training.in_processes import free_port
from training import AntiTransferLoss

NUM_EXAMPLES = 8


class Block(nn.Module):
    """As in torchvision's ResNet: one ReLU, in place, that runs twice."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.relu(self.bn1(self.conv1(inputs)))
        outputs = self.bn2(self.conv2(outputs))
        outputs += self.shortcut(inputs)
        result: Tensor = self.relu(outputs)
        return result


class ResNet(nn.Module):
    """A small network with the names of torchvision's ResNet18."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 8), Block(8, 8))
        self.layer2 = nn.Sequential(Block(8, 16), Block(16, 16))
        self.layer3 = nn.Sequential(Block(16, 16), Block(16, 16))
        self.fc = nn.Linear(16, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.maxpool(self.conv1(inputs))
        values = self.layer3(self.layer2(self.layer1(values)))
        logits: Tensor = self.fc(values.mean((2, 3)))
        return logits


class AddInPlace(nn.Module):
    """Changes what it is given."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.add_(1)


def network(seed: int, num_classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(NUM_EXAMPLES) % 3
    return torch.randn(NUM_EXAMPLES, 1, 12, 14, generator=generator), labels


def gradients(model: nn.Module) -> list[Tensor]:
    return [each.grad.clone() for each in model.parameters() if each.grad is not None]


def squared_mean_cosine(first: Tensor, second: Tensor) -> Tensor:
    """The published term by its formula, example by example, in float64."""
    cosines = []
    for current, frozen in zip(first.double(), second.double(), strict=True):
        row, other = (values.flatten(1) @ values.flatten(1).T for values in (current, frozen))
        # Only rows of zeros, which dead channels have, are that short.
        cosines.append(nn.functional.cosine_similarity(row, other, dim=1, eps=1e-100).abs())
    return torch.cat(cosines).mean().square()


def blocks() -> list[str]:
    text = (PROJECT_FOLDER / "docs" / "library.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun tells a process that is the only one."""
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("one_process")
def test_the_examples_of_the_documentation_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    # Graphs are captured as by default; a C++ compiler has its own test.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    models = types.SimpleNamespace(resnet18=ResNet)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    own: dict[str, Any] = {}
    try:
        for number, block in enumerate(blocks()):
            exec(compile(block, f"docs/library.md, block {number}", "exec"), own)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    output = capsys.readouterr().out
    for term in ("frozen_layer2", "frozen_layer3.0", "noise_layer1", "noise_layer2", "speaker_5"):
        assert f"'{term}': tensor(" in output
    assert own["loss"].isfinite()


def test_the_errors_of_the_documentation_are_those_that_are_raised() -> None:
    text = (PROJECT_FOLDER / "docs" / "library.md").read_text(encoding="utf-8")
    model, frozen, other = ResNet(3), ResNet(3), network(0)
    inputs = torch.randn(2, 3, 32, 32)

    def shapes_differ() -> None:
        wide = network(0)
        wide[0] = nn.Conv2d(1, 7, 3)
        wide[2] = nn.Conv2d(7, 8, 3)
        with AntiTransferLoss(other, wide, [1]) as penalty:
            other(batch()[0])
            penalty(batch()[0])

    def runs_twice() -> None:
        with AntiTransferLoss(model, frozen, ["layer1.0.relu"]):
            model(inputs)

    def changed_in_place() -> None:
        changing, same = (nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), AddInPlace()) for _ in "ab")
        with AntiTransferLoss(changing, same, [1]) as penalty:
            changing(batch()[0])
            penalty(batch()[0])

    def no_pass() -> None:
        with AntiTransferLoss(model, frozen, ["layer1"]) as penalty:
            penalty(inputs)

    def not_open() -> None:
        AntiTransferLoss(model, frozen, ["layer1"])(inputs)

    def no_gradient() -> None:
        with AntiTransferLoss(other, network(1), 1) as penalty:
            with torch.no_grad():
                other(batch()[0])
            penalty(batch()[0])

    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: AntiTransferLoss(model, frozen, [99]), "no such convolution in this network"),
        (lambda: AntiTransferLoss(model, frozen, ["layer9"]), "layer layer9: no such module in"),
        (runs_twice, "layer1.0.relu: runs more than once in a forward pass"),
        (shapes_differ, "aggregates differ in shape: current"),
        (changed_in_place, "its output was changed in place later in the forward pass"),
        (no_gradient, "its output has no gradient, so that the penalty would train nothing"),
        (no_pass, "the model made no forward pass through"),
        (not_open, "the anti-transfer loss must be used inside its with block"),
        (lambda: AntiTransferLoss(model, model, [1]), "share parameters; pass a copy"),
    ]
    for action, message in cases:
        with pytest.raises((UserError, ValueError, RuntimeError), match=re.escape(message)):
            action()
        assert message in text


@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer1.1.conv2", 3])
def test_a_resnet_gets_the_gradient_of_the_formula(layer: int | str) -> None:
    torch.manual_seed(0)
    model, frozen = ResNet(3).double(), ResNet(5).double().eval()
    inputs, labels = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    reference = copy.deepcopy(model)
    with AntiTransferLoss(model, frozen, [layer], beta=0.7) as penalty:
        loss = cross_entropy(model(inputs), labels) + penalty(inputs)
    torch.autograd.backward(loss)

    names = [name for name, each in reference.named_modules() if isinstance(each, nn.Conv2d)]
    name = layer if isinstance(layer, str) else names[layer - 1]
    kept: list[Tensor] = []
    for each in (reference, frozen):
        each.get_submodule(name).register_forward_hook(lambda *call: kept.append(call[2].clone()))
    logits = reference(inputs)
    frozen(inputs)
    expected = cross_entropy(logits, labels) + 0.7 * squared_mean_cosine(*kept)
    torch.autograd.backward(expected)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert len(gradients(model)) == len(list(model.parameters()))
    for found, wanted in zip(gradients(model), gradients(reference), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-12)


IN_ANOTHER_PROJECT = """
import sys
import training
assert "torch" not in sys.modules
needless = "accelerate", "pandas", "pydantic", "config.settings", "preprocessing", "scipy", "tqdm"
sys.modules |= dict.fromkeys(needless)  # an import of one of them is an error from now on
from torch import nn, randn, zeros
from training import AntiTransferLoss
model, frozen = (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
                 for _ in range(2))
inputs = randn(4, 1, 8, 8)
for pair in ("gram", "cos_squared"), ("pool", "cka_within_class"), ("pairwise", "mse_sigmoid"):
    with AntiTransferLoss(model, frozen, 1, *pair) as penalty:
        (model(inputs).sum() + penalty(inputs, zeros(4))).backward()
"""


def in_a_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PROJECT_FOLDER,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loss_needs_torch_alone() -> None:
    in_a_new_process(IN_ANOTHER_PROJECT)


def test_training_brings_along_no_audio_and_no_figures() -> None:
    code = (
        "import sys, training.invariance, training.probing.analysis, training.sweep.instance\n"
        "print({'librosa', 'essentia', 'matplotlib'} & set(sys.modules))\n"
    )
    assert in_a_new_process(code).strip() == "set()"
