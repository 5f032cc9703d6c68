"""One fold: its three sets, and a network trained on them and measured with its best weights."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from config.errors import UserError
from config.fingerprints import fingerprint_of
from config.settings import TrainingDefaults
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.batches import ExampleSet, Normalization, ResidentBudget, training_statistics
from training.data.frozen_cache import FeatureStore
from training.engine.checkpoints import Checkpoint
from training.engine.checks import missing_classes
from training.engine.devices import build_accelerator, choose_precision, compiled
from training.engine.fit import FitOptions, Streams, fit
from training.engine.metrics import SET_METRICS, chance_level, collapse, confusion
from training.engine.step import Learner, build_optimizer, evaluate, listening
from training.engine.tracking import start_tracking
from training.methods.anti_transfer import AntiTransferLoss
from training.methods.gradient_reversal import GradientReversal
from training.results.dictionary import GROUP_KEYS, SETS


@dataclass(frozen=True)
class Fold:
    """The three sets of one fold.

    Attributes:
        groups: those in each set.
        fingerprint: changes when an example, its place in the matrices or its normalisation does.
    """

    sets: dict[str, ExampleSet]
    groups: dict[str, list[str]]
    normalization: Normalization
    fingerprint: str


def load_fold(
    matrices: Matrices,
    split: Split[str],
    device: torch.device,
    random_offset: bool,
    needed_bytes: int = 0,
) -> Fold:
    """The sets of a split, normalised by the training set's statistics.

    Args:
        random_offset: training examples shorter than the others move in their padding.
        needed_bytes: what the training needs on the device, which is left to it.

    Raises:
        UserError: a set is empty, or the training set cannot be normalised.
    """
    groups = {"training": split.train, "validation": split.validation, "test": split.test}
    rows = {name: matrices.rows_of(members, name == "training") for name, members in groups.items()}
    for name, numbers in rows.items():
        if len(numbers) == 0:
            raise UserError(f"{matrices.name}: the {name} set is empty")
    try:
        normalization = training_statistics(matrices.predictors, rows["training"])
    except ValueError as error:
        raise UserError(f"{matrices.name}: {error}; prepare it again") from None
    free_frames = None
    if random_offset:
        num_frames = matrices.predictors.shape[1]
        free_frames = num_frames - matrices.index["num_frames"].to_numpy(dtype=np.int64)
    budget = ResidentBudget(device, needed_bytes)
    sets = {
        name: ExampleSet(
            matrices.predictors,
            np.asarray(matrices.target),
            numbers,
            normalization,
            device,
            free_frames if name == "training" else None,
            budget,
        )
        for name, numbers in rows.items()
    }
    return Fold(sets, groups, normalization, _fingerprint(matrices, rows, normalization))


def require_classes(fold: Fold, matrices: Matrices) -> str:
    """See that a network can learn every class; returns a warning about the other sets, or "".

    Raises:
        UserError: the training set has no example of a class.
    """
    warnings = []
    for name, examples in fold.sets.items():
        labels = missing_classes(examples.labels, len(matrices.classes))
        missing = [matrices.classes[label] for label in labels]
        if not missing:
            continue
        found = f"no example of {len(missing)} of {len(matrices.classes)} classes"
        message = f"{matrices.name}: the {name} set has {found}: {', '.join(missing[:5])}"
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


def train_fold(
    model: nn.Module,
    penalties: Sequence[AntiTransferLoss],
    fold: Fold,
    options: FitOptions,
    training: TrainingDefaults,
    streams: Streams,
    log_folder: Path,
    title: str,
    store: FeatureStore | None = None,
    checkpoint: Checkpoint | None = None,
    needed_bytes: int = 0,
    adversary: GradientReversal | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train a network on a fold, and measure its best weights on all three sets.

    Processes that have joined train one network together, and return the same.

    Args:
        model: on the device where it is trained; holds the best weights afterwards.
        training: optimizer, precision, compilation and tracker.
        log_folder: where the tracker writes.
        title: what the progress bar shows.
        store: keeps what the frozen networks give; None: they run in each step.
        checkpoint: where the training's state is kept until it is finished.
        needed_bytes: what the training needs on the device, which the store leaves to it.
        adversary: of gradient reversal.

    Returns:
        The fold's entry of the result dictionary, and the best weights.
    """
    device = next(model.parameters()).device
    precision = choose_precision(training.precision, device)
    accelerator = build_accelerator(device, precision, training.tracker, log_folder)
    start_tracking(accelerator, title, training)
    of_adversary = adversary.head.parameters() if adversary else ()
    optimizer = build_optimizer(
        training.choose_optimizer,
        [*model.parameters(), *of_adversary],
        training.learning_rate,
        training.regularization_lambda,
    )
    prepared, optimizer = accelerator.prepare(model, optimizer)
    if training.torch_compile:
        prepared = compiled(prepared, device)
    sets = fold.sets
    features = [
        store.features(
            penalty, sets, fold.fingerprint, precision, accelerator.autocast, needed_bytes
        )
        for penalty in penalties
        if store is not None
    ]
    learner = Learner(
        prepared,
        optimizer,
        penalties,
        accelerator,
        options.task,
        features,
        adversary,
        training.at_ramp,
    )
    # A compiled network keeps the hooks it was first run with, so the penalties stay open.
    with listening(learner.listeners):
        result = fit(
            learner, sets["training"], sets["validation"], options, streams, title, checkpoint
        )
        # Not end_training: Accelerate would end the process group as well.
        for tracker in accelerator.trackers:
            tracker.finish()
        model.load_state_dict(result.best_state)
        figures = _final_figures(learner, sets, options.batch_size, title)
    values: dict[str, Any] = {
        **figures,
        **result.history,
        "best_epoch": result.best_epoch,
        "numeric_precision": precision,
    }
    if adversary is not None:
        # The schedule is of all epochs: an early best epoch had little of the reversed gradient.
        values["reversal_weight"] = adversary.weight_after(result.best_epoch, options.num_epochs)
    for set_name, key in GROUP_KEYS.items():
        values[key] = fold.groups[set_name]
    return values, result.best_state


def _final_figures(
    learner: Learner,
    sets: Mapping[str, ExampleSet],
    batch_size: int,
    title: str,
) -> dict[str, Any]:
    """Figures of the best weights on each set, under the names of the original.

    A training that has collapsed is said to have, here and on the terminal.
    """
    values: dict[str, Any] = {}
    for set_name, prefix in SETS.items():
        evaluation = evaluate(learner, sets[set_name], batch_size)
        for metric in (*SET_METRICS[learner.task], "task_loss", "feature_loss"):
            if metric in evaluation.figures:
                values[f"{prefix}_{metric}"] = evaluation.figures[metric]
        if learner.task == "classification":
            values[f"{prefix}_chance"] = chance_level(evaluation.labels)
            if set_name == "validation":
                reason = collapse(evaluation.labels, evaluation.predictions)
                values["collapsed"] = bool(reason)
                if reason:
                    print(f"{title}: collapsed: on the validation set {reason}")
            if set_name == "test":
                values["test_confusion"] = confusion(
                    evaluation.labels, evaluation.predictions, evaluation.num_classes
                )
        values[f"{prefix}_examples"] = len(evaluation.labels)
    return values
