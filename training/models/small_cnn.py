"""A small network for spectra, which learns in minutes on one core."""

import torch
from torch import Tensor, nn

# A max-pool of 2 x 2 follows each block but the last.
CHANNELS_PER_BLOCK = ((8, 8), (16, 16), (32, 32), (64, 64))


class SmallCNN(nn.Module):
    """Eight 3x3 convolutions with batch normalisation and ReLU, global average, a linear layer.

    It has 73 thousand weights; PyTorch's own initialisation.

    Args:
        num_classes: outputs of the linear layer.
        in_channels: channels of the input; a spectrum has 1.
        width: multiplies every number of channels (rounded, at least 1).
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in CHANNELS_PER_BLOCK:
            for channels in (max(1, round(size * width)) for size in block):
                layers += [
                    nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                in_channels = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits `(batch, num_classes)` of inputs `(batch, in_channels, frames, bins)`."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(inputs)), 1))
        return logits
