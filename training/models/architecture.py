"""VGG16 in numbers, without torch: layers, channels, sizes of activations, parameters.

vgg.py builds the network from these; estimates and checks that must answer at once read them
without loading torch.
"""

from dataclasses import dataclass
from functools import lru_cache

CHANNELS_PER_BLOCK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Of the convolutions in `features`, where a ReLU follows each and a max-pool ends each block.
CONVOLUTION_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
KERNEL_SIZE = 3
HIDDEN_UNITS = 4096
POOLED_SIZE = 7
SMALLEST_INPUT = 2 ** len(CHANNELS_PER_BLOCK)
# Answers that are asked for again and again while a batch size that fits is searched for.
NUM_KEPT = 64


@dataclass(frozen=True)
class Activation:
    """What one layer gives for one example: channels x frames x bins values."""

    channels: int
    frames: int
    bins: int

    @property
    def size(self) -> int:
        """Number of values."""
        return self.channels * self.frames * self.bins


def scaled(size: int, width: float) -> int:
    """A number of channels or hidden units at a width."""
    return max(1, round(size * width))


def blocks(width: float) -> tuple[tuple[int, ...], ...]:
    """Channels of each convolution, block by block."""
    return tuple(tuple(scaled(size, width) for size in block) for block in CHANNELS_PER_BLOCK)


def linear_shapes(num_classes: int, width: float) -> tuple[tuple[int, int], ...]:
    """(inputs, outputs) of the classifier's three linear layers."""
    pooled = blocks(width)[-1][-1] * POOLED_SIZE**2
    hidden = scaled(HIDDEN_UNITS, width)
    return (pooled, hidden), (hidden, hidden), (hidden, num_classes)


def convolution_parameters(width: float, in_channels: int = 1) -> int:
    """Weights and biases of the 13 convolutions."""
    count = 0
    for channels in (each for block in blocks(width) for each in block):
        count += channels * (in_channels * KERNEL_SIZE**2 + 1)
        in_channels = channels
    return count


def num_parameters(num_classes: int, width: float, in_channels: int = 1) -> int:
    """Weights and biases of the whole network; 134,275,780 for 4 classes at width 1."""
    linear = sum(outputs * (inputs + 1) for inputs, outputs in linear_shapes(num_classes, width))
    return convolution_parameters(width, in_channels) + linear


@lru_cache(maxsize=NUM_KEPT)
def convolution_outputs(width: float, num_frames: int, num_bins: int) -> tuple[Activation, ...]:
    """What each of the 13 convolutions gives for one example of that size; its ReLU, the same."""
    outputs = []
    for number, block in enumerate(blocks(width)):
        frames, bins = num_frames >> number, num_bins >> number
        outputs += [Activation(channels, frames, bins) for channels in block]
    return tuple(outputs)


@lru_cache(maxsize=NUM_KEPT)
def pool_outputs(width: float, num_frames: int, num_bins: int) -> tuple[Activation, ...]:
    """What each of the 5 max-pools gives for one example of that size."""
    return tuple(
        Activation(block[-1], num_frames >> number, num_bins >> number)
        for number, block in enumerate(blocks(width), start=1)
    )


@lru_cache(maxsize=NUM_KEPT)
def convolution_inputs(width: float, num_frames: int, num_bins: int) -> tuple[Activation, ...]:
    """What each of the 13 convolutions receives: the example itself, or what comes before it."""
    inputs = [Activation(1, num_frames, num_bins)]
    for block, pooled in zip(blocks(width), pool_outputs(width, num_frames, num_bins), strict=True):
        frames, bins = inputs[-1].frames, inputs[-1].bins
        inputs += [Activation(channels, frames, bins) for channels in block[:-1]]
        inputs.append(pooled)
    return tuple(inputs[:-1])
