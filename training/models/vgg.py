"""VGG16 for spectra: one input channel, a width multiplier, torchvision's parameter names.

Weights of other networks are taken over completely or not at all.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from config.errors import UserError
from training.models.architecture import (
    CHANNELS_PER_BLOCK,
    CONVOLUTION_INDICES,
    KERNEL_SIZE,
    POOLED_SIZE,
    SMALLEST_INPUT,
    blocks,
    linear_shapes,
)

__all__ = [
    "CHANNELS_PER_BLOCK",
    "CONVOLUTION_INDICES",
    "VGG16",
    "load_convolutions",
    "load_whole",
]

LINEAR_STD = 0.01


class VGG16(nn.Module):
    """VGG16 (Simonyan and Zisserman 2015, configuration D), initialised as torchvision's.

    Args:
        num_classes: outputs of the last linear layer.
        in_channels: channels of the input; a spectrum has 1.
        width: multiplies every number of channels and hidden units (rounded, at least 1).
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__()
        self.architecture: dict[str, int | float | str] = {
            "network": "vgg16",
            "num_classes": num_classes,
            "in_channels": in_channels,
            "width": width,
        }
        self.features = _convolutions(in_channels, width)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED_SIZE)
        self.classifier = _classifier(num_classes, width)
        self._initialise(width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(batch, num_classes)` of inputs `(batch, in_channels, frames, bins)`.

        Raises:
            UserError: fewer frames or bins than five halvings need.
        """
        if min(inputs.shape[-2:]) < SMALLEST_INPUT:
            raise UserError(
                f"VGG16: an example of {inputs.shape[-2]} frames x {inputs.shape[-1]} bins is too "
                f"small, at least {SMALLEST_INPUT} of each are needed; set a longer "
                "sequence_length or features with more bins, and prepare the data again"
            )
        pooled = self.avgpool(self.features(inputs))
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits

    def _initialise(self, width: float) -> None:
        # A linear layer adds up `width` times as many inputs as the full network's, so its output
        # keeps the full network's scale only if the variance of its weights is divided by width.
        linear_std = LINEAR_STD / width**0.5
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=linear_std)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def _convolutions(in_channels: int, width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for block in blocks(width):
        for channels in block:
            convolution = nn.Conv2d(in_channels, channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
            layers += [convolution, nn.ReLU(inplace=True)]
            in_channels = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _classifier(num_classes: int, width: float) -> nn.Sequential:
    first, second, last = linear_shapes(num_classes, width)
    return nn.Sequential(
        nn.Linear(*first),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(*second),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(*last),
    )


def load_convolutions(model: VGG16, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Weight initialization: copy another network's 13 convolutions, and nothing else.

    Args:
        model: changed in place; its classifier stays as it is.
        state_dict: the other network's parameters, by torchvision's names.
        source: where they came from, for the message of an error.

    Raises:
        UserError: a convolution is missing, has another shape, or holds NaN or infinite values;
            the model is then unchanged.
    """
    names = [
        f"features.{index}.{part}" for index in CONVOLUTION_INDICES for part in ("weight", "bias")
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
