"""How much two networks' features of the same examples say the same, without the bias of few.

A plain linear CKA of independent features is far above 0 when examples are few and features many.
"""

import torch
from torch import Tensor

# Centred values below this many roundings of the values they came from are roundings themselves.
NUM_ROUNDINGS = 16


def debiased_linear_cka(first: Tensor, second: Tensor, classes: Tensor | None = None) -> Tensor:
    """Compute linear CKA that is 0 on average for independent features, however few the examples.

    With X and Y the centred features, r the examples less the groups centred in (degrees of
    freedom), and T_xy = ||X'Y||^2 - tr(XX') tr(YY') / r, this is T_xy / sqrt(T_xx T_yy): 1 for
    features that are equal up to rotation and scale, about 0 for unrelated ones, also below 0. The
    subtrahend is what ||X'Y||^2 has on average if Y is Gaussian and independent of X, whatever the
    sizes of the classes; the usual estimator HSIC_1 (Song et al. 2012) supposes centring over all.

    Args:
        first: (examples, features).
        second: (examples, other features), of the same examples in the same order.
        classes: (examples,), int64; if given, features are centred within each class, so that what
            both networks know of the classes does not count. Takes (examples, examples) memory.

    Returns:
        A scalar in float64 if an argument is, else in float32, under autocast too; differentiable
        with respect to both. 0 with gradient 0 where a network's centred features are constant,
        or vary in all directions alike, or are left fewer than 2 degrees of freedom.

    Raises:
        ValueError: a shape is another one.

    Source: Kornblith et al. 2019, section 3 (linear CKA); the debiasing is our own.
    """
    _check_shapes(first, second, classes)
    with torch.autocast(first.device.type, enabled=False):
        dtype = torch.promote_types(torch.float32, torch.promote_types(first.dtype, second.dtype))
        residuals = _Residuals(classes, len(first), first.device, dtype)
        x, y = residuals.of(first.to(dtype)), residuals.of(second.to(dtype))
        degrees = residuals.degrees
        if len(x) <= max(x.shape[1], y.shape[1]):
            x_gram, y_gram = x @ x.mT, y @ y.mT
            between = (x_gram * y_gram).sum()
            within_x, within_y = x_gram.square().sum(), y_gram.square().sum()
        else:
            between, within_x, within_y = (
                (a.mT @ b).square().sum() for a, b in ((x, y), (x, x), (y, y))
            )
        # The traces are 1.
        shared = between - 1 / degrees
        own_x, own_y = _excess(within_x, degrees), _excess(within_y, degrees)
        # Asked this way round, NaN stays NaN.
        nothing = (own_x <= 0) | (own_y <= 0) | (degrees < 2)
        norms = torch.where(nothing, 1.0, own_x * own_y).sqrt()
        return torch.where(nothing, 0.0, shared / norms)


class _Residuals:
    """What is left of features after their groups' means, divided by its Euclidean norm."""

    def __init__(
        self, classes: Tensor | None, num_examples: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._means: Tensor | None = None
        num_groups = torch.ones((), device=device, dtype=dtype)
        if classes is not None:
            # No value of the classes is waited for: the GPU goes on with what it has to do.
            same = (classes[:, None] == classes[None, :]).to(dtype)
            sizes = same.sum(1)
            self._means = same / sizes[:, None]
            num_groups = (1 / sizes).sum().round()
        self.degrees = (num_examples - num_groups).clamp(min=1)

    def of(self, features: Tensor) -> Tensor:
        centred = features - features.mean(0)
        if self._means is not None:
            centred = centred - self._means @ centred
        # Scaled by the largest value first: squares of small features are below float32's range.
        largest = features.detach().abs().amax().clamp(min=torch.finfo(features.dtype).tiny)
        scaled = centred / largest
        floor = NUM_ROUNDINGS * torch.finfo(features.dtype).eps
        energy = scaled.square().sum()
        is_constant = energy <= floor**2 * (features.detach() / largest).square().sum()
        norm = torch.where(is_constant, 1.0, energy).sqrt()
        return torch.where(is_constant, 0.0, scaled / norm)


def _excess(product: Tensor, degrees: Tensor) -> Tensor:
    """Subtract its least value from the product, 1 / degrees; 0 if only roundings are left."""
    excess = product - 1 / degrees
    floor = NUM_ROUNDINGS * torch.finfo(product.dtype).eps * product.detach()
    return torch.where(excess <= floor, 0.0, excess)


def _check_shapes(first: Tensor, second: Tensor, classes: Tensor | None) -> None:
    for features in (first, second):
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(f"features must be (examples, features), not {tuple(features.shape)}")
    if len(first) != len(second):
        raise ValueError(f"features of {len(first)} and of {len(second)} examples")
    if classes is not None and classes.shape != (len(first),):
        raise ValueError(f"classes must be ({len(first)},), not {tuple(classes.shape)}")
