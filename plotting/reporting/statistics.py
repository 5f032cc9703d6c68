"""What a handful of paired repetitions allow to say: intervals and p-values.

All tests are scipy's; it is imported only when something is computed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

LEVEL = 0.95
ALPHA = 0.05
LEAST_FOR_BOOTSTRAP = 3
NUM_RESAMPLES = 9999
# All 2^n sign flips are gone through up to n = 13; beyond it this many are drawn.
NUM_PERMUTATIONS = 9999
SEED = 0


class Interval(NamedTuple):
    """Its limits."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """The differences of pairs, and what follows from them.

    Attributes:
        values: one difference for each pair; at least one.
        mean: their mean.
        interval: of the mean, 95 %; None where there is no spread to estimate it from.
        p_value: of the two-sided sign-flip permutation test; None of a single pair.
    """

    values: tuple[float, ...]
    mean: float
    interval: Interval | None
    p_value: float | None

    @property
    def num_pairs(self) -> int:
        """Return the number of pairs."""
        return len(self.values)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does; differences that are all equal are their own interval."""
        if self.interval is None:
            return self.num_pairs > 1 and self.mean != 0
        return not self.interval.low <= 0 <= self.interval.high


def paired_difference(values: Sequence[float]) -> PairedDifference | None:
    """Return what the differences of pairs show; None without pairs."""
    if not values:
        return None
    return PairedDifference(
        tuple(values), fmean(values), difference_interval(values), permutation_p_value(values)
    )


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of a mean by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    # Of all of scipy, the distribution alone: scipy.stats takes more than a second to import.
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def difference_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of a mean difference.

    The bias-corrected and accelerated bootstrap (Efron 1987) from three pairs on, seeded. Of two
    pairs there are only three different resamples: Student's t is taken. Where all differences are
    equal there is no spread to resample, and no interval.
    """
    if len(values) < 2 or _all_equal(values):
        return None
    if len(values) < LEAST_FOR_BOOTSTRAP:
        return mean_interval(values)
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        confidence_level=LEVEL,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return mean_interval(values)  # the bootstrap's correction is not defined
    return Interval(float(found.low), float(found.high))


def permutation_p_value(values: Sequence[float]) -> float | None:
    """Return the two-sided p-value of a mean: how often flipped signs give one as large.

    Exact up to 13 pairs. The smallest that n pairs can give is 2 / 2^n: 0.25 of three, 0.031 of
    six. None for fewer than two pairs.
    """
    if len(values) < 2:
        return None
    import numpy as np
    from scipy.stats import permutation_test

    found = permutation_test(
        (np.asarray(values),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=NUM_PERMUTATIONS,
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)


def least_p_value(num_pairs: int) -> float:
    """Return the smallest p-value that the permutation test of so many pairs can give."""
    num_signs: int = 2**num_pairs
    return min(1.0, 2 / min(num_signs, NUM_PERMUTATIONS + 1))


def pairs_needed(num_tests: int) -> int | None:
    """Return the fewest pairs whose p-value can be below ALPHA, corrected over num_tests.

    Six for one test, ten for thirteen; None where no number of pairs is enough.
    """
    most = math.ceil(math.log2(NUM_PERMUTATIONS + 1))
    enough = (n for n in range(2, most + 1) if num_tests * least_p_value(n) < ALPHA)
    return next(enough, None)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values of one family by Holm's step-down method (1979); None stays None."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected


def _all_equal(values: Sequence[float]) -> bool:
    scale = max(abs(value) for value in values)
    return max(values) - min(values) <= 1e-9 * max(scale, 1e-9)
