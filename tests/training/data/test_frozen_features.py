"""Frozen features are those that the frozen network gives, made once, and never stale."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from preprocessing.pipeline.matrices import open_matrices
from training.data import frozen_cache as frozen_features
from training.data.batches import ExampleSet, training_statistics
from training.data.frozen_cache import FeatureStore, FrozenFeatures
from training.engine.fit import Streams
from training.engine.folds import load_fold
from training.methods import anti_transfer
from training.methods.anti_transfer import AntiTransferLoss
from training.similarity.taps import Taps, activations_until

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

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


def features_of(
    store: FeatureStore,
    penalty: AntiTransferLoss,
    sets: Mapping[str, ExampleSet],
    examples: str = FINGERPRINT,
    precision: str = "fp32",
) -> FrozenFeatures | None:
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if precision == "bf16" else None
    return store.features(penalty, sets, examples, precision, autocast or nullcontext)


def certain(found: FrozenFeatures | None) -> FrozenFeatures:
    assert found is not None
    return found


@pytest.mark.parametrize("mode", ["auto", "disk"])
@pytest.mark.parametrize(
    "aggregation", ["gram", "gram_batch", "mean", "mul_comp_0.01", "none", "stochastic_pairwise"]
)
def test_they_are_what_the_frozen_network_gives(
    sets: dict[str, ExampleSet], tmp_path: Path, mode: Any, aggregation: str
) -> None:
    penalty = penalty_of(aggregation=aggregation)
    features = certain(features_of(FeatureStore(mode, tmp_path, CPU), penalty, sets))
    generator = torch.Generator().manual_seed(3)
    for batch in sets["training"].training_batches(7, shuffle=True, generator=generator):
        expected = penalty.frozen_aggregates(batch.inputs)
        found = features.aggregates(batch.rows)
        for layer in (1, 2):
            torch.testing.assert_close(found[layer], expected[layer], rtol=1e-5, atol=1e-7)


def test_a_penalty_is_the_same_with_them(sets: dict[str, ExampleSet], tmp_path: Path) -> None:
    model = network(1)
    penalty = AntiTransferLoss(model, network(2), [1, 2])
    features = certain(features_of(FeatureStore("auto", tmp_path, CPU), penalty, sets))
    batch = next(sets["validation"].batches(5))
    with penalty:
        model(batch.inputs)
        expected = penalty(batch.inputs)
        model(batch.inputs)
        found = penalty.penalty(features.aggregates(batch.rows))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("layer", "form"), [(1, "gram"), (2, "activation")])
def test_the_smaller_form_is_kept(
    sets: dict[str, ExampleSet], tmp_path: Path, layer: int, form: str
) -> None:
    penalty = penalty_of(layers=[layer])
    features = certain(features_of(FeatureStore("auto", tmp_path, CPU), penalty, sets))
    shapes = {"gram": (NUM_ROWS, 4, 4), "activation": (NUM_ROWS, 12, 2, 2)}
    assert features.values[layer].shape == shapes[form]


def test_each_example_is_computed_once(
    sets: dict[str, ExampleSet], tmp_path: Path, runs: Runs
) -> None:
    store = FeatureStore("auto", tmp_path, CPU)
    total = sum(map(len, sets.values()))
    assert runs.of(lambda: features_of(store, penalty_of(), sets)) == total
    assert runs.of(lambda: features_of(store, penalty_of(), sets)) == 0
    # Only the layer that is new is computed.
    assert runs.of(lambda: features_of(store, penalty_of(layers=[2]), sets)) == 0


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
@pytest.mark.parametrize("mode", ["auto", "disk"])
def test_nothing_stale_is_used(
    sets: dict[str, ExampleSet], tmp_path: Path, runs: Runs, mode: Any, change: str
) -> None:
    store = FeatureStore(mode, tmp_path, CPU)
    features_of(store, penalty_of(), sets)
    penalty, changes = CHANGES[change]()
    total = sum(map(len, sets.values()))
    assert runs.of(lambda: features_of(store, penalty, sets, **changes)) >= total
    batch = next(sets["test"].batches(1))
    features = certain(features_of(store, penalty, sets, **changes))
    is_bf16 = changes.get("precision") == "bf16"
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        expected = penalty.frozen_aggregates(batch.inputs)
    for layer, found in features.aggregates(batch.rows).items():
        torch.testing.assert_close(found, expected[layer], rtol=1e-5, atol=1e-7)


def test_weights_changed_in_place_are_noticed(
    sets: dict[str, ExampleSet], tmp_path: Path, runs: Runs
) -> None:
    store, frozen = FeatureStore("auto", tmp_path, CPU), network(2)
    features_of(store, penalty_of(frozen), sets)
    frozen.get_parameter("0.weight").data[0, 0, 0, 0] += 1e-4
    assert runs.of(lambda: features_of(store, penalty_of(frozen), sets)) > 0


def test_a_later_run_finds_the_files(
    sets: dict[str, ExampleSet], tmp_path: Path, runs: Runs
) -> None:
    first = certain(features_of(FeatureStore("disk", tmp_path, CPU), penalty_of(), sets))
    later = FeatureStore("disk", tmp_path, CPU)
    assert runs.of(lambda: features_of(later, penalty_of(), sets)) == 0
    rows = torch.tensor([4, 57, 1])
    found = certain(features_of(later, penalty_of(), sets)).aggregates(rows)
    for layer, expected in first.aggregates(rows).items():
        assert torch.equal(found[layer], expected)


@pytest.mark.parametrize("damage", ["truncated", "description", "no description"])
def test_a_damaged_file_is_made_anew(
    sets: dict[str, ExampleSet], tmp_path: Path, runs: Runs, damage: str
) -> None:
    penalty = penalty_of(layers=[1])
    features_of(FeatureStore("disk", tmp_path, CPU), penalty, sets)
    (file,) = tmp_path.glob("*.bin")
    (description,) = tmp_path.glob("*.json")
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == "description":
        description.write_text('{"weights": 1}')
    else:
        description.unlink()
    later = FeatureStore("disk", tmp_path, CPU)
    assert runs.of(lambda: features_of(later, penalty, sets)) == sum(map(len, sets.values()))


def test_an_interrupted_run_leaves_no_file(
    sets: dict[str, ExampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(frozen_features._Filling, "into", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features_of(FeatureStore("disk", tmp_path, CPU), penalty_of(), sets)
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_is_kept_as_it_is(sets: dict[str, ExampleSet], tmp_path: Path) -> None:
    store = FeatureStore("disk", tmp_path, CPU)
    features = certain(features_of(store, penalty_of(layers=[2]), sets, precision="bf16"))
    assert features.values[2].dtype == torch.bfloat16
    (file,) = tmp_path.glob("*.bin")
    assert file.stat().st_size == NUM_ROWS * 12 * 4 * 2


def test_examples_that_move_are_refused(bands: "Examples", tmp_path: Path) -> None:
    normalization = training_statistics(bands.predictors, ROWS["training"])
    free = np.full(60, 3)
    moving = ExampleSet(
        bands.predictors, bands.target, ROWS["training"], normalization, CPU, free_frames=free
    )
    with pytest.raises(ValueError, match="at random"):
        features_of(FeatureStore("auto", tmp_path, CPU), penalty_of(), {"training": moving})


def test_what_does_not_fit_in_memory_goes_to_files(
    sets: dict[str, ExampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "free_bytes", lambda _device: 1000)
    assert features_of(FeatureStore("auto", tmp_path, CPU), penalty_of(), sets) is not None
    assert len(list(tmp_path.glob("*.bin"))) == 2


def test_on_a_gpu_what_does_not_fit_is_computed_in_each_step(
    sets: dict[str, ExampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "free_bytes", lambda _device: 1000)
    store = FeatureStore("auto", tmp_path, torch.device("cuda"))
    assert features_of(store, penalty_of(), sets) is None
    assert list(tmp_path.iterdir()) == []


def test_without_room_on_the_disk_they_are_computed_in_each_step(
    sets: dict[str, ExampleSet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(frozen_features, "_free_disk", lambda _folder: 1000)
    assert features_of(FeatureStore("disk", tmp_path, CPU), penalty_of(), sets) is None
    assert "computed in each step" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_off_keeps_nothing(sets: dict[str, ExampleSet], tmp_path: Path, runs: Runs) -> None:
    store = FeatureStore("off", tmp_path, CPU)
    assert runs.of(lambda: features_of(store, penalty_of(), sets)) == 0
    assert features_of(store, penalty_of(), sets) is None


def test_what_a_run_does_not_use_gives_way(
    sets: dict[str, ExampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore("auto", tmp_path, CPU)
    features_of(store, penalty_of(layers=[1]), sets)
    one_entry = NUM_ROWS * 4 * 4 * 4

    def free(_device: torch.device) -> int:
        kept = sum(values.nbytes for values in store._kept.values())
        return 2 * one_entry + 1 - 2 * kept

    monkeypatch.setattr(frozen_features, "free_bytes", free)
    features_of(store, penalty_of(layers=["0"], aggregation="gram"), sets)
    assert [key.layer for key in store._kept] == ["0"]
    assert list(tmp_path.iterdir()) == []


def test_another_normalisation_or_file_is_another_fold(suite: "Suite") -> None:
    suite.write_matrices()
    matrices = open_matrices(suite.matrices, "tiny_spectrum_fast")
    (split,) = matrices.folds((0.7, 0.2, 0.1), 1)
    first = load_fold(matrices, split, CPU, random_offset=False).fingerprint
    assert load_fold(matrices, split, CPU, random_offset=False).fingerprint == first
    (other_split,) = matrices.folds((0.6, 0.2, 0.2), 1)
    assert load_fold(matrices, other_split, CPU, random_offset=False).fingerprint != first
    path = suite.matrices / "tiny_spectrum_fast_predictors.npy"
    values = np.load(path)
    values[3] *= 1.5
    np.save(path, values)
    again = open_matrices(suite.matrices, "tiny_spectrum_fast")
    assert load_fold(again, split, CPU, random_offset=False).fingerprint != first


AT = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": "3"}


@pytest.mark.parametrize("mode", ["auto", "disk"])
def test_a_run_gives_the_same_with_and_without_them(suite: "Suite", mode: str) -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, AT)
    with_features = suite.run(1, at_cache=mode, cache_folder=suite.folder / "cache")["0"]
    without = suite.run(1, at_cache="off")["0"]
    for name in ("train_loss_hist", "val_feature_loss_hist", "val_acc_hist"):
        assert with_features[name] == pytest.approx(without[name], rel=1e-4)
    assert (suite.folder / "cache").exists() == (mode == "disk")


def test_the_frozen_network_is_built_once_for_a_sweep(suite: "Suite") -> None:
    from training.sweep.instance import Workshop

    suite.write_extractor()
    workshop = Workshop(CPU)
    suite.write_experiment(
        28, {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}, {"repeat": 2}
    )
    instance = suite.instance(28)
    streams = Streams.from_seed(0, 0)
    first = workshop.frozen_network(instance, "noisyspeech", streams)
    assert workshop.frozen_network(suite.instance(28, 2), "noisyspeech", streams) is first
    with Taps(first, [13]) as taps:
        first.get_submodule("features")(torch.randn(1, 1, 40, 33))
        assert taps.take()[13].shape == (1, 16, 2, 2)
