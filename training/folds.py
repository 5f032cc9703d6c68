"""One fold: its three sets, and a network trained on them and measured with its best weights."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config.errors import UserError
from config.settings import TrainingDefaults
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.anti_transfer import AntiTransferLoss
from training.batches import ExampleSet, Normalization, training_statistics
from training.devices import build_accelerator, choose_precision
from training.fitting import FitOptions, Learner, Streams, build_optimizer, evaluate, fit
from training.metrics import SET_METRICS, chance_level
from training.results import GROUP_KEYS, SETS
from training.vgg import VGG16


@dataclass(frozen=True)
class Fold:
    """The three sets of one fold, and the groups in each."""

    sets: dict[str, ExampleSet]
    groups: dict[str, list[str]]
    normalization: Normalization


def load_fold(
    matrices: Matrices, split: Split[str], device: torch.device, random_offset: bool
) -> Fold:
    """The sets of a split, normalised by the training set's statistics.

    Args:
        random_offset: training examples shorter than the others move in their padding.

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
    sets = {
        name: ExampleSet(
            matrices.predictors,
            np.asarray(matrices.target),
            numbers,
            normalization,
            device,
            free_frames if name == "training" else None,
        )
        for name, numbers in rows.items()
    }
    return Fold(sets, groups, normalization)


def train_fold(
    model: VGG16,
    penalties: Sequence[AntiTransferLoss],
    fold: Fold,
    options: FitOptions,
    training: TrainingDefaults,
    streams: Streams,
    log_folder: Path,
    title: str,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train a network on a fold, and measure its best weights on all three sets.

    Args:
        model: on the device where it is trained; holds the best weights afterwards.
        training: optimizer, precision and tracker.
        log_folder: where the tracker writes.
        title: what the progress bar shows.

    Returns:
        The fold's entry of the result dictionary, and the best weights.
    """
    device = next(model.parameters()).device
    precision = choose_precision(training.precision, device)
    accelerator = build_accelerator(device, precision, training.tracker, log_folder)
    if training.tracker != "none":
        accelerator.init_trackers(title.replace(" ", "_"))
    optimizer = build_optimizer(
        training.choose_optimizer,
        model.parameters(),
        training.learning_rate,
        training.regularization_lambda,
    )
    prepared, optimizer = accelerator.prepare(model, optimizer)
    learner = Learner(prepared, optimizer, penalties, accelerator, options.task)
    sets = fold.sets
    result = fit(learner, sets["training"], sets["validation"], options, streams, title)
    accelerator.end_training()
    model.load_state_dict(result.best_state)
    values: dict[str, Any] = {
        **_final_figures(learner, sets, options.batch_size),
        **result.history,
        "best_epoch": result.best_epoch,
        "numeric_precision": precision,
    }
    for set_name, key in GROUP_KEYS.items():
        values[key] = fold.groups[set_name]
    return values, result.best_state


def _final_figures(
    learner: Learner, sets: Mapping[str, ExampleSet], batch_size: int
) -> dict[str, Any]:
    """Figures of the best weights on each set, under the names of the original."""
    values: dict[str, Any] = {}
    with ExitStack() as open_penalties:
        for penalty in learner.penalties:
            open_penalties.enter_context(penalty)
        for set_name, prefix in SETS.items():
            evaluation = evaluate(learner, sets[set_name], batch_size)
            for metric in (*SET_METRICS[learner.task], "task_loss", "feature_loss"):
                if metric in evaluation.figures:
                    values[f"{prefix}_{metric}"] = evaluation.figures[metric]
            if learner.task == "classification":
                values[f"{prefix}_chance"] = chance_level(evaluation.labels)
            values[f"{prefix}_examples"] = len(evaluation.labels)
    return values
