"""Whether networks, their layers and the data go together, seen before anything is trained."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.settings import Settings
from config.text import display_path
from preprocessing.pipeline.matrices import Matrices
from training.methods.anti_transfer import similarities
from training.methods.kinds import SIMILARITY
from training.models.frozen import start_of
from training.models.loading import load_trunk
from training.models.registry import (
    Architecture,
    build_network,
    check_outputs,
    example_batch,
    trained_architecture,
)
from training.similarity.aggregations import AGGREGATIONS
from training.similarity.taps import activations_until, penultimate_features
from training.sweep.input_cache import InputCache
from training.sweep.run_context import RunContext
from training.sweep.runs import Run, matrices_of

# Of [training_defaults], what decides which layers of which networks are compared, and how.
DECIDING = {
    *(
        "anti_transfer",
        "at_method",
        "at_dataset",
        "at_layer",
        "at_frozen_layer",
        "at_tap",
        "at_aggregation",
    ),
    *("at_distance", "at_pretraining", "gradient_reversal_layer"),
}


def check_networks(runs: Iterable[Run], inputs: InputCache) -> None:
    """Make a small forward pass for each way in which runs use networks.

    Raises:
        UserError: a factory makes no such network as it must, a network does not take the data, a
            layer is unknown, weights do not fit, or layers cannot be compared; names the
            experiment. What the code of a network raises is not caught.
    """
    build, context = cache(build_network), RunContext(torch.device("cpu"), inputs)
    known: set[Any] = set()
    for run in runs:
        settings = run.instance.settings
        architecture = trained_architecture(run.instance)
        matrices = inputs.matrices(*matrices_of(run.instance))
        deciding = repr(settings.training_defaults.model_dump(include=DECIDING))
        way = architecture, matrices.predictors.shape[1:], deciding
        if way not in known:
            known.add(way)
            try:
                _check_way(settings, architecture, matrices, build, context)
            except UserError as error:
                place = f"{display_path(run.experiment.file)} (instance {run.instance.number})"
                raise UserError(f"{place}: {error}") from error


def _check_way(
    settings: Settings,
    architecture: Architecture,
    matrices: Matrices,
    build: Callable[[Architecture, int], nn.Module],
    context: RunContext,
) -> None:
    """Check one way; build: makes a network of an architecture and a seed, each once."""
    training = settings.training_defaults
    example = example_batch(matrices.predictors.shape)
    model = build(architecture, 0)
    check_outputs(model, architecture, example)
    if training.gradient_reversal_layer is not None:
        activations_until(model, example, training.gradient_reversal_layer)

    def frozen(name: str, number: int) -> nn.Module | Tensor:
        return context.frozen(settings, name, matrices, architecture, number)

    is_similarity = training.anti_transfer and training.at_method == SIMILARITY
    if training.anti_transfer and not is_similarity:
        if layers := [layer for group in training.at_layer for layer in group]:
            activations_until(model, example, layers)
        for name in training.at_dataset:
            if isinstance(network := frozen(name, 0), nn.Module):
                penultimate_features(network, [example], f"frozen network {name}")
    losses = similarities(model, training, frozen, torch.Generator()) if is_similarity else []
    for loss in losses:
        with loss, torch.no_grad():
            model(example)
            aggregates = {} if loss.kept else loss.frozen_aggregates(example)
            if not AGGREGATIONS[loss.aggregation].gives_features:
                loss.penalty(aggregates)
    if start := start_of(settings):
        load_trunk(model, start.load().state_dict(), display_path(start.weights))
