"""Networks from files: frozen ones, and weights that a training starts from.

Weights of another network are taken over completely or not at all.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from config.errors import UserError

Module = TypeVar("Module", bound=nn.Module)


def to_device(model: Module, device: torch.device) -> Module:
    """Move a network to a device, ours with the channels innermost, where convolutions are faster.

    Another's code may count on the usual order, as `view` does.
    """
    if type(model).__module__.startswith("training.models."):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device)


def without_head(network: nn.Module) -> nn.Module:
    """Take out a network's head, which in VGG16 is nine tenths of the memory."""
    name = head_of(network)
    if name:
        network.set_submodule(name, nn.Identity())
    return network


def head_of(network: nn.Module) -> str:
    """Name what turns features into outputs: the last linear layer, or what holds linear ones only.

    In VGG16 that is `classifier`, three linear layers. Empty: there is no linear layer.
    """
    modules = dict(network.named_modules())
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    head = linear[-1] if linear else ""
    while parent := head.rpartition(".")[0]:
        with_weights = [each for each in modules[parent].modules() if [*each.parameters(False)]]
        if not all(isinstance(each, nn.Linear) for each in with_weights):
            break
        head = parent
    return head


def load_trunk(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Copy all but the head of another network (VGG16: the convolutions), as weight initialization.

    Args:
        model: changed in place; its head stays as it is.
        state_dict: the other network's parameters and buffers, by the same names.
        source: where they came from, for the message of an error.

    Raises:
        UserError: one is missing, has another shape, or holds NaN or infinite values; the model is
            then unchanged.
    """
    head = head_of(model)
    names = [name for name in model.state_dict() if not head or not name.startswith(f"{head}.")]
    if not names:
        raise UserError(f"{source}: this network is a head alone, so it starts from no other one")
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
        prefix = unexpected[0].partition(".")[0] + "."
        fits = {name.removeprefix(prefix) for name in state_dict} == own.keys()
        remedy = "train it again for this network, or name another file"
        raise UserError(
            f"{source}: {unexpected[0]} does not belong to this network ({len(unexpected)} such "
            f"keys); {f'take {prefix} off their names, and they fit' if fits else remedy}"
        )
    _copy(model, state_dict, own, source)


def _copy(
    model: nn.Module, state_dict: Mapping[str, Tensor], names: Iterable[str], source: str
) -> None:
    own = model.state_dict()
    names = list(names)
    problems = [_problem(state_dict.get(name), own[name], name) for name in names]
    found = [problem for problem in problems if problem]
    if found:
        raise UserError(f"{source}: {found[0]} ({len(found)} of {len(names)} keys do not fit)")
    with torch.no_grad():
        for name in names:
            own[name].copy_(state_dict[name])


def _problem(found: Tensor | None, expected: Tensor, name: str) -> str:
    """Say why a tensor cannot take the place of another; empty if it can."""
    shape = tuple(expected.shape)
    if found is None:
        return f"{name} is missing, expected shape {shape}; train it again, or name another file"
    if tuple(found.shape) != shape:
        return (
            f"{name} has shape {tuple(found.shape)}, expected {shape}; width, input channels and "
            "classes must be those it was trained with"
        )
    if not torch.isfinite(found).all():
        return f"{name} {shape} holds NaN or infinite values; train it again"
    return ""
