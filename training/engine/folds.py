"""One fold: its three sets, and a network trained on them and measured with its best weights."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from config.errors import UserError
from config.fields import Task
from config.fingerprints import fingerprint_of
from config.log import logger
from config.settings import TrainingDefaults
from config.text import first_of
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.batches import ExampleSet, Normalization, training_statistics
from training.data.shortcut_sampler import Shortcut, rows_of_sets
from training.engine.checkpoints import Checkpoint
from training.engine.checks import TrainingError
from training.engine.devices import build_accelerator, choose_precision, compiled
from training.engine.distributed import num_processes
from training.engine.evaluation import Evaluation, evaluate
from training.engine.fit import FitOptions, fit
from training.engine.metrics import (
    CLIP_METRICS,
    SET_METRICS,
    chance_level,
    collapse,
    collapse_of_values,
    confusion,
    mean_level,
    prediction_metrics,
)
from training.engine.optimizers import build_optimizer
from training.engine.seeds import RngSeeds
from training.engine.step import Learner, hooks_enabled
from training.engine.tracking import gradient_norms, start_tracking
from training.methods import Method
from training.methods.kinds import AT_METHODS
from training.results.dictionary import GROUP_KEYS, SETS

# In errors of the CPU's allocator, of C++ and of CUDA's libraries; CUDA itself has a type.
OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "defaultcpuallocator",
    "alloc_failed",
    "bad_alloc",
)


class Trained(NamedTuple):
    """What the training of a fold leaves.

    values: its entry of the result dictionary, with the seconds that its epochs took, which become
        part of the result's provenance.
    state: the best weights.
    evaluations: of these, by set.
    """

    values: dict[str, Any]
    state: dict[str, Tensor]
    evaluations: dict[str, Evaluation]


@dataclass(frozen=True)
class Fold:
    """The three sets of one fold.

    Attributes:
        groups: those in each set.
        fingerprint: changes when an example, its place in the matrices or its normalisation does.
    """

    matrices: Matrices
    sets: dict[str, ExampleSet]
    groups: dict[str, list[str]]
    normalization: Normalization
    fingerprint: str


def load_fold(
    matrices: Matrices,
    split: Split[str],
    device: torch.device,
    skip_padding: bool = False,
    random_offset: bool = False,
    shortcut: Shortcut | None = None,
    most: int | None = None,
) -> Fold:
    """Load the sets of a split, normalised by the training set's statistics.

    Args:
        skip_padding: padding counts in no statistics, and is 0 after normalisation.
        random_offset: training examples shorter than the others move in their padding.
        shortcut: by which the examples of each set are chosen; None: all are used.
        most: so many examples are drawn for a look at the data; None: all are used.

    Raises:
        UserError: a set is empty or too small, or the training set cannot be normalised.
    """
    groups = {"training": split.train, "validation": split.validation, "test": split.test}
    rows = rows_of_sets(matrices, split, shortcut)
    if most is not None and (total := sum(map(len, rows.values()))) > most:
        generator = np.random.default_rng(0)
        for name, numbers in rows.items():
            number = max(1, len(numbers) * most // total)
            rows[name] = np.sort(generator.choice(numbers, number, replace=False))
    num_frames = matrices.index["num_frames"].to_numpy(dtype=np.int64) if skip_padding else None
    try:
        normalization = training_statistics(matrices.predictors, rows["training"], num_frames)
    except UserError as error:
        raise UserError(f"{matrices.name}: {error}; prepare it again") from None
    sets = {
        name: ExampleSet(
            matrices.predictors,
            np.asarray(matrices.target),
            numbers,
            normalization,
            device,
            num_frames,
            random_offset and name == "training",
        )
        for name, numbers in rows.items()
    }
    return Fold(matrices, sets, groups, normalization, _fingerprint(matrices, rows, normalization))


def require_classes(fold: Fold, matrices: Matrices) -> str:
    """Check that a network can learn every class; returns a warning about the other sets, or "".

    Raises:
        UserError: the training set has no example of a class.
    """
    warnings = []
    for name, examples in fold.sets.items():
        counts = torch.bincount(examples.labels.cpu(), minlength=len(matrices.classes)).tolist()
        missing = [name for name, count in zip(matrices.classes, counts, strict=True) if not count]
        if not missing:
            continue
        found = f"no example of {len(missing)} of {len(matrices.classes)} classes"
        message = f"{matrices.name}: the {name} set has {found}: {first_of(missing)}"
        if name == "training":
            raise UserError(
                f"{message}; other fractions (train_split, validation_split, test_split) or "
                "another [preprocessing] seed may help, then prepare it again"
            )
        warnings.append(message)
    return "; ".join(warnings)


def _fingerprint(
    matrices: Matrices, rows: Mapping[str, npt.NDArray[np.int64]], normalization: Normalization
) -> str:
    used = [hashlib.sha256(numbers.tobytes()).hexdigest() for numbers in rows.values()]
    state = matrices.predictors_state
    return fingerprint_of([matrices.fingerprint, state, used, *vars(normalization).values()])


def build_learner(
    model: nn.Module,
    methods: Sequence[Method],
    task: Task,
    training: TrainingDefaults,
    log_folder: Path,
    title: str,
) -> Learner:
    """Put optimizer, precision, several processes, compilation and tracker around a network.

    Args:
        model: on the device where it is trained.
        log_folder: where the tracker writes.
        title: of the run, for the tracker.
    """
    device = next(model.parameters()).device
    precision = choose_precision(training.precision, device, task)
    accelerator = build_accelerator(device, precision, training.tracker, log_folder)
    start_tracking(accelerator, title, training)
    of_methods = [parameter for method in methods for parameter in method.parameters()]
    optimizer = build_optimizer(
        training.choose_optimizer,
        [*model.parameters(), *of_methods],
        training.learning_rate,
        training.regularization_lambda,
    )
    prepared, optimizer = accelerator.prepare(model, optimizer)
    if training.torch_compile:
        prepared = compiled(prepared, device)
    ramp = training.at_ramp if AT_METHODS[training.at_method].reads("at_ramp") else 0.0
    return Learner(prepared, optimizer, methods, accelerator, task, ramp)


def train_fold(
    learner: Learner,
    fold: Fold,
    options: FitOptions,
    seeds: RngSeeds,
    title: str,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train a network on a fold, and measure its best weights on all three sets.

    Processes that have joined train one network together, and return the same.

    Args:
        learner: holds the best weights afterwards.
        title: what the progress bar shows.
        checkpoint: where the training's state is kept until it is finished.
    """
    sets = fold.sets
    # A compiled network keeps the hooks it was first run with, so the methods stay open.
    with hooks_enabled(learner.methods):
        result = fit(
            learner, sets["training"], sets["validation"], options, seeds, title, checkpoint
        )
        # Not end_training: Accelerate would end the process group as well.
        for tracker in learner.accelerator.trackers:
            tracker.finish()
        learner.network.load_state_dict(result.best_state)
        for method in learner.methods:
            method.finish(learner.network, sets)
        state = learner.network.state_dict()
        best = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        evaluations = {name: evaluate(learner, sets[name], options.batch_size) for name in SETS}
        norms = gradient_norms(learner, sets["training"], options.batch_size)
    values: dict[str, Any] = {
        **_final_metrics(evaluations, fold, title),
        **result.history,
        "best_epoch": result.best_epoch,
        "numeric_precision": learner.precision,
        "seconds": result.seconds,
    }
    for method in learner.methods:
        values |= method.results((result.best_epoch + 1) / options.num_epochs)
    if norms:
        values["gradient_norms"] = norms
    for set_name, key in GROUP_KEYS.items():
        values[key] = fold.groups[set_name]
    return Trained(values, best, evaluations)


