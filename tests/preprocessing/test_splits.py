"""Splits against sizes worked out by hand from the rule of the released code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.pipeline.splits import Split, divide_by_folds, split_groups, split_sizes

PUBLISHED = (0.7, 0.2, 0.1)


@pytest.mark.parametrize(
    ("num_groups", "sizes"),
    [
        # The five sessions of IEMOCAP and the twelve instruments of Good-Sounds.
        (5, (3, 1, 1)),
        (12, (8, 2, 2)),
        (3, (1, 1, 1)),
        (7, (5, 1, 1)),
        (10, (7, 2, 1)),
        (10000, (7000, 2000, 1000)),
        (999, (699, 200, 100)),
    ],
)
def test_sizes(num_groups: int, sizes: tuple[int, int, int]) -> None:
    assert split_sizes(num_groups, PUBLISHED) == sizes


def test_folds_start_at_the_floor_of_i_n_over_k() -> None:
    starts = [fold.train[0] for fold in split_groups(range(12), num_folds=5)]
    assert starts == [0, 2, 4, 7, 9]
    second = split_groups(range(12), num_folds=5)[1]
    assert second.train == [2, 3, 4, 5, 6, 7, 8, 9]
    assert (second.validation, second.test) == ([10, 11], [0, 1])


def test_a_fold_is_validated_by_the_one_that_is_named_or_the_next() -> None:
    """Folds are numbers, so that 10 comes behind 2."""
    fold_of = {"a": "1", "b": "2", "c": "10", "d": "2"}
    assert divide_by_folds(fold_of, {"2": "1"}) == [
        Split(["c"], ["b", "d"], ["a"]),
        Split(["c"], ["a"], ["b", "d"]),
        Split(["b", "d"], ["a"], ["c"]),
    ]


@given(
    st.integers(3, 400),
    st.sampled_from([PUBLISHED, (0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.34, 0.33, 0.33)]),
    st.integers(1, 3),
)
def test_every_group_is_in_exactly_one_set(
    num_groups: int, fractions: tuple[float, float, float], num_folds: int
) -> None:
    for fold in split_groups(range(num_groups), fractions, num_folds):
        assert sorted(fold.train + fold.validation + fold.test) == list(range(num_groups))
        assert min(len(fold.train), len(fold.validation), len(fold.test)) >= 1
