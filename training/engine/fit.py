"""The one training loop: pre-training and experiments are the same fit, with and without a penalty.

It receives finished objects (network, optimizer, sets) and reads no settings.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from config.errors import UserError
from config.text import display_path
from training.data.batches import ExampleSet
from training.engine.checkpoints import Checkpoint, random_state, set_random_state
from training.engine.checks import (
    TrainingError,
    activation_norms,
    prove_gradients,
    refuse_divergence,
    refuse_vanished,
)
from training.engine.distributed import (
    bars_disabled,
    broadcast,
    is_main,
    num_processes,
    rank,
)
from training.engine.metrics import Task
from training.engine.step import (
    Learner,
    Sums,
    evaluate,
    figures_of,
    listening,
    network_of,
    training_step,
)
from training.engine.tracking import track_epoch

BestMetric = Literal["val_loss", "val_task_loss", "val_acc"]
History = dict[str, list[float]]


@dataclass(frozen=True)
class FitOptions:
    """How long and by what a network is trained.

    patience: epochs without improvement before the training stops; None: it never does.
    best_metric: which figure of the validation set improves.
    train_metrics: full evaluates the training set after each epoch, running averages over its
        batches.
    """

    num_epochs: int
    batch_size: int
    patience: int | None
    best_metric: BestMetric = "val_loss"
    train_metrics: Literal["full", "running"] = "full"
    shuffle: bool = True
    task: Task = "classification"


@dataclass(frozen=True)
class Streams:
    """Independent random streams of one training, all from its seed.

    None of them is used while a frozen network is built, so a baseline and an anti-transfer
    training of the same seed start from the same weights and see the same batches.
    """

    initialization: int
    dropout: int
    shuffling: torch.Generator
    similarity: torch.Generator
    adversary: int
    random_network: int

    @classmethod
    def from_seed(cls, seed: int, fold: int) -> "Streams":
        """The streams of one fold of a training."""
        states = np.random.SeedSequence([seed, fold]).generate_state(6).tolist()
        return cls(
            initialization=states[0],
            dropout=states[1],
            shuffling=torch.Generator().manual_seed(states[2]),
            similarity=torch.Generator().manual_seed(states[3]),
            adversary=states[4],
            random_network=states[5],
        )


@dataclass
class FitResult:
    """What a fit leaves: the history, the best epoch (from 0), and its weights on the CPU."""

    history: History = field(default_factory=dict)
    best_epoch: int = -1
    best_value: float = float("nan")
    best_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_epochs(self) -> int:
        """Epochs that are done."""
        return len(self.history.get("train_loss_hist", []))


def fit(
    learner: Learner,
    training: ExampleSet,
    validation: ExampleSet,
    options: FitOptions,
    streams: Streams,
    description: str,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Train until the validation figure stops improving; the best weights are kept.

    With a checkpoint the training goes on from the state that it holds, and ends as it would have
    ended without the interruption: on the CPU bit for bit. Several processes that train together
    have the same history; the main one writes the checkpoint, and all read it.

    After each epoch the history gets, for train and val: loss (task loss plus similarity terms, as
    published), task_loss, acc (classification), and with penalties feature_loss (their sum) and
    one entry for each term.

    Raises:
        UserError: a penalised layer receives no gradient, or the processes do not see the same
            checkpoint.
        TrainingError: the loss is no longer a number or explodes, or a penalised layer's
            activations vanish.
    """
    if options.batch_size % num_processes():
        raise TrainingError(
            f"batch_size = {options.batch_size} cannot be divided among {num_processes()} processes"
        )
    result = FitResult()
    with listening(learner.listeners):
        prove_gradients(learner, training)
        norms_at_start = activation_norms(learner, training)
        torch.manual_seed(streams.dropout + rank())  # processes drop other units
        state = _common_state(checkpoint) if checkpoint else None
        if state is not None:
            result = _restored(state, learner, streams)
            del state  # as large as network and optimizer together
        bar = tqdm(
            total=options.num_epochs,
            initial=result.num_epochs,
            desc=description,
            unit="epoch",
            mininterval=0.5,
            disable=bars_disabled(),
        )
        with bar:
            while not _is_finished(result, options):
                _run_epoch(learner, training, validation, options, streams, result)
                refuse_vanished(activation_norms(learner, training), norms_at_start)
                bar.set_postfix(_shown(result.history), refresh=False)
                bar.update()
                if checkpoint and is_main() and not _is_finished(result, options):
                    checkpoint.save(_state_of(learner, streams, result))
    return result