def _final_metrics(evaluations: Mapping[str, Evaluation], fold: Fold, title: str) -> dict[str, Any]:
    """Return the metrics of the best weights on each set, under the names of the original.

    Chance is what naming the set's most frequent class reaches, and of a regression the error of
    naming the training set's mean. A training that has collapsed, or has not begun, is said to
    have, here and on the terminal.
    """
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    training_mean = float(fold.sets["training"].labels.double().mean())
    for set_name, prefix in SETS.items():
        evaluation, task = evaluations[set_name], evaluations[set_name].task
        for metric in (*SET_METRICS[task], "task_loss", "feature_loss"):
            if metric in evaluation.metrics:
                values[f"{prefix}_{metric}"] = evaluation.metrics[metric]
        labels, predictions = evaluation.labels, evaluation.predictions
        of_clips = evaluation.by_clip(fold.matrices.clip_numbers)
        metrics = prediction_metrics(task, *of_clips)
        for metric in CLIP_METRICS[task]:
            values[f"{prefix}_{metric}"] = metrics[metric.removeprefix("clip_")]
        for level, truth in (("", labels), ("clip_", of_clips[0])):
            values[f"{prefix}_{level}chance"] = (
                chance_level(truth)
                if task == "classification"
                else mean_level(truth, training_mean)
            )
        values[f"{prefix}_examples"], values[f"{prefix}_clips"] = len(labels), len(of_clips[0])
        if set_name == "test" and task == "classification":
            num_classes = evaluation.outputs.shape[1]
            values["test_confusion"] = confusion(labels, predictions, num_classes)
        if task == "classification" and set_name != "test":
            reasons[set_name] = collapse(labels, predictions)
        elif set_name == "validation":
            reasons[set_name] = collapse_of_values(labels, predictions, training_mean)
    values["collapsed"] = any(reasons.values())
    if reason := reasons.get("training"):
        logger.warning(f"{title}: has not begun to learn: on the training set {reason}")
    elif reason := reasons["validation"]:
        logger.warning(f"{title}: collapsed: on the validation set {reason}")
    return values


def train_in_memory(
    train: Callable[[int], Trained],
    batch_size: int,
    title: str,
    forget: Callable[[], None] = lambda: None,
) -> Trained:
    """Train with a batch size, or from the start with half of it as often as memory runs out.

    Args:
        train: trains a fold from its start with a batch size.
        forget: gives back what is kept for speed alone.

    Returns:
        What train returned; its values say batch_size_used if that is another one.

    Raises:
        TrainingError: there is not even memory for single examples.
        UserError: several processes train together, of which the others still wait.
    """
    used = batch_size
    while True:
        try:
            trained = train(used)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            if used != batch_size:
                trained.values["batch_size_used"] = used
            return trained
        # Out here nothing of the failed attempt is held by the error any more.
        forget()
        if num_processes() > 1:
            raise UserError(f"{title}: out of memory with batch_size = {used}; set a smaller one")
        if used == 1:
            raise TrainingError(
                "out of memory even with batch_size = 1; a smaller width, fewer networks in "
                "at_dataset, or a device with more memory may help"
            )
        logger.warning(
            f"{title}: out of memory with batch_size = {used}; begins again with {used // 2}"
        )
        used //= 2


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch, a library of CUDA, or NumPy could not get memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in text for words in OUT_OF_MEMORY
    )
