"""Statistics against hand computations, plain loops and published tables."""

import itertools
from statistics import fmean

import numpy as np
import pytest

from plotting.reporting.statistics import (
    difference_interval,
    holm,
    least_p_value,
    mean_interval,
    paired_difference,
    pairs_needed,
    permutation_p_value,
)

NINE = [4.2, 1.0, 7.5, 2.2, 5.1, 3.3, 6.0, 0.4, 2.9]


def test_the_mean_interval_is_students() -> None:
    """4, 5, 6: mean 5, deviation 1, t(2) = 4.3027, so 5 -+ 4.3027 / sqrt(3) = 5 -+ 2.4841."""
    interval = mean_interval([4.0, 5.0, 6.0])
    assert interval == pytest.approx((5 - 2.4841, 5 + 2.4841), abs=1e-4)
    assert mean_interval([4.0]) is None


def test_the_p_value_of_three_pairs_is_a_quarter_at_best() -> None:
    """Of 8 sign patterns, +++ and --- alone are as extreme: 2 / 8."""
    assert permutation_p_value([1.0, 2.0, 3.0]) == pytest.approx(0.25)
    assert permutation_p_value([-5.0, -5.0, -5.0]) == pytest.approx(0.25)
    assert permutation_p_value([1.0] * 6) == pytest.approx(2 / 64)
    assert permutation_p_value([1.0, -1.0]) == pytest.approx(1.0)
    assert permutation_p_value([3.0]) is None


@pytest.mark.parametrize("values", [NINE, [1.0, -2.0, 3.5, 0.5, -0.2], [-3.0, 1.0, -2.0, -0.5]])
def test_the_p_value_is_that_of_all_sign_flips(values: list[float]) -> None:
    """A plain loop: twice the smaller share of flips that give a mean as low, or as high."""
    means = [
        fmean(sign * value for sign, value in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    observed = fmean(values)
    above = fmean(mean >= observed - 1e-12 for mean in means)
    below = fmean(mean <= observed + 1e-12 for mean in means)
    assert permutation_p_value(values) == pytest.approx(min(1.0, 2 * min(above, below)))


@pytest.mark.parametrize("num_pairs", [2, 3, 6, 10, 13, 14])
def test_no_pairs_give_a_smaller_p_value_than_the_least(num_pairs: int) -> None:
    """All alike is the most extreme that signs can be."""
    assert permutation_p_value([1.0] * num_pairs) == pytest.approx(least_p_value(num_pairs))


def test_the_pairs_that_a_claim_needs() -> None:
    """2 / 2^5 = 0.0625, 2 / 2^6 = 0.031; 13 x 2 / 2^9 = 0.0508, 13 x 2 / 2^10 = 0.025."""
    assert [pairs_needed(number) for number in (1, 2, 13)] == [6, 7, 10]
    # Drawn signs give no less than 2 / 10000.
    assert pairs_needed(249) is not None
    assert pairs_needed(250) is None


def test_holm_by_hand() -> None:
    """0.005 x 4 = 0.02; 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04 is raised to 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([None, 0.02, None]) == [None, pytest.approx(0.02), None]
    assert holm([]) == []


def test_the_interval_of_many_pairs_agrees_with_students() -> None:
    values = list(np.random.default_rng(3).normal(2.0, 5.0, 200))
    assert difference_interval(values) == pytest.approx(mean_interval(values), abs=0.1)


def test_the_interval_follows_the_skew_as_students_cannot() -> None:
    """Of one large value among small ones, the upper limit lies farther from the mean."""
    interval = difference_interval([0.1, 0.2, 0.0, 0.3, 0.1, 0.2, 0.0, 9.0])
    assert interval is not None
    mean = fmean([0.1, 0.2, 0.0, 0.3, 0.1, 0.2, 0.0, 9.0])
    assert interval.high - mean > 2 * (mean - interval.low)
    assert interval.low > 0


def test_the_same_pairs_give_the_same_interval_and_p_value() -> None:
    """Both draw beyond 13 pairs, from a seed of their own."""
    values = list(np.random.default_rng(0).normal(1.0, 3.0, 20))
    assert paired_difference(values) == paired_difference(values)
