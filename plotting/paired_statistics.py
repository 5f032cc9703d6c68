"""What a handful of paired repetitions allow to say: intervals, a p-value, the smallest effect.

All tests are scipy's; it is imported only when something is computed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8
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
        values: one difference for each pair.
        mean: their mean; None without pairs.
        interval: of the mean, 95 %; None where there is no spread to estimate it from.
        method: how the interval was found, in words; why there is none.
        p_value: of the two-sided sign-flip permutation test; None with fewer than two pairs.
    """

    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    method: str
    p_value: float | None

    @property
    def num_pairs(self) -> int:
        return len(self.values)


def paired_difference(values: Sequence[float]) -> PairedDifference:
    """All that is said of the differences of pairs."""
    interval, method = difference_interval(values)
    return PairedDifference(
        values=tuple(values),
        mean=fmean(values) if values else None,
        interval=interval,
        method=method,
        p_value=permutation_p_value(values),
    )


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95 % confidence interval of a mean by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    # Of all of scipy, the distribution alone: scipy.stats takes more than a second to import.
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def difference_interval(values: Sequence[float]) -> tuple[Interval | None, str]:
    """95 % interval of a mean difference, and how it was found.

    The bias-corrected and accelerated bootstrap (Efron 1987) from three pairs on, seeded. Of two
    pairs there are only three different resamples: Student's t is taken. Where all differences are
    equal there is no spread to resample, and no interval.
    """
    if len(values) < 2:
        return None, "no interval: fewer than two pairs"
    if _all_equal(values):
        return None, "no interval: all differences are equal"
    if len(values) < LEAST_FOR_BOOTSTRAP:
        return mean_interval(values), "Student's t: two pairs are too few for a bootstrap"
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
        return mean_interval(values), "Student's t: the bootstrap's correction is not defined"
    return Interval(float(found.low), float(found.high)), "bootstrap (BCa)"


def permutation_p_value(values: Sequence[float]) -> float | None:
    """Two-sided p-value of a mean difference: how often flipped signs give one as large.

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
    """The smallest p-value that the permutation test of so many pairs can give."""
    num_signs: int = 2**num_pairs
    return min(1.0, 2 / min(num_signs, NUM_PERMUTATIONS + 1))


def pairs_needed(num_tests: int) -> int | None:
    """The fewest pairs that can show a difference, corrected over num_tests; None: no number can.

    Six for one test, ten for thirteen.
    """
    most = math.ceil(math.log2(NUM_PERMUTATIONS + 1))
    for num_pairs in range(2, most + 1):
        if num_tests * least_p_value(num_pairs) < ALPHA:
            return num_pairs
    return None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) of p-values of one family; None stays None."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected


def smallest_effect(values: Sequence[float], alpha: float = ALPHA) -> float | None:
    """The smallest true mean difference that these pairs would have shown in 8 of 10 such trials.

    Of a paired t-test, two-sided, power 0.8: the d that solves

        P(|T| > t) = 0.8,  T noncentral t, n - 1 degrees of freedom, noncentrality d sqrt(n) / s

    with t the 1 - alpha / 2 quantile of Student's t with n - 1 degrees of freedom, and s the
    standard deviation of the n differences. None for fewer than two pairs or differences without
    spread.
    """
    if len(values) < 2 or _all_equal(values):
        return None
    return noncentrality(len(values), alpha) * stdev(values) / math.sqrt(len(values))


def noncentrality(num_pairs: int, alpha: float = ALPHA) -> float:
    """The noncentrality at which a paired t-test of num_pairs pairs has its power of 0.8."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    degrees = num_pairs - 1
    limit = float(t.ppf(1 - alpha / 2, degrees))

    def missing_power(delta: float) -> float:
        # Far from zero scipy has no value of the lower tail, which is then below rounding.
        lower = float(nct.cdf(-limit, degrees, delta))
        return (
            float(nct.sf(limit, degrees, delta)) + (lower if math.isfinite(lower) else 0.0) - POWER
        )

    return float(brentq(missing_power, 0.0, 10 * limit))


def _all_equal(values: Sequence[float]) -> bool:
    scale = max(abs(value) for value in values)
    return max(values) - min(values) <= 1e-9 * max(scale, 1e-9)
