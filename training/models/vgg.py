"""VGG16 for spectra: one input channel, a width multiplier, torchvision's parameter names."""

import torch
from torch import Tensor, nn

from config.errors import UserError

CHANNELS_PER_BLOCK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Of the convolutions in `features`, where a ReLU follows each and a max-pool ends each block.
CONVOLUTION_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
HIDDEN_UNITS = 4096
POOLED_SIZE = 7
SMALLEST_INPUT = 2 ** len(CHANNELS_PER_BLOCK)  # each block ends in a max-pool of 2 x 2
LINEAR_STD = 0.01


class VGG16(nn.Module):
    """VGG16 (Simonyan and Zisserman 2015, configuration D), initialised as the released code's.

    That is torchvision's initialisation, but PyTorch's default one of the first convolution and of
    the last linear layer, which the released code puts in place of torchvision's.

    Args:
        num_classes: outputs of the last linear layer.
        in_channels: channels of the input; a spectrum has 1.
        width: multiplies every number of channels and hidden units (rounded, at least 1).
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__()
        self.features = _convolutions(in_channels, width)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED_SIZE)
        self.classifier = _classifier(num_classes, width)
        self._initialise(width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits `(batch, num_classes)` of inputs `(batch, in_channels, frames, bins)`.

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
        # These two stay as PyTorch made them: weights and biases uniform within one over the square
        # root of the number of inputs.
        plain = (self.features[0], self.classifier[-1])
        for module in self.modules():
            if module in plain:
                continue
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=linear_std)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def _scaled(size: int, width: float) -> int:
    """Return a number of channels or hidden units at a width."""
    return max(1, round(size * width))


def _convolutions(in_channels: int, width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for block in CHANNELS_PER_BLOCK:
        for channels in (_scaled(size, width) for size in block):
            layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
            in_channels = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _classifier(num_classes: int, width: float) -> nn.Sequential:
    hidden = _scaled(HIDDEN_UNITS, width)
    pooled = _scaled(CHANNELS_PER_BLOCK[-1][-1], width) * POOLED_SIZE**2
    return nn.Sequential(
        nn.Linear(pooled, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(hidden, num_classes),
    )
