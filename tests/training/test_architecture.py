"""VGG16 in numbers, against the network that torch builds and against published counts."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from config.settings import PROJECT_FOLDER
from training import vgg
from training.architecture import (
    CHANNELS_PER_BLOCK,
    CONVOLUTION_INDICES,
    Activation,
    convolution_inputs,
    convolution_outputs,
    convolution_parameters,
    num_parameters,
    pool_outputs,
)
from training.vgg import VGG16

WIDTHS = (1 / 200, 1 / 8, 0.3, 1.0, 1.5)
SIZES = ((32, 32), (126, 129), (501, 129), (63, 40), (100, 33))


def network(num_classes: int, width: float, in_channels: int = 1) -> VGG16:
    with torch.device("meta"):
        return VGG16(num_classes, in_channels, width)


def shapes(width: float, size: tuple[int, int], kind: type[nn.Module], of_input: bool) -> list[str]:
    """Channels, frames, bins of what modules of a kind receive or give, as text."""
    model, found = network(3, width), []

    def note(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        found.append(str(tuple((inputs[0] if of_input else output).shape[1:])))

    for module in model.features:
        if isinstance(module, kind):
            module.register_forward_hook(note)
    model.features(torch.empty(2, 1, *size, device="meta"))
    return found


def as_text(activations: tuple[Activation, ...]) -> list[str]:
    return [str((each.channels, each.frames, each.bins)) for each in activations]


def test_published_counts_of_parameters() -> None:
    assert num_parameters(1000, 1.0, in_channels=3) == 138_357_544  # torchvision, ImageNet
    assert num_parameters(4, 1.0) == 134_275_780
    assert convolution_parameters(1.0, in_channels=3) == 14_714_688  # its `features`


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("num_classes", [2, 1000])
def test_counts_are_those_of_the_network(width: float, num_classes: int) -> None:
    model = network(num_classes, width)
    assert num_parameters(num_classes, width) == sum(each.numel() for each in model.parameters())
    convolutions = sum(each.numel() for each in model.features.parameters())
    assert convolution_parameters(width) == convolutions


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_those_of_the_network(width: float, size: tuple[int, int]) -> None:
    convolutions = shapes(width, size, nn.Conv2d, of_input=False)
    assert as_text(convolution_outputs(width, *size)) == convolutions
    assert as_text(convolution_inputs(width, *size)) == shapes(width, size, nn.Conv2d, True)
    assert as_text(pool_outputs(width, *size)) == shapes(width, size, nn.MaxPool2d, False)


def test_size_of_an_activation() -> None:
    outputs = convolution_outputs(1.0, 126, 129)
    assert outputs[0].size == 64 * 126 * 129
    assert outputs[12].size == 512 * 7 * 8


def test_the_network_has_these_facts_and_passes_them_on() -> None:
    assert vgg.CHANNELS_PER_BLOCK is CHANNELS_PER_BLOCK
    assert vgg.CONVOLUTION_INDICES is CONVOLUTION_INDICES
    kinds = enumerate(network(3, 1 / 8).features)
    assert tuple(i for i, each in kinds if isinstance(each, nn.Conv2d)) == CONVOLUTION_INDICES


@pytest.mark.parametrize("module", ["architecture", "memory", "memory_limits"])
def test_torch_is_not_loaded(module: str) -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'accelerate'}"
    code = f"import sys, training.{module}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_FOLDER, check=True)
