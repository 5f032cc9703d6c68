"""The one training loop: pre-training and experiments are the same fit, with and without methods.

It receives finished objects (network, optimizer, sets) and reads no settings.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, manual_seed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from config.errors import UserError
from config.progress import ProgressBar, on_terminal
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
from training.engine.distributed import broadcast, is_main, num_processes, rank, shows_progress
from training.engine.evaluation import MetricSums, evaluate
from training.engine.seeds import RngSeeds
from training.engine.step import Learner, hooks_enabled, training_step
from training.engine.tracking import track_epoch

BestMetric = Literal["val_loss", "val_task_loss", "val_acc", "val_uar"]
History = dict[str, list[float]]


@dataclass(frozen=True)
class FitOptions:
    """How long and by what a network is trained.

    Attributes:
        batch_size: of all processes together.
        patience: epochs without improvement before the training stops; None: it never does.
        best_metric: which metric of the validation set improves.
        train_metrics: full evaluates the training set after each epoch, running averages over its
            batches.
    """

    num_epochs: int
    batch_size: int
    patience: int | None
    best_metric: BestMetric = "val_loss"
    train_metrics: Literal["full", "running"] = "full"
    shuffle: bool = True


@dataclass
class FitResult:
    """What a fit leaves: the history, the best epoch (from 0), and its weights on the CPU.

    seconds: that all epochs took, those before an interruption included.
    """

    history: History = field(default_factory=dict)
    best_epoch: int = -1
    best_value: float = float("nan")
    best_state: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def num_epochs(self) -> int:
        """Count the epochs that are done."""
        return len(self.history.get("train_loss_hist", []))

    def is_finished(self, options: FitOptions) -> bool:
        """Tell whether all epochs are done, or the best one is longer ago than patience allows."""
        waited = self.num_epochs - 1 - self.best_epoch
        if self.best_epoch >= 0 and options.patience and waited >= options.patience:
            return True
        return self.num_epochs >= options.num_epochs


def fit(
    learner: Learner,
    training: ExampleSet,
    validation: ExampleSet,
    options: FitOptions,
    seeds: RngSeeds,
    title: str,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Train until the validation metric stops improving; the best weights are kept.

    With a checkpoint the training goes on from the state that it holds, and ends as it would have
    ended without the interruption: on the CPU bit for bit. Several processes that train together
    have the same history; the main one writes the checkpoint, and all read it.

    After each epoch the history gets, for train and val: loss (task loss plus similarity terms, as
    published), task_loss, acc and uar (classification), and with similarities feature_loss (their
    sum) and one entry for each term. Running averages have no uar.

    Raises:
        UserError: the processes do not see the same checkpoint.
        TrainingError: a penalised layer receives no gradient, the loss is no longer a number or
            explodes, or a penalised layer's activations vanish.
    """
    if options.batch_size % num_processes():
        raise TrainingError(
            f"batch_size = {options.batch_size} cannot be divided among {num_processes()} processes"
        )
    result = FitResult()
    with hooks_enabled(learner.methods):
        prove_gradients(learner, training)
        norms_at_start = activation_norms(learner, training)
        manual_seed(seeds.dropout + rank())  # processes drop other units
        if checkpoint and (state := _common_state(checkpoint)) is not None:
            result = _restore(state, learner, seeds)
            del state  # as large as network and optimizer together
        bar = ProgressBar(options.num_epochs, title, "epoch", result.num_epochs, shows_progress())
        with bar:
            while not result.is_finished(options):
                epoch = result.num_epochs
                started = time.perf_counter()
                train_metrics = _train_epoch(learner, training, options, seeds, epoch)
                seconds = time.perf_counter() - started
                if options.train_metrics == "full":
                    train_metrics = evaluate(learner, training, options.batch_size).metrics
                val_metrics = evaluate(learner, validation, options.batch_size).metrics
                first_loss = result.history.get("train_task_loss_hist", [None])[0]
                refuse_divergence(train_metrics, val_metrics, first_loss, epoch)
                _record(result.history, train_metrics, val_metrics)
                # What a method leads to is not seen before it has its whole weight.
                if (epoch + 1) / options.num_epochs >= learner.ramp:
                    _keep_best(result, learner, options.best_metric, epoch)
                track_epoch(learner, training, options.batch_size, result.history, seconds)
                refuse_vanished(activation_norms(learner, training), norms_at_start)
                bar.advance(note=_shown(result.history))
                result.seconds += time.perf_counter() - started
                if checkpoint and is_main() and not result.is_finished(options):
                    checkpoint.save(_state_of(learner, seeds, result))
    return result


