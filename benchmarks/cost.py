"""What runs cost: operations, seconds and bytes of each, and when a list of runs is done.

A model in plain numbers; benchmarks/scale.py prints what comes out of it.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from training.engine.checkpoints import SAVING_SHARE
from training.models.architecture import (
    KERNEL_SIZE,
    convolution_inputs,
    convolution_outputs,
    linear_shapes,
    num_parameters,
)

FLOAT = 4  # bytes
# Weights, the best weights so far, and two states of Adam.
STATES_OF_CHECKPOINT = 4
NUM_BINS = 129
CLASSES = 10


@dataclass(frozen=True)
class Device:
    """What a device reaches, measured or assumed.

    Attributes:
        operations: floating-point operations per second of a training step.
        rates: examples/s of a training step, by frames, where they are known.
        evaluation_gain: examples/s in evaluation mode over those of a training step.
    """

    operations: float
    rates: Mapping[int, float]
    evaluation_gain: float

    def examples_per_second(self, num_frames: int) -> float:
        """Of a training step on examples of that length."""
        known = self.rates.get(num_frames)
        return known or self.operations / training_operations(num_frames)


@dataclass(frozen=True)
class Plan:
    """What a run does, whatever it runs on.

    Attributes:
        group: runs of the same experiment or extractor.
        after: groups that must be done before.
        train, validation, test: number of examples.
        dataset, dataset_bytes: what is read.
        num_epochs: until early stopping.
        num_frozen: networks whose features are computed before the first epoch.
    """

    group: str
    after: frozenset[str]
    dataset: str
    dataset_bytes: int
    num_frames: int
    train: int
    validation: int
    test: int
    num_epochs: int
    num_frozen: int = 0
    num_classes: int = CLASSES


@dataclass(frozen=True)
class Job:
    """A run with its price; seconds on a device of its own."""

    group: str
    after: frozenset[str]
    seconds: float
    written_bytes: float = 0.0


@cache
def training_operations(num_frames: int, width: float = 1.0, num_classes: int = CLASSES) -> float:
    """Floating-point operations of a training step for one example.

    The backward pass costs twice the forward pass; only the spectrum needs no gradient.
    """
    counts = forward_operations(num_frames, width, num_classes)
    return 3 * sum(counts) - counts[0]


def forward_operations(num_frames: int, width: float, num_classes: int) -> list[int]:
    """Of each layer's forward pass for one example: a multiplication and an addition each."""
    inputs = convolution_inputs(width, num_frames, NUM_BINS)
    outputs = convolution_outputs(width, num_frames, NUM_BINS)
    counts = [
        2 * KERNEL_SIZE**2 * before.channels * after.size
        for before, after in zip(inputs, outputs, strict=True)
    ]
    return counts + [2 * one * other for one, other in linear_shapes(num_classes, width)]


def compute_seconds(plan: Plan, device: Device) -> float:
    """Of a run's epochs with their figures, its frozen features and its final figures."""
    rate = device.examples_per_second(plan.num_frames)
    evaluation = rate * device.evaluation_gain
    epoch = epoch_seconds(plan, device)
    features = plan.num_frozen * (plan.train + plan.validation) / evaluation
    final = (plan.train + plan.validation + plan.test) / evaluation
    return plan.num_epochs * epoch + features + final


def epoch_seconds(plan: Plan, device: Device) -> float:
    """Training, then the figures of the training and the validation set (train_metrics = full)."""
    rate = device.examples_per_second(plan.num_frames)
    return plan.train / rate + (plan.train + plan.validation) / (rate * device.evaluation_gain)


def num_saves(num_epochs: int, epoch: float, save: float) -> int:
    """How many states a training writes, by the rule of training/engine/checkpoints.py.

    Args:
        epoch: s of an epoch.
        save: s of writing a state.
    """
    interval = max(1, math.ceil(save / (SAVING_SHARE * epoch)))
    return 1 + (num_epochs - 1) // interval


def job_of(
    plan: Plan, device: Device, overhead: float, bandwidth: float, runs_per_device: int = 1
) -> Job:
    """What a run takes.

    Args:
        overhead: s of start, loading and spreadsheet.
        bandwidth: bytes/s of the storage that a run has to itself.
        runs_per_device: share the device, so that each is so many times slower.
    """
    model = FLOAT * num_parameters(plan.num_classes, 1.0)
    state = STATES_OF_CHECKPOINT * model
    epoch = runs_per_device * epoch_seconds(plan, device)
    saves = num_saves(plan.num_epochs, epoch, state / bandwidth)
    written = saves * state + model
    seconds = runs_per_device * compute_seconds(plan, device) + overhead + written / bandwidth
    return Job(plan.group, plan.after, seconds, written)


def read_bytes(plans: Sequence[Plan], num_nodes: int, node_memory: float) -> float:
    """What all nodes together read of the matrices, from storage.

    A dataset that fits in half of a node's memory is read once by each node, which then has it;
    of a larger one every epoch of every run reads everything.
    """
    total = 0.0
    sizes = {plan.dataset: plan.dataset_bytes for plan in plans}
    for dataset, size in sizes.items():
        runs = [plan for plan in plans if plan.dataset == dataset]
        if size <= node_memory / 2:
            total += size * min(num_nodes, len(runs))
        else:
            total += sum(size * (1 + plan.num_epochs) for plan in runs)
    return total


def makespan(jobs: Sequence[Job], num_slots: int, longest_first: bool = False) -> float:
    """Seconds until the last run is done: a slot that is free takes the first run that may begin.

    Raises:
        ValueError: runs wait for each other, or for a group that is not there.
    """
    waiting = sorted(jobs, key=lambda job: -job.seconds) if longest_first else list(jobs)
    left: dict[str, int] = {}
    for job in jobs:
        left[job.group] = left.get(job.group, 0) + 1
    running: list[tuple[float, int, Job]] = []
    now, number = 0.0, 0
    while waiting or running:
        ready = [job for job in waiting if not any(left.get(group, 0) for group in job.after)]
        if ready and len(running) < num_slots:
            waiting.remove(ready[0])
            number += 1
            heapq.heappush(running, (now + ready[0].seconds, number, ready[0]))
        elif running:
            now, _, done = heapq.heappop(running)
            left[done.group] -= 1
        else:
            raise ValueError("runs wait for each other")
    return now


def longest_chain(jobs: Sequence[Job]) -> float:
    """Seconds of the longest run together with those that must end before it begins."""
    longest: dict[str, float] = {}
    after: dict[str, set[str]] = {}
    for job in jobs:
        longest[job.group] = max(longest.get(job.group, 0.0), job.seconds)
        after.setdefault(job.group, set()).update(job.after)

    def chain(group: str) -> float:
        before = (chain(each) for each in after[group] if each in after)
        return longest[group] + max(before, default=0.0)

    return max(map(chain, longest))


@dataclass(frozen=True)
class Limits:
    """Three times in s, none of which a cluster can fall short of."""

    devices: float
    storage: float
    chain: float

    @property
    def binding(self) -> str:
        """The one that is longest."""
        return max(("devices", "storage", "chain"), key=lambda name: float(getattr(self, name)))

    @property
    def longest(self) -> float:
        """The bound."""
        return max(self.devices, self.storage, self.chain)
