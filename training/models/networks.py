"""Networks of a run: freshly drawn, started from other weights, or frozen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.settings import Settings, display_path
from training.engine.fit import Streams
from training.models.vgg import VGG16, load_convolutions, load_whole
from training.models.weights import WEIGHTS_FILE, read_description
from training.results.dictionary import InstanceFiles
from training.results.loading import ResultReader

ReadWeights = Callable[[Path], dict[str, Tensor]]


def build_network(num_classes: int, width: float, streams: Streams) -> VGG16:
    """A network whose weights depend on the initialization stream alone."""
    return random_network(num_classes, width, streams.initialization)


def placed(model: VGG16, device: torch.device) -> VGG16:
    """The network on a device, with the channels innermost, where convolutions are faster."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device)


def start_from_source(
    model: VGG16,
    settings: Settings,
    read_weights: ReadWeights,
    reader: ResultReader,
    fold: int = 0,
) -> None:
    """Weight initialization: the convolutions of an extractor, or of an experiment's best run."""
    training = settings.training_defaults
    if training.source_experiment is not None:
        path = files_of_best_run(settings, reader).model(fold)
    elif training.source_extractor is not None:
        path = settings.extractor_folder(training.source_extractor) / WEIGHTS_FILE
    else:
        return
    load_convolutions(model, read_weights(path), display_path(path))


def files_of_best_run(settings: Settings, reader: ResultReader) -> InstanceFiles:
    """Where the best instance of the experiment that at_pretraining names lies.

    Raises:
        UserError: the experiment has no finished instance.
    """
    result = best_run(settings, reader)
    parameters, source = result["parameters"], settings.training_defaults.source_experiment
    return InstanceFiles(
        settings.results.results_folder,
        source or 0,
        int(result["number"]),
        parameters["dataset"],
        parameters["features_type"],
    )


def best_run(settings: Settings, reader: ResultReader) -> dict[str, Any]:
    """The best instance of the experiment that at_pretraining names, without its histories.

    The best is that of the highest validation accuracy (regression: of the lowest loss).

    Raises:
        UserError: the experiment has no finished instance.
    """
    source = settings.training_defaults.at_pretraining
    identifier = settings.training_defaults.source_experiment
    features_type = settings.feature_extraction.features_type
    found = (
        [] if identifier is None else reader.find_all(settings.results.results_folder, identifier)
    )
    results = [result for result in found if result["parameters"]["features_type"] == features_type]
    if not results:
        raise UserError(
            f"at_pretraining = {source}: experiment {identifier} has no finished instance with "
            f"features_type = {features_type}; run "
            f"python experiments_manager.py [{identifier}] 0"
        )
    if results[0]["parameters"]["task"] == "classification":
        return max(results, key=lambda result: result["summary"]["validation"]["mean_acc"])
    return min(results, key=lambda result: result["summary"]["validation"]["mean_loss"])


def random_network(num_classes: int, width: float, seed: int) -> VGG16:
    """A network that nothing trained: the control for a frozen one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VGG16(num_classes, in_channels=1, width=width)


def load_extractor(settings: Settings, name: str, read_weights: ReadWeights) -> VGG16:
    """A pre-trained network that is complete and of the width of this run.

    Raises:
        UserError: it is missing, its architecture is another one, or a weight is missing.
    """
    folder = settings.extractor_folder(name)
    architecture = read_description(folder)["architecture"]
    width = settings.training_defaults.width
    expected = {"network": "vgg16", "in_channels": 1, "width": width}
    for key, value in expected.items():
        if architecture.get(key) != value:
            raise UserError(
                f"{display_path(folder)}: {key} of the extractor is {architecture.get(key)}, this "
                f"run's is {value}; train it again: python pretraining/pretrain_vgg_{name}.py"
            )
    with torch.random.fork_rng(devices=[]):
        frozen = VGG16(int(architecture["num_classes"]), in_channels=1, width=width)
    path = folder / WEIGHTS_FILE
    load_whole(frozen, read_weights(path), display_path(path))
    return frozen


def without_classifier(network: VGG16) -> VGG16:
    """The convolutions alone: the classifier is nine tenths of the network's memory."""
    network.classifier = nn.Sequential()
    return network