def _train_epoch(
    learner: Learner, training: ExampleSet, options: FitOptions, seeds: RngSeeds, epoch: int
) -> dict[str, float]:
    """Make one pass over the training set; returns means over its batches, each before its step."""
    learner.model.train()
    sums = MetricSums()
    batches = training.training_batches(
        options.batch_size,
        options.shuffle,
        seeds.shuffling,
        rank(),
        num_processes(),
        none_alone=_normalises_batches(learner.network),
        weights=_sampling(learner),
    )
    num_batches = -(-len(training) // options.batch_size)
    is_shown = shows_progress() and on_terminal()
    bar = tqdm(batches, total=num_batches, unit="batch", leave=False, disable=not is_shown)
    for number, batch in enumerate(bar):
        learner.progress = (epoch + number / num_batches) / options.num_epochs
        outputs, metrics = training_step(learner, batch)
        if learner.task == "classification":
            metrics["acc"] = (outputs.argmax(dim=1) == batch.labels).float().mean()
        sums.add(len(batch.rows), metrics)
    return sums.means()


def _sampling(learner: Learner) -> Tensor | None:
    """Return the weights by which a method has training examples drawn, if one does."""
    weights = (method.sampling() for method in learner.methods)
    return next((each for each in weights if each is not None), None)


def _normalises_batches(network: nn.Module) -> bool:
    """Tell whether a network has batch normalisation, which a single example may have none of."""
    return any(isinstance(each, _BatchNorm) for each in network.modules())


def _record(
    history: History, train_metrics: dict[str, float], val_metrics: dict[str, float]
) -> None:
    sets = {"train": train_metrics, "val": val_metrics}
    for name in train_metrics | val_metrics:
        if name in ("acc", "uar") or name.endswith("loss"):
            for set_name, metrics in sets.items():
                if name in metrics:
                    history.setdefault(f"{set_name}_{name}_hist", []).append(metrics[name])


def _keep_best(result: FitResult, learner: Learner, metric: BestMetric, epoch: int) -> None:
    value = result.history[f"{metric}_hist"][-1]
    best = result.best_value
    is_better = value < best if metric.endswith("loss") else value > best
    if result.best_epoch >= 0 and not is_better:
        return
    result.best_epoch, result.best_value = epoch, value
    state = learner.network.state_dict()
    result.best_state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _shown(history: History) -> str:
    """Return the last epoch's metrics, so short that a terminal of 80 columns shows them."""
    names = {"train_loss_hist": "loss", "val_loss_hist": "val", "val_acc_hist": "acc"}
    return ", ".join(
        f"{shown} {history[name][-1]:#.3g}" for name, shown in names.items() if name in history
    )


def _common_state(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Read the last state, which must be the same for all processes."""
    state = checkpoint.read()
    own = None if state is None else state["result"]["history"]
    if broadcast(own) != own:
        raise UserError(
            f"{display_path(checkpoint.path)}: this process does not see what the main process "
            "sees; all must share the results folder"
        )
    return state


def _state_of(learner: Learner, seeds: RngSeeds, result: FitResult) -> dict[str, Any]:
    """Collect everything that the next epoch depends on."""
    return {
        "result": vars(result),
        "model": learner.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "methods": [method.state() for method in learner.methods],
        "shuffling": seeds.shuffling.get_state(),
        "similarity": seeds.similarity.get_state(),
        "random": random_state(learner.accelerator.device),
    }


def _restore(state: dict[str, Any], learner: Learner, seeds: RngSeeds) -> FitResult:
    """Make what `_state_of` collected the present."""
    learner.network.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    for method, stored in zip(learner.methods, state["methods"], strict=True):
        for own, values in zip(method.state(), stored, strict=True):
            own.copy_(values)
    seeds.shuffling.set_state(state["shuffling"])
    seeds.similarity.set_state(state["similarity"])
    if is_main():  # the others' states are not kept; they go on with new draws
        set_random_state(state["random"], learner.accelerator.device)
    return FitResult(**state["result"])