def _common_state(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The last state, which must be the same for all processes."""
    state = checkpoint.read()
    own = None if state is None else state["result"]["history"]
    if broadcast(own) != own:
        raise UserError(
            f"{display_path(checkpoint.path)}: this process does not see what the main process "
            "sees; all must share the results folder"
        )
    return state


def _is_finished(result: FitResult, options: FitOptions) -> bool:
    waited = result.num_epochs - 1 - result.best_epoch
    if result.best_epoch >= 0 and options.patience and waited >= options.patience:
        return True
    return result.num_epochs >= options.num_epochs


def _run_epoch(
    learner: Learner,
    training: ExampleSet,
    validation: ExampleSet,
    options: FitOptions,
    streams: Streams,
    result: FitResult,
) -> None:
    """One pass over the training set, and what it led to."""
    epoch = result.num_epochs
    started = time.perf_counter()
    train_figures = _train_epoch(learner, training, options, streams, epoch)
    seconds = time.perf_counter() - started
    if options.train_metrics == "full":
        train_figures = evaluate(learner, training, options.batch_size).figures
    val_figures = evaluate(learner, validation, options.batch_size).figures
    first = result.history.get("train_task_loss_hist", [None])[0]
    refuse_divergence(train_figures, val_figures, first, epoch)
    _record(result.history, train_figures, val_figures)
    _keep_best(result, learner, options, epoch)
    track_epoch(learner, training, options.batch_size, result.history, seconds)


def _state_of(learner: Learner, streams: Streams, result: FitResult) -> dict[str, Any]:
    """Everything that the next epoch depends on."""
    return {
        "result": vars(result),
        "model": network_of(learner).state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "adversary": learner.adversary.head.state_dict() if learner.adversary else {},
        "shuffling": streams.shuffling.get_state(),
        "similarity": streams.similarity.get_state(),
        "random": random_state(learner.accelerator.device),
    }


def _restored(state: dict[str, Any], learner: Learner, streams: Streams) -> FitResult:
    """What `_state_of` noted becomes the present."""
    network_of(learner).load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    if learner.adversary:
        learner.adversary.head.load_state_dict(state["adversary"])
    streams.shuffling.set_state(state["shuffling"])
    streams.similarity.set_state(state["similarity"])
    if is_main():  # the others' states are not kept; they go on with new draws
        set_random_state(state["random"], learner.accelerator.device)
    return FitResult(**state["result"])


def _train_epoch(
    learner: Learner, training: ExampleSet, options: FitOptions, streams: Streams, epoch: int
) -> dict[str, float]:
    learner.model.train()
    sums = Sums()
    batches = training.training_batches(
        options.batch_size, options.shuffle, streams.shuffling, rank(), num_processes()
    )
    num_batches = -(-len(training) // options.batch_size)
    bar = tqdm(batches, total=num_batches, unit="batch", leave=False, disable=bars_disabled(None))
    for number, batch in enumerate(bar):
        learner.progress = (epoch + number / num_batches) / options.num_epochs
        outputs, task_loss, similarities = training_step(learner, batch)
        figures = figures_of(task_loss, similarities, learner)
        if learner.task == "classification":
            figures["acc"] = (outputs.argmax(dim=1) == batch.labels).float().mean()
        sums.add(len(batch.rows), figures)
    return sums.means()


def _record(
    history: History, train_figures: dict[str, float], val_figures: dict[str, float]
) -> None:
    sets = {"train": train_figures, "val": val_figures}
    for name in train_figures | val_figures:
        if name == "acc" or name.endswith("loss"):
            for set_name, figures in sets.items():
                if name in figures:
                    history.setdefault(f"{set_name}_{name}_hist", []).append(figures[name])


def _keep_best(result: FitResult, learner: Learner, options: FitOptions, epoch: int) -> None:
    if (epoch + 1) / options.num_epochs < learner.ramp:
        return  # what the penalty leads to is not seen before it has its whole weight
    value = result.history[f"{options.best_metric}_hist"][-1]
    better = (
        value > result.best_value
        if options.best_metric == "val_acc"
        else (value < result.best_value)
    )
    if result.best_epoch >= 0 and not better:
        return
    result.best_epoch, result.best_value = epoch, value
    state = network_of(learner).state_dict()
    result.best_state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _shown(history: History) -> dict[str, str]:
    names = {
        "train_loss_hist": "train loss",
        "val_loss_hist": "val loss",
        "val_acc_hist": "val acc",
    }
    return {shown: f"{history[name][-1]:.3f}" for name, shown in names.items() if name in history}
