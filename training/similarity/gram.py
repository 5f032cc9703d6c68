"""How alike two networks' Gram matrices are, with its gradient, in the memory of two of them.

Plain autograd would keep unit rows, products and their copies: seven matrices for each example.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from config.errors import UserError

MAX_TEMPORARY_BYTES = 256 * 2**20


def mean_absolute_cosine(activation: Tensor, frozen_gram: Tensor) -> Tensor:
    """Average |cos(row of the Gram matrix, row of the frozen one)| over examples and channels.

    The Gram matrices of the activation are made for some examples at a time, in temporary memory
    of at most MAX_TEMPORARY_BYTES and at most one `(batch, channels, channels)`, though always
    enough for one example. If the activation requires a gradient, that is computed here, and kept
    until the backward pass in the activation's shape, layout and type (float16: in float32).

    Args:
        activation: `(batch, channels, frames, bins)`, contiguous or channels_last; others are
            copied, some examples at a time.
        frozen_gram: `(batch, channels, channels)`, divided by channels * frames * bins or by
            anything else, as a cosine has no scale. It counts as a constant.

    Returns:
        A scalar that can be differentiated once, in float64 if an argument is, else in float32,
        under autocast too. Rows of zeros (dead channels), and rows whose largest value is below
        the type's smallest normal one, have cosine 0 and gradient 0.

    Raises:
        UserError: the activation has no four axes.
        ValueError: the Gram matrices differ in shape.

    Source: the paper's similarity term before squaring, aggregation gram.
    """
    check_axes(activation)
    batch, channels = activation.shape[:2]
    if frozen_gram.shape != (batch, channels, channels):
        raise ValueError(
            f"aggregates differ in shape: current {(batch, channels, channels)}, "
            f"frozen {tuple(frozen_gram.shape)}"
        )
    with torch.autocast(activation.device.type, enabled=False):
        if activation.requires_grad and torch.is_grad_enabled():
            mean: Tensor = _MeanAbsoluteCosine.apply(activation, frozen_gram.detach())  # type: ignore[no-untyped-call]
            return mean
        return _row_cosines(activation.detach(), frozen_gram.detach()).abs().mean()


def check_axes(activation: Tensor) -> None:
    """Raise a UserError for an activation that is not `(batch, channels, frames, bins)`."""
    if activation.ndim != 4:
        raise UserError(
            f"an activation must be (batch, channels, frames, bins), not {tuple(activation.shape)}"
        )


def precision_of(*values: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 if one of the values has it, else float32."""
    return torch.float64 if torch.float64 in {each.dtype for each in values} else torch.float32


class _MeanAbsoluteCosine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Tensor, frozen_gram: Tensor) -> Tensor:
        # An unscaled float16 gradient would be below that type's range.
        kept = torch.float32 if activation.dtype == torch.float16 else activation.dtype
        layout = torch.channels_last if _is_channels_last(activation) else torch.contiguous_format
        gradient = torch.empty_like(activation, dtype=kept, memory_format=layout)
        mean = _row_cosines(activation, frozen_gram, gradient).abs().mean()
        ctx.save_for_backward(gradient)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * factor, None


def _row_cosines(activation: Tensor, frozen_gram: Tensor, gradient: Tensor | None = None) -> Tensor:
    """Compute cosines `(batch, channels, 1)`; fill a gradient with that of their mean |cos|."""
    batch, channels = activation.shape[:2]
    dtype = precision_of(activation, frozen_gram)
    cosines = activation.new_empty(batch, channels, 1, dtype=dtype)
    num_examples = _examples_at_once(activation, dtype)
    buffers = activation.new_empty(2, num_examples, channels, channels, dtype=dtype)
    for start in range(0, batch, num_examples):
        chunk = slice(start, min(start + num_examples, batch))
        gram, spare = buffers[:, : chunk.stop - start]
        rows = activation[chunk].flatten(2).to(dtype)  # (B, C, H * W)
        torch.baddbmm(gram, rows, rows.mT, beta=0, alpha=1 / activation[0].numel(), out=gram)
        frozen = frozen_gram[chunk].to(dtype)
        frozen_norms = _row_norms(frozen, spare)
        norms = _row_norms(gram, spare)
        gram.div_(norms)
        cosines[chunk] = torch.mul(gram, frozen, out=spare).sum(-1, keepdim=True) / frozen_norms
        if gradient is not None:
            # d|cos| / d row = sign(cos) * (unit frozen row - cos * unit row) / norm of the row
            gram.mul_(-cosines[chunk]).addcdiv_(frozen, frozen_norms)
            gram.mul_(cosines[chunk].sign() / (activation.numel() * channels * norms))
            # The Gram matrix is rows @ rows.T, so both its factors carry the gradient on.
            torch.add(gram, gram.mT, out=spare)
            _multiply_into(gradient[chunk], spare, rows)
    return cosines


def _row_norms(values: Tensor, spare: Tensor) -> Tensor:
    """Compute Euclidean norms of rows `(batch, channels, 1)`, infinite where a row is zero."""
    # Neither abs(), which copies, nor the infinity norm, which is slow on a CPU.
    largest = torch.maximum(values.amax(-1, keepdim=True), -values.amin(-1, keepdim=True))
    is_zero = largest < torch.finfo(values.dtype).tiny
    # Gram entries of small activations have squares below float32's range.
    torch.div(values, largest, out=spare)
    norms: Tensor = largest * torch.linalg.vector_norm(spare, dim=-1, keepdim=True)
    return norms.masked_fill(is_zero, torch.inf)


def _multiply_into(gradient: Tensor, symmetric: Tensor, rows: Tensor) -> None:
    """Fill the gradient `(batch, channels, frames, bins)` with symmetric @ rows, in its layout."""
    if _is_channels_last(gradient):
        target = gradient.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C)
        first, second = rows.mT, symmetric
    else:
        target = gradient.flatten(2)
        first, second = symmetric, rows
    if target.dtype == rows.dtype:
        torch.bmm(first, second, out=target)
    else:
        target.copy_(torch.bmm(first, second))


def _examples_at_once(activation: Tensor, dtype: torch.dtype) -> int:
    """Count the examples whose matrices, converted rows and gradient fit the temporary memory.

    Half a batch at most, so that two buffers together are no larger than the frozen network's.
    """
    batch, channels = activation.shape[:2]
    num_values = 2 * channels**2 + 2 * activation[0].numel()
    return max(1, min(MAX_TEMPORARY_BYTES // (num_values * dtype.itemsize), batch // 2))


def _is_channels_last(values: Tensor) -> bool:
    return values.is_contiguous(memory_format=torch.channels_last)
