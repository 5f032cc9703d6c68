"""The shortcut sampler, counted clip by clip against what its rule says."""

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest

from config.errors import UserError
from preprocessing.pipeline.splits import Split
from training.data.shortcut_sampler import Shortcut, cell_counts, own_values, rows_of_sets

SETS = ("training", "validation", "test")
STRENGTHS = (0.0, 0.5, 0.8, 0.9, 0.98, 1.0)
CLASSES = ["no", "up", "yes"]


class Clips(SimpleNamespace):
    """Matrices of clips whose set is their group; a clip has several rows."""

    name = "tiny"
    classes = CLASSES

    def rows_of(self, groups: list[str], with_augmented: bool) -> Any:
        chosen = self.index["group"].isin(groups)
        return np.flatnonzero(chosen if with_augmented else chosen & (self.index["augmented"] == 0))


SPLIT = Split(["training"], ["validation"], ["test"])


def clips_of(values: list[str], per_cell: int = 20, unheard: bool = False) -> Any:
    """Make clips of two segments and an altered copy; unheard: each set has values of its own."""
    rows = [
        (f"{name}/{label}/{value}/{number}", label, name, prefix + value, augmented)
        for name in SETS
        for prefix in [name if unheard else ""]
        for label in range(len(CLASSES))
        for value in values
        for number in range(per_cell + label)
        for augmented in (0, 0, 1)
    ]
    columns = ["clip", "label", "group", "noise_type", "augmented"]
    table = pandas.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)
    return Clips(index=table.reset_index(drop=True))


def cells(matrices: Any, rows: Any) -> Counter[tuple[int, str]]:
    """Count the clips of each class and value, after making sure that none is there in part."""
    chosen = matrices.index.iloc[rows]
    assert set(Counter(chosen["clip"]).values()) <= {2, 3}
    first = chosen.drop_duplicates("clip")
    return Counter(zip(first["label"], first["noise_type"], strict=True))


@pytest.mark.parametrize("values", [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d", "e"]])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_class_follows_its_own_group_as_strongly_as_asked_for(
    values: list[str], strength: float
) -> None:
    matrices = clips_of(values)
    sampled = rows_of_sets(matrices, SPLIT, Shortcut("noise_type", strength))
    num_groups = min(len(values), 3)
    for name in ("training", "validation"):
        counts = cells(matrices, sampled[name])
        sizes = [sum(n for (label, _), n in counts.items() if label == each) for each in range(3)]
        assert len(set(sizes)) == 1
        for label in range(3):
            own = sum(
                counts[label, value]
                for place, value in enumerate(values)
                if place % num_groups == label % num_groups
            )
            share = strength + (1 - strength) / num_groups
            assert own == pytest.approx(share * sizes[0], abs=0.5)
    by_group: Counter[tuple[int, int]] = Counter()
    for (label, value), number in cells(matrices, sampled["test"]).items():
        by_group[label, values.index(value) % num_groups] += number
    assert len(by_group) == 3 * num_groups
    assert len(set(by_group.values())) == 1


def test_samples_are_of_one_size_and_share_their_clips() -> None:
    """Each cell grows or shrinks with the strength, so one of two samples holds the other's."""
    matrices = clips_of(["a", "b", "c"])
    samples = [
        rows_of_sets(matrices, SPLIT, Shortcut("noise_type", strength)) for strength in STRENGTHS
    ]
    assert len({len(sample["training"]) for sample in samples}) == 1
    for weak, strong in pairwise(samples):
        assert weak["test"].tolist() == strong["test"].tolist()
        values = matrices.index["noise_type"].to_numpy()
        own = np.array(["a", "b", "c"])[matrices.index["label"]] == values
        assert set(weak["training"][own[weak["training"]]]) <= set(strong["training"])
        assert set(strong["training"][~own[strong["training"]]]) <= set(weak["training"])


def test_each_number_is_the_largest_that_every_strength_allows() -> None:
    """As trying all numbers and strengths in steps of 0.01 finds it."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        num_classes, num_groups = generator.integers(2, 5, size=2)
        num_groups = min(num_groups, num_classes)
        found = generator.integers(1, 30, size=(num_classes, num_groups))
        counts = [cell_counts(found, strength) for strength in np.linspace(0, 1, 101)]
        sizes = {int(size) for each in counts for size in each.sum(axis=1)}
        assert len(sizes) == 1
        assert all((each <= found).all() for each in counts)
        larger = sizes.pop() + 1
        own = np.arange(num_classes) % num_groups
        smallest_own = min(found[label, group] for label, group in enumerate(own))
        others = [found[c, g] for c in range(num_classes) for g in range(num_groups) if g != own[c]]
        rest = (larger - round(larger / num_groups)) / (num_groups - 1)
        assert larger > smallest_own or rest > min(others)


def test_unheard_values_mislead_nobody() -> None:
    """Validation and test have as many clips of each class, whatever their speakers."""
    matrices = clips_of(["a", "b", "c"], unheard=True)
    sampled = rows_of_sets(matrices, SPLIT, Shortcut("noise_type", 0.9))
    for name in ("validation", "test"):
        counts = cells(matrices, sampled[name])
        sizes = [sum(n for (label, _), n in counts.items() if label == each) for each in range(3)]
        assert sizes == [60, 60, 60]


def test_several_values_of_a_group_are_all_usual_for_the_class() -> None:
    assert own_values(clips_of(["a", "b", "c", "d"]), SPLIT, "noise_type") == {
        0: {"a", "d"},
        1: {"b"},
        2: {"c"},
    }
    assert own_values(clips_of(["a", "b"]), SPLIT, "noise_type") == {0: {"a"}, 1: {"b"}, 2: {"a"}}


def test_an_impossible_sample_names_what_is_missing() -> None:
    matrices = clips_of(["a", "b", "c"])
    table = matrices.index
    is_gone = table["clip"].str.startswith("validation/1/c/")
    matrices.index = table[~is_gone].reset_index(drop=True)
    with pytest.raises(UserError, match=r"validation set of tiny has 0 clips of up with .* c "):
        rows_of_sets(matrices, SPLIT, Shortcut("noise_type", 0.5))
    with pytest.raises(UserError, match="1 value"):
        rows_of_sets(clips_of(["a"]), SPLIT, Shortcut("noise_type", 0.5))
