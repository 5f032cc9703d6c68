"""Estimates of memory against what torch allocates, and what is said when it is too much."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from benchmarks.gram import LiveMemory
from benchmarks.memory import Case, measured
from config.errors import UserError
from config.settings import AGGREGATIONS, load_settings
from training import batches, frozen_features, memory, memory_limits, safeguards
from training.anti_transfer import AntiTransferLoss
from training.batches import ExampleSet, Normalization
from training.frozen_features import FeatureStore
from training.learner import build_optimizer
from training.memory import (
    OPTIMIZER_STATES,
    SIMILARITY_COSTS,
    TrainingPlan,
    estimate_memory,
    feature_bytes,
)
from training.memory_limits import (
    is_out_of_memory,
    largest_batch_size,
    memory_errors_explained,
    require_memory,
    room_for_speed,
    with_kept_data,
)
from training.vgg import VGG16

BATCH_SIZE, NUM_FRAMES, NUM_BINS, NUM_CLASSES, WIDTH = 32, 63, 64, 10, 1 / 16
GIGABYTE = 10**9
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
        torch.autograd.backward(torch.stack([loss, *(each(inputs) for each in losses)]).sum())
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
    plan = a_plan(aggregation=aggregation, **values)
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


def test_the_estimate_bounds_a_real_process() -> None:
    case = Case(1 / 8, 16, 126, 7)
    peak = measured(case)["peak"]
    assert peak <= case.estimate.total <= 1.6 * peak


@settings(deadline=None, max_examples=60)
@given(
    width=st.sampled_from([1 / 64, 1 / 8, 1.0]),
    free=st.integers(0, 60 * GIGABYTE),
    layers=st.sampled_from([(), ((1,),), ((3, 13), (7,))]),
    held=st.sampled_from([(), ("program",), ("program", "kept data")]),
)
def test_the_largest_batch_size_fits_and_the_next_does_not(
    width: float, free: int, layers: tuple[tuple[int, ...], ...], held: Any
) -> None:
    plan = TrainingPlan(width, 4, 126, 129, layers=layers, kept_bytes=GIGABYTE)
    largest = largest_batch_size(plan, free, held)
    assert estimate_memory(plan, (largest or 0) + 1).without(held) > free
    if largest is not None:
        assert estimate_memory(plan, largest).without(held) <= free


def test_the_largest_batch_size_at_its_limits() -> None:
    plan = a_plan(width=1 / 64, num_frames=751)
    assert largest_batch_size(plan, estimate_memory(plan, 1).total - 1) is None
    assert largest_batch_size(plan, estimate_memory(plan, 1).total) == 1
    assert largest_batch_size(plan, estimate_memory(plan, 2).total) == 2
    assert largest_batch_size(a_plan(), 10**18) == 1_000_000


def test_an_estimate_that_fits_is_returned() -> None:
    plan = TrainingPlan(1.0, 4, 126, 129)
    estimate = estimate_memory(plan, 30)
    assert require_memory(plan, 30, estimate.total, "the CPU") == estimate
    held = estimate.total - estimate.parts["program"]
    assert require_memory(plan, 30, held, "the CPU", ["program"]) == estimate
    with pytest.raises(UserError):
        require_memory(plan, 30, held, "the CPU")


def test_too_large_a_batch_is_refused_with_one_that_fits() -> None:
    plan = TrainingPlan(1.0, 4, 501, 129, layers=((13,),))
    with pytest.raises(UserError) as raised:
        require_memory(plan, 30, 6 * GIGABYTE, "GPU 0", key="extractor_batch_size")
    text = str(raised.value)
    needed = estimate_memory(plan, 30).total / GIGABYTE
    assert text.startswith(f"too little memory on GPU 0: {needed:.1f} GB are needed and 6.0 GB are")
    assert f"takes about {needed:.1f} GB at batch_size = 30 (activations 2.8" in text
    assert "); --set extractor_batch_size=" in text
    assert "\n" not in text
    fitting_size = int(text.split("--set extractor_batch_size=")[1].split(maxsplit=1)[0])
    assert require_memory(plan, fitting_size, 6 * GIGABYTE, "GPU 0").batch_size == fitting_size
    with pytest.raises(UserError):
        require_memory(plan, fitting_size + 1, 6 * GIGABYTE, "GPU 0")


def test_where_not_even_one_example_fits() -> None:
    with pytest.raises(UserError, match=r"even batch_size = 1 needs \d\.\d GB: a device with more"):
        require_memory(TrainingPlan(1.0, 4, 501, 129), 30, GIGABYTE, "the CPU")


def no_such_array() -> object:
    return np.empty(2**50)


def no_such_tensor() -> object:
    return torch.empty(2**50)


def no_room_on_gpu() -> object:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def no_room_in_cudnn() -> object:
    raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


@pytest.mark.parametrize("fail", [no_such_array, no_such_tensor, no_room_on_gpu, no_room_in_cudnn])
def test_running_out_of_memory_is_explained(fail: Callable[[], object]) -> None:
    plan = TrainingPlan(1.0, 4, 501, 129)
    with (
        pytest.raises(UserError, match=r"the CPU ran out of memory.*=15 should fit"),
        memory_errors_explained(plan, 30, 16 * GIGABYTE, "the CPU"),
    ):
        fail()


def test_after_running_out_of_memory_less_is_advised_if_less_was_free() -> None:
    plan = TrainingPlan(1.0, 4, 501, 129)
    free = estimate_memory(plan, 7).total
    with (
        pytest.raises(UserError, match="--set batch_size=7 should fit"),
        memory_errors_explained(plan, 100, free, "the CPU"),
    ):
        no_such_tensor()
    with (
        pytest.raises(UserError, match="even batch_size = 1 needs"),
        memory_errors_explained(plan, 1, free, "the CPU"),
    ):
        no_such_tensor()


def test_other_errors_are_left_alone() -> None:
    for error in (RuntimeError("shapes differ"), UserError("no gradient"), ValueError("nan")):
        assert not is_out_of_memory(error)
        with (
            pytest.raises(type(error), match=str(error)),
            memory_errors_explained(a_plan(), 30, GIGABYTE, "the CPU"),
        ):
            raise error


def test_room_for_speed_leaves_what_a_training_needs() -> None:
    assert room_for_speed(100, 10, 0.4) == 40
    assert room_for_speed(100, 80, 0.4) == 20
    assert room_for_speed(100, 120, 0.4) == 0


def test_kept_data_with_room_and_without() -> None:
    plan = TrainingPlan(1.0, 4, 126, 129, layers=((2,),))
    examples, features = 4 * 1000 * 126 * 129, 4 * 1000 * 64**2
    assert with_kept_data(plan, 30, 1000, 64 * GIGABYTE).kept_bytes == examples + features
    needed = estimate_memory(plan, 30).total
    assert with_kept_data(plan, 30, 1000, needed).kept_bytes == 0
    assert with_kept_data(plan, 30, 1000, needed + 1000).kept_bytes == 1000
    assert with_kept_data(plan, 30, 1000, 64 * GIGABYTE, False).kept_bytes == examples
    kept = with_kept_data(plan, 30, 1000, needed + examples + 1000)
    assert kept.kept_bytes == examples
    assert estimate_memory(kept, 30).total == needed + examples


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
