"""How much memory a training needs, worked out from plain numbers before it starts.

No torch here: `experiments_manager.py --check` shows these figures within half a second.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from config.settings import NUM_CONVOLUTIONS
from training.models.architecture import (
    Activation,
    convolution_inputs,
    convolution_outputs,
    convolution_parameters,
    linear_shapes,
    num_parameters,
    pool_outputs,
)
from training.similarity.aggregations import POOL

if TYPE_CHECKING:
    from config.settings import TrainingDefaults

FLOAT, HALF, INDEX = 4, 2, 8  # bytes
MEGABYTE, GIGABYTE = 10**6, 10**9

OPTIMIZER_STATES = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}
# The only one that torch does not run in one kernel: the root of its state, and decayed gradients.
UNFUSED_TEMPORARIES = {"rmsprop": 2}

# Measured with `python -m benchmarks.memory` and rounded up. Of a process with torch and all that
# experiments load: Python, libraries, compiled kernels; on a GPU: CUDA's own share of its memory.
PROCESS_BYTES = {"cpu": 400 * MEGABYTE, "cuda": 600 * MEGABYTE}
# What convolutions work in, and what allocators hold without using it.
WORKSPACE_BYTES = {"cpu": 100 * MEGABYTE, "cuda": 300 * MEGABYTE}
FRAGMENTED_SHARE = 0.15

# Of the inputs of a batch: as read, two read ahead, chosen, normalised, shifted in time.
INPUT_COPIES = 6
# Before the first batch, frozen features are made so many examples at a time. Other proofs and
# figures are taken of fewer examples.
FILL_EXAMPLES = 32
# Unfolded inputs of a convolution, where the processor has no unit for bfloat16.
UNFOLDED_COPIES = 9

Device = Literal["cpu", "cuda"]
Part = Literal[
    "program",
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "similarity",
    "frozen networks",
    "kept data",
    "best weights",
    "reserve",
]


class _Cost(NamedTuple):
    """What a similarity takes beyond the activations of a plain step.

    kept, temporary: multiples of the tapped activation, from the forward to the backward pass, and
    for a moment in that; aggregates: multiples of what is compared.
    """

    kept: int
    temporary: int
    aggregates: int


# For cos_squared, which takes at least as much as the others, except after gram.
SIMILARITY_COSTS = {
    "gram": _Cost(1, 1, 2),
    "gram_batch": _Cost(0, 3, 6),
    "mean": _Cost(0, 1, 8),
    "sum": _Cost(0, 1, 8),
    "max": _Cost(0, 3, 8),
    "mul": _Cost(1, 6, 8),
    "mul_comp": _Cost(1, 2, 8),
    "none": _Cost(2, 4, 0),
    "pairwise": _Cost(2, 4, 4),
    "stochastic_pairwise": _Cost(1, 1, 4),
    "pool": _Cost(0, 1, 8),
}


COMPARED_WITH_OTHERS = ("gram_batch", POOL)


@dataclass(frozen=True)
class TrainingPlan:
    """What decides how much memory a training needs, batch size aside.

    Attributes:
        num_frames, num_bins: of an example.
        precision: fp32 or bf16; auto counts as the one that needs more.
        has_bf16_units: whether a CPU computes bfloat16 itself; one that does not unfolds
            the inputs of convolutions.
        layers: for each frozen network, the convolutions that are compared; () without penalty.
        loads_weights: the training starts from the weights of a file, which stay in memory.
        kept_bytes: examples and frozen features that lie on the device; see `with_kept_data`.
        num_processes: that have a part of each batch each.
    """

    width: float
    num_classes: int
    num_frames: int
    num_bins: int
    device: Device = "cpu"
    precision: str = "fp32"
    has_bf16_units: bool = True
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    layers: tuple[tuple[int, ...], ...] = ()
    aggregation: str = "gram"
    distance: str = "cos_squared"
    tap: Literal["output", "input"] = "output"
    loads_weights: bool = False
    kept_bytes: int = 0
    num_processes: int = 1

    @classmethod
    def from_settings(
        cls,
        training: "TrainingDefaults",
        num_classes: int,
        num_frames: int,
        num_bins: int,
        device: Device,
        precision: str | None = None,
    ) -> Self:
        """The plan of an experiment's instance.

        Args:
            precision: what the setting came to on the device, if that is known.
        """
        groups = training.at_layer if training.anti_transfer else ()
        if len(groups) == 1:
            groups = groups * len(training.at_dataset)
        return cls(
            width=training.width,
            num_classes=num_classes,
            num_frames=num_frames,
            num_bins=num_bins,
            device=device,
            precision=precision or training.precision,
            optimizer=training.choose_optimizer,
            layers=groups,
            aggregation=training.at_aggregation,
            distance=training.at_distance,
            tap=training.at_tap,
            loads_weights=training.at_pretraining is not None,
        )

    @property
    def outputs(self) -> tuple[Activation, ...]:
        """What the convolutions give for one example."""
        return convolution_outputs(self.width, self.num_frames, self.num_bins)

    @property
    def inputs(self) -> tuple[Activation, ...]:
        """What the convolutions receive for one example."""
        return convolution_inputs(self.width, self.num_frames, self.num_bins)

    def tapped(self, layer: int) -> Activation:
        """What is compared at a layer, before aggregation."""
        return (self.outputs if self.tap == "output" else self.inputs)[layer - 1]

    @property
    def num_values(self) -> int:
        """Weights and biases of the network that is trained."""
        return num_parameters(self.num_classes, self.width)


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes on the training device at a batch size, by what they are for."""

    batch_size: int
    parts: dict[Part, int]

    @property
    def total(self) -> int:
        """Bytes of all parts together."""
        return sum(self.parts.values())

    def without(self, held: Collection[str]) -> int:
        """Bytes that are still to be had if some parts are held already."""
        return sum(size for part, size in self.parts.items() if part not in held)

    def __str__(self) -> str:
        shown = sorted(self.parts.items(), key=lambda item: -item[1])
        rounded = [f"{part} {size / GIGABYTE:.1f}" for part, size in shown if size >= GIGABYTE / 20]
        return (
            f"about {self.total / GIGABYTE:.1f} GB at batch_size = {self.batch_size} "
            f"({', '.join(rounded)})"
        )


