"""ResNet-18 for spectra: one input channel, a width multiplier, torchvision's parameter names."""

import torch
from torch import Tensor, nn

CHANNELS_PER_STAGE = (64, 128, 256, 512)
BLOCKS_PER_STAGE = 2


class BasicBlock(nn.Module):
    """Two 3x3 convolutions whose output is added to their input (He et al. 2016, figure 5 left).

    Args:
        stride: of the first convolution; where the shape changes, a 1x1 convolution fits the input.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute (batch, channels, frames / stride, bins / stride)."""
        hidden = self.relu1(self.bn1(self.conv1(inputs)))
        output: Tensor = self.relu2(self.bn2(self.conv2(hidden)) + self.downsample(inputs))
        return output


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016), initialised as torchvision's.

    Args:
        num_classes: outputs of the last linear layer.
        in_channels: channels of the input; a spectrum has 1.
        width: multiplies every number of channels (rounded, at least 1).
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__()
        first, *_ = sizes = [max(1, round(size * width)) for size in CHANNELS_PER_STAGE]
        self.conv1 = nn.Conv2d(in_channels, first, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(first, sizes[0], stride=1)
        self.layer2 = _stage(sizes[0], sizes[1], stride=2)
        self.layer3 = _stage(sizes[1], sizes[2], stride=2)
        self.layer4 = _stage(sizes[2], sizes[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(sizes[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits `(batch, num_classes)` of inputs `(batch, in_channels, frames, bins)`."""
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        hidden = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(hidden), 1))
        return logits


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    others = (BasicBlock(channels, channels, 1) for _ in range(BLOCKS_PER_STAGE - 1))
    return nn.Sequential(first, *others)
