"""Rivals that need groups: how they are numbered, drawn and weighed."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data.batches import Batch
from training.methods import balanced_sampling, group_dro
from training.methods.groups import balanced_weights, group_numbers

CLASSES = [0, 0, 0, 0, 1, 1, 1, 0, 1, 1]
NUISANCE = [0, 0, 0, 1, 0, 1, 1, 1, 1, -1]
# Groups in order: (0, 0), (0, 1), (1, -1), (1, 0), (1, 1).
IN_TRAINING = [0, 1, 4]
TRAINING, VALIDATION = [0, 1, 2, 3, 5, 6], [4, 7, 8, 9]


def inputs_of(**training: Any) -> Any:
    """Stand for MethodInputs: ten examples, two classes, a nuisance of two values."""
    return SimpleNamespace(
        nuisance=lambda: torch.tensor(NUISANCE),
        matrices=SimpleNamespace(target=np.array(CLASSES)),
        sets={
            "training": SimpleNamespace(rows=np.array(TRAINING)),
            "validation": SimpleNamespace(rows=np.array(VALIDATION)),
        },
        training=SimpleNamespace(**training),
    )


def batch_of(rows: list[int]) -> Batch:
    return Batch(torch.empty(0), torch.tensor(CLASSES)[rows], torch.tensor(rows))


def mean_over_groups(losses: Tensor, rows: list[int]) -> float:
    groups: dict[tuple[int, int], list[float]] = {}
    for loss, row in zip(losses.tolist(), rows, strict=True):
        groups.setdefault((CLASSES[row], NUISANCE[row]), []).append(loss)
    return float(np.mean([np.mean(each) for each in groups.values()]))


def test_every_group_weighs_the_same_in_each_set() -> None:
    inputs = inputs_of()
    weights = balanced_weights(inputs, group_numbers(inputs))
    losses = torch.rand(10, generator=torch.Generator().manual_seed(0))
    for rows in (TRAINING, VALIDATION):
        assert float(weights[rows].mean()) == pytest.approx(1)
        found = float((weights * losses)[rows].mean())
        assert found == pytest.approx(mean_over_groups(losses[rows], rows), rel=1e-6)


def test_balanced_sampling_draws_by_one_over_the_size_of_the_group() -> None:
    (method,) = balanced_sampling.build(inputs_of())
    sampling = method.sampling()
    assert (sampling / sampling[0]).tolist() == pytest.approx([1, 1, 1, 3, 1.5, 1.5])
    losses = torch.rand(4)
    assert torch.equal(method.weigh(losses, batch_of(VALIDATION)), losses)
    with torch.no_grad():
        weighed = method.weigh(losses, batch_of(VALIDATION))
    assert float(weighed.mean()) == pytest.approx(mean_over_groups(losses, VALIDATION), rel=1e-6)


def test_group_dro_weighs_as_algorithm_1_does() -> None:
    """Its groups' weights by hand: three groups, two batches, of which one lacks a group."""
    step = 0.5
    (method,) = group_dro.build(inputs_of(at_beta=(step,)))
    q = np.full(3, 1 / 3)  # (0, 0): rows 0 to 2; (0, 1): row 3; (1, 1): rows 5 and 6
    batches = [([0, 3, 5, 1], [0, 1, 2, 0]), ([6, 5, 2], [2, 2, 0])]
    for number, (rows, groups) in enumerate(batches):
        losses = torch.rand(len(rows), generator=torch.Generator().manual_seed(number))
        for group in range(3):
            own = [float(loss) for loss, each in zip(losses, groups, strict=True) if each == group]
            q[group] *= np.exp(step * np.mean(own)) if own else 1
        q /= q.sum()
        weighed = method.weigh(losses, batch_of(rows))
        np.testing.assert_allclose(weighed, losses.numpy() * 3 * q[groups], rtol=1e-5)
    np.testing.assert_allclose(method.log_q.exp()[IN_TRAINING], q, rtol=1e-5)
    assert method.results(1.0) == {"largest_group_weight": pytest.approx(q.max(), rel=1e-5)}
    with torch.no_grad():
        method.weigh(torch.ones(4), batch_of(VALIDATION))  # groups that training lacks, and no step
    np.testing.assert_allclose(method.log_q.exp()[IN_TRAINING], q, rtol=1e-5)