def estimate_memory(plan: TrainingPlan, batch_size: int) -> MemoryEstimate:
    """An upper bound of what a training needs on its device at once, for its part of a batch.

    On a CPU it is 1.1 to 1.4 times the peak (`python -m benchmarks.memory`). On a GPU the tensors
    are the same, but the fixed shares are not measured. torch.compile is not counted.
    """
    if plan.precision == "auto":
        both = (
            estimate_memory(replace(plan, precision="fp32"), batch_size),
            estimate_memory(replace(plan, precision="bf16"), batch_size),
        )
        return max(both, key=lambda estimate: estimate.total)
    weights = FLOAT * plan.num_values
    part = -(-batch_size // plan.num_processes)
    activations = _activation_bytes(plan, part)
    # Where examples are compared with each other, all processes have the whole batch to compare.
    compared = batch_size if plan.aggregation in COMPARED_WITH_OTHERS else part
    # The penalty does its work before there are gradients of weights, and may use their room.
    similarity = max(
        _waiting_bytes(plan, compared),
        _similarity_bytes(plan, compared) - weights,
        _frozen_pass_bytes(plan, FILL_EXAMPLES) - weights - activations,
    )
    on_cpu = plan.device == "cpu"
    parts: dict[Part, int] = {
        "weights": weights * (1 + plan.loads_weights * on_cpu) + _half_weight_bytes(plan),
        "gradients": weights,
        "optimizer": weights * OPTIMIZER_STATES[plan.optimizer],
        "activations": activations,
        "similarity": similarity,
        "frozen networks": len(plan.layers) * FLOAT * _frozen_values(plan),
        "best weights": weights * on_cpu,
    }
    # After a step there are no activations, but the weights are changed and the best ones copied.
    after = max(_update_bytes(plan), weights * on_cpu)
    parts["best weights"] += max(0, after - activations - similarity)
    tensors = sum(parts.values())
    parts["reserve"] = WORKSPACE_BYTES[plan.device] + int(FRAGMENTED_SHARE * tensors)
    parts["program"] = PROCESS_BYTES[plan.device]
    parts["kept data"] = plan.kept_bytes
    return MemoryEstimate(batch_size, parts)


def _activation_bytes(plan: TrainingPlan, batch_size: int) -> int:
    """What the forward pass of a plain step keeps for the backward pass.

    A ReLU works in place; a max-pool keeps where its largest values were.
    """
    element = _element(plan)
    pools = pool_outputs(plan.width, plan.num_frames, plan.num_bins)
    size = element * sum(each.size for each in plan.outputs)
    size += (element + INDEX) * sum(each.size for each in pools)
    size += INPUT_COPIES * FLOAT * plan.num_frames * plan.num_bins
    # Of each linear layer: input and output, its ReLU, what dropout keeps.
    size += 2 * FLOAT * sum(map(sum, linear_shapes(plan.num_classes, plan.width)))
    if plan.device == "cpu" and plan.precision == "bf16" and not plan.has_bf16_units:
        size += UNFOLDED_COPIES * HALF * max(each.size for each in plan.inputs)
    return batch_size * size


def _frozen_values(plan: TrainingPlan) -> int:
    """Weights of a frozen network: its penultimate features need the classifier, too."""
    return plan.num_values if plan.aggregation == POOL else convolution_parameters(plan.width)


def _half_weight_bytes(plan: TrainingPlan) -> int:
    """The bfloat16 copies of weights that autocast makes, and the gradient of the largest."""
    if plan.precision != "bf16":
        return 0
    return HALF * (plan.num_values + _largest_weight(plan))


def _waiting_bytes(plan: TrainingPlan, batch_size: int) -> int:
    """Gradients of the penalty, which wait until the backward pass comes by their layers."""
    layers = (layer for group in plan.layers for layer in group)
    return _element(plan) * batch_size * sum(plan.tapped(layer).size for layer in layers)


def _similarity_bytes(plan: TrainingPlan, batch_size: int) -> int:
    """What penalties take beyond a plain step's activations, when they are at their largest."""
    cost = _cost(plan)
    # Aggregates are made in float32, of a copy if the activation is not.
    kept = cost.kept + (plan.precision == "bf16")
    held: list[int] = []
    burst = 0
    for group in plan.layers:
        held.append(0)
        for layer in group:
            activation = FLOAT * batch_size * plan.tapped(layer).size
            aggregate = _aggregate_bytes(plan, layer, batch_size)
            own = max(1, kept) * activation + aggregate
            held[-1] += own
            used = (kept + cost.temporary) * activation + cost.aggregates * aggregate
            burst = max(burst, used - own)
    if not held:
        return 0
    # A frozen network runs when the penalties of those before it are already computed.
    while_running = sum(held) - min(held) + _frozen_pass_bytes(plan, batch_size)
    return max(sum(held) + burst, while_running)


def _frozen_pass_bytes(plan: TrainingPlan, batch_size: int) -> int:
    """A frozen network runs up to its deepest tapped layer and keeps only what is tapped.

    For penultimate features it runs as a whole, and keeps them alone.
    """
    largest = 0
    for group in plan.layers:
        last, kept = (NUM_CONVOLUTIONS, ()) if plan.aggregation == POOL else (max(group), group)
        values = max(_values_alive(plan, kept, number) for number in range(1, last + 1))
        converted = max(plan.tapped(layer).size for layer in group)
        size = _element(plan) * values + FLOAT * converted * (plan.precision == "bf16")
        aggregates = sum(_aggregate_bytes(plan, layer, batch_size) for layer in group)
        # Twice, for a moment: before and after they are divided by their size.
        largest = max(largest, batch_size * size + 2 * aggregates)
    return largest


def _values_alive(plan: TrainingPlan, group: tuple[int, ...], number: int) -> int:
    """Of one example while a frozen network's convolution runs: input, output, what is tapped."""
    before, after = plan.inputs[number - 1], plan.outputs[number - 1]
    tapped = [plan.tapped(layer) for layer in group if layer < number]
    if plan.tap == "output" and number - 1 in group and before in tapped:
        tapped.remove(before)  # no max-pool between: what is tapped is the input itself
    return before.size + after.size + sum(each.size for each in tapped)


def _aggregate_bytes(plan: TrainingPlan, layer: int, batch_size: int) -> int:
    """What is compared at a layer, for a batch."""
    tapped = plan.tapped(layer)
    channels = tapped.channels
    shape: tuple[int, ...]
    if plan.aggregation == "gram":
        shape = (batch_size, channels, channels)
    elif plan.aggregation == "gram_batch":
        shape = (batch_size * channels, batch_size * channels)
    elif plan.aggregation == "pairwise":
        shape = (batch_size, tapped.frames, channels, channels)
    elif plan.aggregation == "stochastic_pairwise":
        block = max(1, channels // batch_size)
        shape = (batch_size, tapped.frames, block, block)
    elif plan.aggregation == POOL:
        penultimate = linear_shapes(plan.num_classes, plan.width)[-1][0]
        shape = (batch_size, max(channels, penultimate))
    elif plan.aggregation == "none":
        shape = (batch_size, tapped.size)
    else:
        shape = (batch_size, tapped.frames, tapped.bins)
    return FLOAT * prod(shape)


def _update_bytes(plan: TrainingPlan) -> int:
    """What the optimizer needs for a moment while it changes the weights."""
    at_once = _largest_weight(plan) if plan.device == "cpu" else plan.num_values
    return FLOAT * UNFUSED_TEMPORARIES.get(plan.optimizer, 0) * at_once


def _largest_weight(plan: TrainingPlan) -> int:
    return max(map(prod, linear_shapes(plan.num_classes, plan.width)))


def _element(plan: TrainingPlan) -> int:
    return HALF if plan.precision == "bf16" else FLOAT


def _cost(plan: TrainingPlan) -> _Cost:
    if plan.aggregation.startswith("mul_comp"):
        return SIMILARITY_COSTS["mul_comp"]
    if plan.aggregation == "gram" and plan.distance != "cos_squared":
        return SIMILARITY_COSTS["gram_batch"]
    return SIMILARITY_COSTS[plan.aggregation]


def feature_bytes(plan: TrainingPlan, num_examples: int) -> int:
    """What the frozen networks give for so many examples, in the smaller form of each layer."""
    total = 0
    for layer in (layer for group in plan.layers for layer in group):
        activation = _element(plan) * plan.tapped(layer).size
        aggregate = _aggregate_bytes(plan, layer, 1)
        of_whole_batch = plan.aggregation == "gram_batch"
        total += activation if of_whole_batch else min(activation, aggregate)
    return num_examples * total
