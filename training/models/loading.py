"""Networks from files: frozen ones, and convolutions that a training starts from.

Weights of another network are taken over completely or not at all.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.settings import Settings
from config.text import display_path
from training.models.registry import architecture_of, build_network
from training.models.weights import WEIGHTS_FILE, load_weights, read_description

Network = TypeVar("Network", bound=nn.Module)


def to_device(model: Network, device: torch.device) -> Network:
    """Move a network to a device, with the channels innermost, where convolutions are faster."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device)


def load_extractor(settings: Settings, name: str) -> nn.Module:
    """Build a pre-trained network of the kind and width of this run, with the weights of its file.

    Raises:
        UserError: it is missing, its architecture is another one, or a weight is missing.
    """
    folder = settings.extractor_folder(name)
    architecture = read_description(folder)["architecture"]
    own = architecture_of(architecture["num_classes"], settings.training_defaults.width)
    for key, value in own.items():
        if architecture.get(key) != value:
            raise UserError(
                f"{display_path(folder)}: {key} of the extractor is {architecture.get(key)}, this "
                f"run's is {value}; train it again: {settings.extractors[name].command} --overwrite"
            )
    frozen = build_network(own, seed=0)
    path = folder / WEIGHTS_FILE
    load_whole(frozen, load_weights(path), display_path(path))
    return frozen


def without_classifier(network: nn.Module) -> nn.Module:
    """Take out what is named classifier, which in VGG16 is nine tenths of the memory."""
    if hasattr(network, "classifier"):
        network.classifier = nn.Sequential()
    return network


def load_convolutions(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Copy another network's convolutions, and nothing else, as weight initialization.

    Args:
        model: changed in place; all its other layers stay as they are.
        state_dict: the other network's parameters, by the same names.
        source: where they came from, for the message of an error.

    Raises:
        UserError: a convolution is missing, has another shape, or holds NaN or infinite values;
            the model is then unchanged.
    """
    names = [
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        for part in module.state_dict()
    ]
    _copy(model, state_dict, names, source)


def load_whole(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Copy all of another network's parameters and buffers, which must have the model's names.

    Raises:
        UserError: a key is missing, unexpected, misshapen, or holds NaN or infinite values; the
            model is then unchanged.
    """
    own = model.state_dict()
    unexpected = [name for name in state_dict if name not in own]
    if unexpected:
        raise UserError(
            f"{source}: {unexpected[0]} does not belong to this network "
            f"({len(unexpected)} such keys); train it again for the network of this run"
        )
    _copy(model, state_dict, own, source)


def _copy(
    model: nn.Module, state_dict: Mapping[str, Tensor], names: Iterable[str], source: str
) -> None:
    own = model.state_dict()
    names = list(names)
    for name in names:
        _check(state_dict.get(name), own[name], name, source)
    with torch.no_grad():
        for name in names:
            own[name].copy_(state_dict[name])


def _check(found: Tensor | None, expected: Tensor, name: str, source: str) -> None:
    shape = tuple(expected.shape)
    if found is None:
        raise UserError(
            f"{source}: {name} is missing, expected shape {shape}; train it again, or name "
            "another file"
        )
    if tuple(found.shape) != shape:
        raise UserError(
            f"{source}: {name} has shape {tuple(found.shape)}, expected {shape}; width, input "
            "channels and classes must be those it was trained with"
        )
    if not torch.isfinite(found).all():
        raise UserError(f"{source}: {name} {shape} holds NaN or infinite values; train it again")
