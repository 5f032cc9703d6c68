"""Whether networks, their layers and the data go together, seen before anything is trained."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from config.errors import UserError
from config.settings import Settings, is_untrained
from config.text import display_path
from preprocessing.pipeline.matrices import Matrices
from training.methods import MethodInputs, anti_transfer
from training.models.loading import (
    frozen_architecture,
    load_frozen,
    load_trunk,
    untrained_architecture,
)
from training.models.registry import (
    Architecture,
    build_network,
    check_outputs,
    example_batch,
    trained_architecture,
)
from training.similarity.aggregations import AGGREGATIONS
from training.similarity.taps import activations_until
from training.sweep.input_cache import InputCache
from training.sweep.runs import Run, matrices_of

# Of [training_defaults], what decides which layers of which networks are compared, and how.
DECIDING = {
    *("anti_transfer", "at_dataset", "at_layer", "at_frozen_layer", "at_tap", "at_aggregation"),
    *("at_distance", "at_pretraining", "gradient_reversal_layer"),
}


def check_networks(runs: Iterable[Run], inputs: InputCache) -> None:
    """Make a small forward pass for each way in which runs use networks.

    Raises:
        UserError: a factory makes no such network as it must, a network does not take the data, a
            layer is unknown, weights do not fit, or layers cannot be compared; names the
            experiment. What the code of a network raises is not caught.
    """
    build = cache(build_network)
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
                _check_way(settings, architecture, matrices, build)
            except UserError as error:
                place = f"{display_path(run.experiment.file)} (instance {run.instance.number})"
                raise UserError(f"{place}: {error}") from error


def _check_way(
    settings: Settings,
    architecture: Architecture,
    matrices: Matrices,
    build: Callable[[Architecture, int], nn.Module],
) -> None:
    """Check one way; build: makes a network of an architecture and a seed, each once."""
    training = settings.training_defaults
    example = example_batch(matrices.predictors.shape)
    model = build(architecture, 0)
    check_outputs(model, architecture, example)
    if training.gradient_reversal_layer is not None:
        activations_until(model, example, training.gradient_reversal_layer)

    def frozen(name: str, _: int) -> nn.Module | Tensor:
        if settings.embedding(name) is not None:
            return torch.zeros(len(example), 1)
        if name in settings.networks:
            return load_frozen(settings, name)  # what it holds must fit
        if is_untrained(name):
            return build(untrained_architecture(settings, name, architecture), 1)
        return build(frozen_architecture(settings, name), 1)

    rows = np.array([], dtype=np.int64)
    draws = torch.Generator()
    methods = MethodInputs(model, training, matrices, rows, frozen, draws, 0)
    for loss in anti_transfer.build(methods):
        with loss, torch.no_grad():
            model(example)
            aggregates = {} if loss.kept else loss.frozen_aggregates(example)
            if not AGGREGATIONS[loss.aggregation].gives_features:
                loss.penalty(aggregates)
    source = training.source_extractor
    if source in settings.networks:
        load_trunk(model, load_frozen(settings, source).state_dict(), f"[network {source}]")
