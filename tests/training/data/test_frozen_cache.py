"""Frozen features are those that the frozen network gives, made once, and never stale."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.data.batches import ExampleSet, training_statistics
from training.data.frozen_cache import Aggregates, FrozenCache
from training.methods import anti_transfer
from training.methods.anti_transfer import AntiTransferLoss
from training.similarity.taps import activations_until

if TYPE_CHECKING:
    from tests.conftest import Examples

CPU = torch.device("cpu")
ROWS = {"training": np.arange(0, 60, 2), "validation": np.arange(1, 40, 2), "test": np.array([57])}
NUM_ROWS = 59  # up to the last row that a set holds
FINGERPRINT = "examples"


def network(seed: int) -> nn.Sequential:
    """Layer 1: 4 channels of 40 x 33; layer 2: 12 channels of 2 x 2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(2),
            nn.Conv2d(4, 12, 3, padding=1),
            nn.ReLU(inplace=True),
        )


def penalty_of(frozen: nn.Module | None = None, **changes: Any) -> AntiTransferLoss:
    return AntiTransferLoss(network(1), frozen or network(2), **{"layers": [1, 2], **changes})


@pytest.fixture
def sets(bands: "Examples") -> dict[str, ExampleSet]:
    """Three sets that hold most, not all, of the rows."""
    normalization = training_statistics(bands.predictors, ROWS["training"])
    return {
        name: ExampleSet(bands.predictors, bands.target, rows, normalization, CPU)
        for name, rows in ROWS.items()
    }


class Runs:
    """Counts the examples that go through any network's layer 1 while it is in use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_examples = 0
        original = activations_until

        def counted(model: nn.Module, inputs: Tensor, *arguments: Any) -> Any:
            self.num_examples += len(inputs)
            return original(model, inputs, *arguments)

        monkeypatch.setattr(anti_transfer, "activations_until", counted)

    def of(self, call: Callable[[], object]) -> int:
        """Examples that the call runs through the frozen network, the first one's probe aside."""
        before = self.num_examples
        call()
        return max(0, self.num_examples - before - 1)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A counter of what frozen networks do."""
    return Runs(monkeypatch)


def aggregates_of(
    cache: FrozenCache,
    penalty: AntiTransferLoss,
    sets: Mapping[str, ExampleSet],
    examples: str = FINGERPRINT,
    precision: str = "fp32",
) -> Aggregates:
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if precision == "bf16" else None
    found = cache.aggregates_of(penalty, sets, examples, precision, autocast or nullcontext)
    assert found is not None
    return found


@pytest.mark.parametrize("aggregation", ["gram", "gram_batch", "mean", "none"])
def test_they_are_what_the_frozen_network_gives(
    sets: dict[str, ExampleSet], aggregation: str
) -> None:
    penalty = penalty_of(aggregation=aggregation)
    kept = aggregates_of(FrozenCache(CPU), penalty, sets)
    generator = torch.Generator().manual_seed(3)
    for batch in sets["training"].training_batches(7, shuffle=True, generator=generator):
        expected = penalty.frozen_aggregates(batch.inputs)
        found = kept(batch.rows)
        for layer in (1, 2):
            torch.testing.assert_close(found[layer], expected[layer], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("layer", "shape"), [(1, (NUM_ROWS, 4, 4)), (2, (NUM_ROWS, 12, 2, 2))])
def test_the_smaller_form_is_kept(
    sets: dict[str, ExampleSet], layer: int, shape: tuple[int, ...]
) -> None:
    """The Gram matrix of a layer with many positions, the activation of one with few."""
    cache = FrozenCache(CPU)
    aggregates_of(cache, penalty_of(layers=[layer]), sets)
    assert [values.shape for values in cache._kept.values()] == [shape]


def test_each_example_is_computed_once(sets: dict[str, ExampleSet], runs: Runs) -> None:
    cache = FrozenCache(CPU)
    total = sum(map(len, sets.values()))
    assert runs.of(lambda: aggregates_of(cache, penalty_of(), sets)) == total
    assert runs.of(lambda: aggregates_of(cache, penalty_of(), sets)) == 0
    assert runs.of(lambda: aggregates_of(cache, penalty_of(layers=[2]), sets)) == 0


def changed_weights() -> nn.Module:
    frozen = network(2)
    frozen.get_parameter("3.bias").data[5] += 1e-3
    return frozen


CHANGES: dict[str, Callable[[], tuple[AntiTransferLoss, dict[str, str]]]] = {
    "weights": lambda: (penalty_of(changed_weights()), {}),
    "examples": lambda: (penalty_of(), {"examples": "other examples"}),
    "layer": lambda: (penalty_of(layers=["2"]), {}),
    "tap": lambda: (penalty_of(tap="input", layers=[2]), {}),
    "aggregation": lambda: (penalty_of(aggregation="mean"), {}),
    "precision": lambda: (penalty_of(), {"precision": "bf16"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_stale_is_used(sets: dict[str, ExampleSet], runs: Runs, change: str) -> None:
    cache = FrozenCache(CPU)
    aggregates_of(cache, penalty_of(), sets)
    penalty, changes = CHANGES[change]()
    total = sum(map(len, sets.values()))
    assert runs.of(lambda: aggregates_of(cache, penalty, sets, **changes)) >= total
    batch = next(sets["test"].batches(1))
    kept = aggregates_of(cache, penalty, sets, **changes)
    is_bf16 = changes.get("precision") == "bf16"
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        expected = penalty.frozen_aggregates(batch.inputs)
    for layer, found in kept(batch.rows).items():
        torch.testing.assert_close(found, expected[layer], rtol=1e-5, atol=1e-7)
