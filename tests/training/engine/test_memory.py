"""Estimates of memory against what torch allocates, and against a real process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.gram import LiveMemory
from config.ini_files import load_settings
from training.data import batches
from training.data import frozen_cache as frozen_features
from training.data.batches import ExampleSet, Normalization
from training.data.frozen_cache import FeatureStore
from training.engine import checks as safeguards
from training.engine import memory, memory_limits
from training.engine.memory import (
    OPTIMIZER_STATES,
    SIMILARITY_COSTS,
    TrainingPlan,
    estimate_memory,
    feature_bytes,
)
from training.engine.step import build_optimizer
from training.methods.anti_transfer import AntiTransferLoss
from training.models.vgg import VGG16
from training.similarity.aggregations import AGGREGATIONS, POOL
from training.similarity.distances import WITHIN_CLASS

BATCH_SIZE, NUM_FRAMES, NUM_BINS, NUM_CLASSES, WIDTH = 32, 63, 64, 10, 1 / 16
# One of the exponents of mul_comp stands for all.
ALL_KINDS = [each for each in AGGREGATIONS if each in (*SIMILARITY_COSTS, "mul_comp_0.01")]


def a_plan(**values: Any) -> TrainingPlan:
    size = {"num_frames": NUM_FRAMES, "num_bins": NUM_BINS}
    return TrainingPlan(**{"width": WIDTH, "num_classes": NUM_CLASSES, **size, **values})


def network(width: float = WIDTH) -> VGG16:
    model = VGG16(NUM_CLASSES, width=width)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def inputs_of(plan: TrainingPlan) -> torch.Tensor:
    return torch.rand(BATCH_SIZE, 1, plan.num_frames, plan.num_bins)


def allocated_in_a_step(plan: TrainingPlan) -> int:
    """Peak bytes beyond weights and inputs, from the first layer to the last gradient."""
    model, inputs = network(plan.width), inputs_of(plan)
    losses = [
        AntiTransferLoss(
            model, network(plan.width), layers, plan.aggregation, plan.distance, tap=plan.tap
        )
        for layers in plan.layers
    ]
    given_tensors = [inputs, *model.parameters()]
    for each in losses:
        given_tensors += each.frozen.parameters()
        each.taps.__enter__()
    labels = torch.zeros(BATCH_SIZE, dtype=torch.long)
    with LiveMemory(given_tensors, []) as live:
        loss = functional.cross_entropy(model(inputs), labels)
        terms = [each(inputs, labels) for each in losses]
        torch.autograd.backward(torch.stack([loss, *terms]).sum())
    return int(live.peak_bytes)


def estimated_for_a_step(plan: TrainingPlan) -> int:
    """Of the same: without inputs."""
    parts = estimate_memory(plan, BATCH_SIZE).parts
    inputs = 4 * memory.INPUT_COPIES * BATCH_SIZE * plan.num_frames * plan.num_bins
    return parts["activations"] + parts["similarity"] + parts["gradients"] - inputs


def test_weights_and_states_of_the_full_network() -> None:
    plan = TrainingPlan(1.0, 4, 126, 129)
    parts = estimate_memory(plan, 30).parts
    assert parts["weights"] == parts["gradients"] == 4 * 134_275_780
    assert parts["optimizer"] == 8 * 134_275_780
    assert parts["best weights"] == 4 * 134_275_780
    assert parts["frozen networks"] == parts["similarity"] == parts["kept data"] == 0
    # Two networks' convolutions; torchvision's count, less 2 x 64 x 9 weights for 1 input channel.
    parts = estimate_memory(replace(plan, layers=((1,), (13,))), 30).parts
    assert parts["frozen networks"] == 2 * 4 * (14_714_688 - 1_152)


def test_activations_of_the_full_network() -> None:
    # Each convolution's output once; of each max-pool the output and int64 places.
    size = sum(
        channels * (126 >> block) * (129 >> block) * count
        for block, (channels, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)])
    )
    pooled = sum(
        channels * (126 >> block) * (129 >> block)
        for block, channels in enumerate([64, 128, 256, 512, 512], start=1)
    )
    plan = TrainingPlan(1.0, 4, 126, 129)
    found = estimate_memory(plan, 1).parts["activations"]
    assert 4 * size + 12 * pooled < found < 1.05 * (4 * size + 12 * pooled)
    assert estimate_memory(plan, 30).parts["activations"] == 30 * found
    half = estimate_memory(replace(plan, precision="bf16"), 1).parts["activations"]
    assert 2 * size + 10 * pooled < half < 1.08 * (2 * size + 10 * pooled)


@pytest.mark.parametrize("name", OPTIMIZER_STATES)
def test_states_are_as_large_as_the_optimizers(name: Any) -> None:
    model = network()
    optimizer = build_optimizer(name, model.parameters(), 0.001, 0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    num_bytes = sum(each.nbytes for each in states if each.ndim > 0)
    assert estimate_memory(a_plan(optimizer=name), 1).parts["optimizer"] == num_bytes


@pytest.mark.parametrize("width", [1 / 16, 1 / 8])
@pytest.mark.parametrize("size", [(63, 64), (150, 33)])
def test_a_plain_step_is_bounded_closely(width: float, size: tuple[int, int]) -> None:
    plan = a_plan(width=width, num_frames=size[0], num_bins=size[1])
    real = allocated_in_a_step(plan)
    assert real <= estimated_for_a_step(plan) <= 1.15 * real


@pytest.mark.parametrize("layers", [((1,),), ((2,),), ((4,),), ((7,),), ((13,),)])
@pytest.mark.parametrize("aggregation", ["gram", "gram_batch", "mean", "max", "none", "pairwise"])
def test_a_penalty_is_bounded_closely(
    aggregation: str, layers: tuple[tuple[int, ...], ...]
) -> None:
    plan = a_plan(aggregation=aggregation, layers=layers)
    real = allocated_in_a_step(plan)
    assert real <= estimated_for_a_step(plan) <= 1.4 * real


@pytest.mark.parametrize("aggregation", ALL_KINDS)
@pytest.mark.parametrize(
    "values",
    [
        {"layers": ((1,),), "distance": "mse_sigmoid"},
        {"layers": ((2, 5), (3,))},
        {"layers": ((3, 13),), "tap": "input"},
    ],
)
def test_every_penalty_is_bounded(aggregation: str, values: Mapping[str, Any]) -> None:
    own = {"distance": WITHIN_CLASS} if aggregation == POOL else {}
    plan = a_plan(aggregation=aggregation, **{**values, **own})
    assert allocated_in_a_step(plan) <= estimated_for_a_step(plan)


@pytest.mark.parametrize(
    "values",
    [
        # Most of it are weights: the penalty's gradient waits while theirs are computed.
        {"width": 1 / 4, "layers": ((1,),)},
        # Little of it are weights: the frozen network's pass is the largest moment.
        {"width": 1 / 8, "layers": ((13,),), "num_frames": 126, "num_bins": 100},
    ],
)
def test_other_moments_are_bounded(values: Mapping[str, Any]) -> None:
    plan = a_plan(**values)
    real = allocated_in_a_step(plan)
    assert real <= estimated_for_a_step(plan) <= 1.2 * real


@pytest.mark.parametrize("layers", [(1, 2), (2, 6, 13), (1, 2, 3), (3, 4, 5)])
def test_a_frozen_network_keeps_only_what_is_tapped(layers: tuple[int, ...]) -> None:
    plan = a_plan(layers=(layers,))
    penalty = AntiTransferLoss(network(), network(), plan.layers[0])
    inputs = inputs_of(plan)
    with LiveMemory([inputs, *penalty.frozen.parameters()], []) as live:
        penalty.frozen_aggregates(inputs)
    estimated = memory._frozen_pass_bytes(plan, BATCH_SIZE)
    assert live.peak_bytes <= estimated <= 1.1 * live.peak_bytes


def saved_bytes(plan: TrainingPlan) -> int:
    """Of everything but weights that autograd keeps after a forward pass."""
    model = network(plan.width)
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(values: torch.Tensor) -> torch.Tensor:
        kept[values.untyped_storage().data_ptr()] = values.untyped_storage()
        return values

    half = torch.autocast("cpu", torch.bfloat16, enabled=plan.precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda values: values), half:
        loss = model(inputs_of(plan)).float().sum()
    assert loss.requires_grad
    return sum(each.nbytes() for start, each in kept.items() if start not in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kept_activations_in_both_precisions(precision: Any) -> None:
    plan = a_plan(precision=precision, width=1 / 8)
    parts = estimate_memory(plan, BATCH_SIZE).parts
    copies = parts["weights"] - parts["gradients"]
    assert copies == (0 if precision == "fp32" else 2 * (plan.num_values + 3136 * 512))
    real = saved_bytes(plan)
    assert real <= parts["activations"] + copies <= 1.4 * real


def test_auto_counts_as_the_larger_precision() -> None:
    for batch_size in (1, 500):
        totals = [
            estimate_memory(a_plan(width=1.0, precision=each), batch_size).total
            for each in ("fp32", "bf16", "auto")
        ]
        assert totals[2] == max(totals[:2])
    assert totals[0] > totals[1]


def test_what_a_cpu_without_bfloat16_units_unfolds() -> None:
    plan = a_plan(precision="bf16", width=1.0)
    more = estimate_memory(replace(plan, has_bf16_units=False), 7).parts["activations"]
    unfolded = 7 * 64 * NUM_FRAMES * NUM_BINS * 9 * 2  # of the second convolution
    assert more - estimate_memory(plan, 7).parts["activations"] == unfolded


def test_a_gpu_holds_no_best_weights_and_a_cpu_also_what_it_starts_from() -> None:
    plan = TrainingPlan(1.0, 4, 126, 129, loads_weights=True)
    on_cpu, on_gpu = (
        estimate_memory(replace(plan, device=device), 8).parts for device in ("cpu", "cuda")
    )
    assert (on_cpu["weights"], on_gpu["weights"]) == (8 * 134_275_780, 4 * 134_275_780)
    assert on_gpu["best weights"] == 0


def test_a_copy_of_the_best_weights_counts_where_activations_are_few() -> None:
    # One example of the full network: when the best weights are copied, the old ones are still
    # there, and that is more than the activations were.
    parts = estimate_memory(TrainingPlan(1.0, 4, 126, 129), 1).parts
    weights = 4 * 134_275_780
    assert parts["best weights"] + parts["activations"] == 2 * weights


def test_preparation_counts_for_small_batches() -> None:
    plan = a_plan(layers=((2,),), num_frames=400)
    fill = memory._frozen_pass_bytes(plan, frozen_features.FILL_EXAMPLES)
    parts = estimate_memory(plan, 1).parts
    assert parts["activations"] + parts["similarity"] + parts["gradients"] >= fill


def test_constants_are_those_of_the_training() -> None:
    assert safeguards.PROOF_EXAMPLES <= safeguards.NORM_EXAMPLES < memory.FILL_EXAMPLES
    assert memory.FILL_EXAMPLES == frozen_features.FILL_EXAMPLES
    assert vars(batches)["RESIDENT_SHARE"] == memory_limits.RESIDENT_SHARE
    assert vars(frozen_features)["MEMORY_SHARE"] == memory_limits.MEMORY_SHARE
    assert set(SIMILARITY_COSTS) == {
        "mul_comp" if each.startswith("mul_comp") else each for each in AGGREGATIONS
    }


@pytest.mark.parametrize("aggregation", ["gram", "mean", "gram_batch", "none"])
def test_features_are_as_large_as_those_kept(aggregation: str, tmp_path: Any) -> None:
    plan = a_plan(layers=((1, 7, 13),), aggregation=aggregation)
    device, rows = torch.device("cpu"), np.arange(5)
    predictors = np.random.default_rng(0).random((5, NUM_FRAMES, NUM_BINS), dtype=np.float32)
    target = np.zeros(5, dtype=np.int64)
    examples = ExampleSet(predictors, target, rows, Normalization(0.0, 1.0), device)
    penalty = AntiTransferLoss(network(), network(), plan.layers[0], aggregation)
    kept = FeatureStore("auto", tmp_path, device).features(
        penalty,
        {"training": examples},
        "some",
        "fp32",
        lambda: torch.autocast("cpu", enabled=False),
    )
    assert kept is not None
    assert feature_bytes(plan, 5) == sum(each.nbytes for each in kept.values.values())


def plan_with(**overrides: Any) -> TrainingPlan:
    training = load_settings(overrides=overrides).training_defaults
    return TrainingPlan.from_settings(training, 7, 126, 129, "cuda")


def test_a_plan_from_settings() -> None:
    plain = plan_with(at_dataset="nsynth", at_layer=3, width=0.5, choose_optimizer="sgd")
    assert plain == TrainingPlan(
        0.5, 7, 126, 129, device="cuda", precision="auto", optimizer="sgd", layers=()
    )
    penalised = plan_with(
        anti_transfer=True,
        at_dataset="nsynth, iemocap",
        at_layer="3, 5",
        at_aggregation="mean",
        at_distance="mse_sigmoid",
        at_tap="input",
        at_pretraining="nsynth",
    )
    assert penalised.layers == ((3, 5), (3, 5))
    assert (penalised.aggregation, penalised.distance) == ("mean", "mse_sigmoid")
    assert (penalised.tap, penalised.loads_weights) == ("input", True)
    two = plan_with(anti_transfer=True, at_dataset="nsynth, iemocap", at_layer="3, 5; 13")
    assert two.layers == ((3, 5), (13,))
    training = load_settings().training_defaults
    assert TrainingPlan.from_settings(training, 7, 126, 129, "cpu", "bf16").precision == "bf16"


def test_the_text_names_large_parts_and_the_sum() -> None:
    estimate = estimate_memory(TrainingPlan(1.0, 4, 501, 129), 30)
    assert str(estimate).startswith(f"about {estimate.total / 1e9:.1f} GB at batch_size = 30 (act")
    assert "optimizer 1.1" in str(estimate) and "frozen" not in str(estimate)


@pytest.mark.parametrize("aggregation", ["gram", "gram_batch"])
def test_a_process_needs_memory_for_its_part_of_the_batch(aggregation: str) -> None:
    """gram_batch compares all examples of the batch with each other, whichever process has them."""
    alone = a_plan(layers=((2,),), aggregation=aggregation)
    together = replace(alone, num_processes=3)
    part, found = estimate_memory(alone, 34), estimate_memory(together, 100)
    assert found.batch_size == 100
    assert found.parts["activations"] == part.parts["activations"]
    is_equal = found.parts["similarity"] == part.parts["similarity"]
    assert is_equal == (aggregation == "gram")
    assert found.total <= estimate_memory(alone, 100).total
