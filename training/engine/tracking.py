"""What a tracker (TensorBoard and others, through Accelerate) is told after each epoch.

A tracked training computes the same numbers as one that is not.
"""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import UserError
from config.text import shorten
from training.engine.distributed import is_main

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from config.settings import TrainingDefaults
    from training.data.batches import Batch, ExampleSet
    from training.engine.step import Learner

PROJECT = "anti-transfer"
TRACKER_ERRORS = {
    "wandb": ("wandb.errors", "Error"),
    "mlflow": ("mlflow.exceptions", "MlflowException"),
}


def tracker_problem(tracker: str) -> str:
    """Say that the package of a tracker is not installed; "": it is, or none is needed."""
    spec = None if tracker == "none" else find_spec(tracker)
    # A folder of logs that has the package's name is found as well, but has no origin.
    if tracker == "none" or (spec is not None and spec.origin):
        return ""
    return f"[training_defaults] tracker = {tracker}: its package is not installed"


def start_tracking(accelerator: "Accelerator", title: str, training: "TrainingDefaults") -> None:
    """Name a run after what the progress bar shows, with the parameters it has.

    Raises:
        UserError: the tracker cannot start; says why.
    """
    if training.tracker == "none":
        return
    parameters = training.model_dump()
    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in parameters.items()
    }
    # Comments of an experiment file are in it, and it becomes the name of a folder.
    run = re.sub(r"[^\w=-]+", "_", title)
    folder = Path(str(accelerator.logging_dir))
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
    named = {"wandb": {"name": run, "dir": str(folder)}, "mlflow": {"run_name": run}}
    # TensorBoard knows runs alone; the others put the runs of a project together.
    project = run if training.tracker == "tensorboard" else PROJECT
    try:
        accelerator.init_trackers(project, config=plain, init_kwargs=named)
    except _errors_of(training.tracker) as error:
        name = training.tracker
        raise UserError(
            f"[training_defaults] tracker = {name}: cannot start: {shorten(error)}"
        ) from None


def _errors_of(tracker: str) -> tuple[type[Exception], ...]:
    """Return what a tracker raises if its files or its server cannot be reached."""
    if tracker not in TRACKER_ERRORS:
        return (OSError,)
    module, name = TRACKER_ERRORS[tracker]
    return (OSError, getattr(import_module(module), name))


def track_epoch(
    learner: "Learner",
    training: "ExampleSet",
    batch_size: int,
    history: Mapping[str, Sequence[float]],
    seconds: float,
) -> None:
    """Tell the tracker, if there is one, of the last epoch.

    Args:
        history: train_loss_hist and so on, the last epoch's values last.
        seconds: that the epoch's steps took.
    """
    if not learner.accelerator.log_with or not is_main():
        return
    metrics = {_tracked_name(name): values[-1] for name, values in history.items()}
    metrics["learning_rate"] = float(learner.optimizer.param_groups[0]["lr"])
    metrics["examples_per_second"] = len(training) / max(seconds, 1e-9)
    pulls = gradient_norms(learner, training, batch_size)
    metrics |= {f"gradient_norm/{name}": value for name, value in pulls.items()}
    num_epochs = max(map(len, history.values()))
    learner.accelerator.log(metrics, step=num_epochs - 1)


def _tracked_name(key: str) -> str:
    """Turn train_task_loss_hist into task_loss/train: trackers draw what begins alike together."""
    set_name, _, metric = key.removesuffix("_hist").partition("_")
    return f"{metric}/{set_name}"


def gradient_norms(learner: "Learner", training: "ExampleSet", batch_size: int) -> dict[str, float]:
    """Measure how strongly the task and each similarity pull at the tapped activations.

    Euclidean norms over the first batch of the training set, in evaluation mode, so that nothing
    random is drawn from the training's streams. Empty without a similarity; methods must be open.
    """
    similarities = learner.similarities
    if not similarities:
        return {}
    network = learner.network
    states = [similarity.generator.get_state() for similarity in similarities]
    was_training = network.training
    try:
        network.eval()
        return _pulls(learner, network, next(training.batches(batch_size)))
    finally:
        network.train(was_training)
        for similarity, state in zip(similarities, states, strict=True):
            similarity.generator.set_state(state)
            similarity.taps.clear()


def _pulls(learner: "Learner", network: "nn.Module", batch: "Batch") -> dict[str, float]:
    import torch

    from training.engine.step import task_loss_of

    pulls = {}
    with torch.enable_grad(), learner.accelerator.autocast():
        outputs = network(batch.inputs)
        task_loss = task_loss_of(outputs.float(), batch.labels, learner.task)
        for similarity in learner.similarities:
            activations = similarity.taps.take()
            frozen = similarity.aggregates_of(batch)
            terms = similarity.layer_losses(activations, frozen, batch.labels)
            for layer, term in terms.items():
                name = similarity.term_name(layer)
                for what, value in (("penalty", term), ("task", task_loss)):
                    pulls[f"{what}_{name}"] = _pull(value, activations[layer])
    return pulls


def _pull(value: "Tensor", activation: "Tensor") -> float:
    """Return the gradient's norm; 0 where the value does not depend on the activation."""
    import torch

    gradient = None
    if value.requires_grad and activation.requires_grad:
        (gradient,) = torch.autograd.grad(value, activation, retain_graph=True, allow_unused=True)
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient.double()))
