"""The axes of what modules take and give, brought to (batch, channels, frames, bins).

Four axes are taken as they are. Of three, the kind of the module says which are the channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from config.errors import UserError

# Kinds whose three axes are (batch, channels, frames) by their definition,
CHANNELS_FIRST = (
    nn.Conv1d,
    nn.ConvTranspose1d,
    nn.BatchNorm1d,
    nn.InstanceNorm1d,
    nn.MaxPool1d,
    nn.AvgPool1d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveAvgPool1d,
)
# and those where the features are last: (batch, frames, features).
FEATURES_LAST = (nn.Linear, nn.LayerNorm, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)


@dataclass(frozen=True)
class Layout:
    """Where batch, channels and frames are among three axes."""

    batch: int
    channels: int
    frames: int

    def standard(self, values: Tensor) -> Tensor:
        """Return a view `(batch, channels, frames, 1)`."""
        return values.permute(self.batch, self.channels, self.frames).unsqueeze(-1)

    def original(self, activation: Tensor) -> Tensor:
        """Return a view with the three axes that `standard` was given."""
        axes = (self.batch, self.channels, self.frames)
        return activation.squeeze(-1).permute([axes.index(axis) for axis in range(3)])


# Of transformers, and of last_hidden_state by its definition.
HIDDEN_STATES = Layout(0, 2, 1)


def layout_of(model: nn.Module, module: nn.Module) -> Layout | None:
    """Find the layout of three axes that a module of a model takes and gives.

    The kinds in the module decide, if all say the same. If it holds none (a ReLU, a dropout), the
    nearest module before it in `model.modules()` decides that is of a kind.

    Returns:
        None: it holds both kinds, or neither it nor what is before it is of any.
    """
    kinds = (*CHANNELS_FIRST, *FEATURES_LAST)
    deciding = [each for each in module.modules() if isinstance(each, kinds)]
    if not deciding:
        modules = list(model.modules())
        before = modules[: modules.index(module)]
        deciding = [each for each in before if isinstance(each, kinds)][-1:]
    if not deciding:
        return None
    if all(isinstance(each, CHANNELS_FIRST) for each in deciding):
        return Layout(0, 1, 2)
    if any(isinstance(each, CHANNELS_FIRST) for each in deciding):
        return None
    if any(getattr(each, "batch_first", True) is False for each in deciding):
        return Layout(1, 2, 0)
    return HIDDEN_STATES


def standard_activation(
    values: Tensor, layout: Layout | None, num_examples: int | None, place: str
) -> Tensor:
    """Return values of three axes as a view `(batch, channels, frames, 1)`, others as they are.

    Args:
        num_examples: in the batch, if that is known.
        place: named in errors.

    Raises:
        UserError: it is not clear which axis is which.
    """
    if values.ndim != 3:
        return values
    shape = tuple(values.shape)
    if layout is None:
        raise UserError(
            f"{place} is {shape}, and the kinds of its modules do not say which axis has the "
            "channels; tap a convolution, linear layer or normalisation in it, by its name"
        )
    if num_examples is not None and shape[layout.batch] != num_examples:
        raise UserError(
            f"{place} is {shape}, and the batch of {num_examples} examples was looked for on axis "
            f"{layout.batch}; tap a module in it or before it, by its name"
        )
    return layout.standard(values)


def first_tensor(output: Any) -> Any:
    """Return what of a module's output is its activation.

    Of a tuple (LSTM, attention) the first element, of a mapping (Hugging Face) last_hidden_state.
    """
    if isinstance(output, tuple) and output:
        return output[0]
    return output.get("last_hidden_state", output) if isinstance(output, Mapping) else output


def with_first_tensor(output: Any, activation: Tensor) -> Any:
    """Return an output with the activation in place of `first_tensor`'s."""
    if isinstance(output, tuple):
        make = getattr(output, "_make", type(output))  # a named tuple keeps its names
        return make((activation, *output[1:]))
    if isinstance(output, Mapping):
        output["last_hidden_state"] = activation  # type: ignore[index]
        return output
    return activation
