"""Optimizers by the names of choose_optimizer. One more is one more entry of OPTIMIZERS.

Settings are checked against it without waiting for torch, so it is not imported here before an
optimizer is built.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

# The class in torch.optim, and whether torch has it in one kernel.
OPTIMIZERS = {
    "adam": ("Adam", True),
    "adamw": ("AdamW", True),
    "sgd": ("SGD", True),
    "rmsprop": ("RMSprop", False),
}


def build_optimizer(
    name: str, parameters: "Iterable[nn.Parameter]", learning_rate: float, weight_decay: float
) -> "Optimizer":
    """Build the optimizer that choose_optimizer names, in one kernel where torch has one."""
    import torch

    class_name, has_one_kernel = OPTIMIZERS[name]
    arguments: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    if has_one_kernel:
        arguments["fused"] = True
    optimizer: Optimizer = getattr(torch.optim, class_name)(parameters, **arguments)
    return optimizer
