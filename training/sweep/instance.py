"""One instance of an experiment: its data, network, frozen networks and fit become its result."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.experiments import Instance
from config.files import read_json, write_json
from config.settings import RANDOM, Settings, TrainingDefaults
from config.text import display_path
from preprocessing.pipeline.matrices import Matrices, matrices_name, open_matrices
from preprocessing.pipeline.splits import Split
from training.data.frozen_cache import FeatureStore
from training.engine.checkpoints import Checkpoint
from training.engine.device_memory import free_bytes
from training.engine.devices import choose_precision
from training.engine.distributed import broadcast, is_main, num_processes
from training.engine.fit import FitOptions, Streams
from training.engine.folds import Fold, load_fold, require_classes, train_fold
from training.engine.memory import TrainingPlan, estimate_memory
from training.engine.memory_limits import memory_errors_explained, require_memory
from training.methods.anti_transfer import AntiTransferLoss
from training.methods.gradient_reversal import GradientReversal, domain_labels
from training.models.networks import (
    load_convolutions,
    load_extractor,
    to_device,
    without_classifier,
)
from training.models.registry import architecture_of, build_network, num_parameters
from training.models.weights import load_weights, read_description, save_weights
from training.results.best_run import best_run, initial_weights
from training.results.dictionary import InstanceFiles, instance_fingerprint, write_result
from training.results.loading import ResultReader
from training.similarity.aggregations import POOL

# Parts of a training's memory that are there before it starts.
HELD = ("program",)


@dataclass
class Workshop:
    """What the instances of a sweep share: the device, opened data, frozen networks."""

    device: torch.device
    results: ResultReader = field(default_factory=ResultReader)
    _matrices: dict[Path, Matrices] = field(default_factory=dict)
    _folds: dict[tuple[Any, ...], Fold] = field(default_factory=dict)
    _weights: dict[Path, dict[str, Tensor]] = field(default_factory=dict)
    _frozen: dict[tuple[Any, ...], nn.Module] = field(default_factory=dict)
    _stores: dict[tuple[str, Path], FeatureStore] = field(default_factory=dict)
    _said: set[str] = field(default_factory=lambda: {""})

    def say_once(self, text: str) -> None:
        """Print a line that holds for many instances."""
        if text not in self._said:
            self._said.add(text)
            print(text)

    def matrices(self, settings: Settings, name: str) -> Matrices:
        """A dataset's matrices, opened once."""
        path = settings.preprocessing.output_folder / name
        if path not in self._matrices:
            self._matrices[path] = open_matrices(path.parent, name)
        return self._matrices[path]

    def fold(self, matrices: Matrices, split: Split[str], needed_bytes: int = 0) -> Fold:
        """The sets of a fold, on the device; those of the last fold only are kept."""
        groups = (tuple(split.train), tuple(split.validation), tuple(split.test))
        key = (matrices.folder, matrices.name, matrices.fingerprint, groups)
        if key not in self._folds:
            self._folds.clear()
            self._folds[key] = load_fold(matrices, split, self.device, False, needed_bytes)
        return self._folds[key]

    def require_memory(self, plan: TrainingPlan, batch_size: int) -> int:
        """Bytes that a training needs on the device beyond what is there.

        Raises:
            UserError: it does not have them, not even without what is kept for later instances.
        """
        name = self.device_name
        estimate = estimate_memory(plan, batch_size)
        if estimate.without(HELD) > free_bytes(self.device):
            self._folds.clear()
            for store in self._stores.values():
                store.forget()
            estimate = require_memory(plan, batch_size, free_bytes(self.device), name, HELD)
        return estimate.without(HELD)

    def memory_errors_explained(
        self, plan: TrainingPlan, batch_size: int
    ) -> AbstractContextManager[None]:
        """Within it, running out of memory is a UserError that names a smaller batch size."""
        free = free_bytes(self.device)
        return memory_errors_explained(plan, batch_size, free, self.device_name, HELD)

    @property
    def device_name(self) -> str:
        """For people."""
        return "the CPU" if self.device.type == "cpu" else f"GPU {self.device.index}"

    def weights(self, path: Path) -> dict[str, Tensor]:
        """Parameters that trainings start from; those of the last file only are kept."""
        if path not in self._weights:
            self._weights.clear()
            self._weights[path] = load_weights(path)
        return self._weights[path]

    def frozen_network(
        self, instance: Instance, name: str, streams: Streams, number: int = 0
    ) -> nn.Module:
        """A pre-trained network, or a random one, on the device, which no training changes.

        Args:
            number: of a random network, if an instance has several.
        """
        settings, training = instance.settings, instance.settings.training_defaults
        keeps_classifier = training.at_aggregation == POOL
        num_classes = int(instance.parameters["output_classes"])
        key: tuple[Any, ...] = (settings.extractor_folder(name), training.width, keeps_classifier)
        if name == RANDOM:
            seed = streams.random_network + number
            key = (RANDOM, seed, num_classes, training.width, keeps_classifier)
        if key not in self._frozen:
            network = (
                build_network(
                    architecture_of(num_classes, training.width), streams.random_network + number
                )
                if name == RANDOM
                else load_extractor(settings, name)
            )
            if not keeps_classifier:
                network = without_classifier(network)
            self._forget_random_networks()
            self._frozen[key] = to_device(network, self.device)
        return self._frozen[key]

    def _forget_random_networks(self) -> None:
        """Each seed has another one; those of earlier instances are not needed again."""
        self._frozen = {key: each for key, each in self._frozen.items() if key[0] != RANDOM}

    def feature_store(self, settings: Settings) -> FeatureStore:
        """What the frozen networks gave for the examples so far."""
        mode, folder = settings.training_defaults.at_cache, settings.results.cache_folder
        if (mode, folder) not in self._stores:
            self._stores[mode, folder] = FeatureStore(mode, folder, self.device)
        return self._stores[mode, folder]


def run_instance(
    instance: Instance, files: InstanceFiles, workshop: Workshop, description: str
) -> dict[str, Any]:
    """Train one instance on all its folds and write its result; returns the JSON twin's content.

    What an interrupted run of the same parameters and inputs has done is not done again. Processes
    that have joined run it together: all call this and return the same, and one of them writes.

    Raises:
        UserError: an input is missing or does not fit, or is another one for another process.
        TrainingError: the training diverged; raised in all processes, while of other errors the
            others may know nothing, and wait.
    """
    settings, parameters = instance.settings, instance.parameters
    training = settings.training_defaults
    matrices = workshop.matrices(settings, matrices_name(files.dataset, files.features))
    check_classes(matrices, parameters)
    inputs = input_fingerprints(instance, workshop)
    fingerprint = instance_fingerprint(parameters, inputs)
    if broadcast(fingerprint) != fingerprint:
        raise UserError(
            f"{description}: this process reads other data or extractors than the main process; "
            "all must share their folders"
        )
    splits = matrices.folds(training.fractions, training.num_folds)
    figures = []
    for number, split in enumerate(splits):
        values = broadcast(_finished_fold(files, number, fingerprint))
        if values is None:
            title = f"{description} fold {number}" if len(splits) > 1 else description
            checkpoint = Checkpoint(files.state(number), fingerprint)
            values, state = _run_fold(
                instance, matrices, split, number, workshop, title, checkpoint
            )
            if is_main():
                # From here on the files no longer belong to the result of an earlier run.
                files.json_path.unlink(missing_ok=True)
                save_weights(files.model(number), state)
                record = {"fingerprint": fingerprint, "values": values}
                write_json(files.fold_record(number), record)
                checkpoint.remove()
        figures.append(values)
    num_classes = int(parameters["output_classes"])
    architecture = architecture_of(num_classes, training.width)
    model = {
        "network": architecture["network"],
        "num_parameters": num_parameters(architecture),
        "num_classes": num_classes,
        "classes": matrices.classes,
        **architecture,
        "example_frames": int(matrices.predictors.shape[1]),
        "example_bins": int(matrices.predictors.shape[2]),
        "split": matrices.info["split"],
    }
    result: dict[str, Any] = {}
    if is_main():
        result = write_result(files, figures, parameters, model, inputs)
        forget_unfinished(files, len(splits))
    return broadcast(result)


def forget_unfinished(files: InstanceFiles, num_folds: int) -> None:
    """Remove what only a continuation of an instance needs, once its result is there."""
    for number in range(num_folds):
        files.state(number).unlink(missing_ok=True)
        files.fold_record(number).unlink(missing_ok=True)


def _finished_fold(files: InstanceFiles, number: int, fingerprint: str) -> dict[str, Any] | None:
    """The figures of a fold that an interrupted run of the same instance finished."""
    path = files.fold_record(number)
    if not path.exists() or not files.model(number).exists():
        return None
    record = read_json(path)
    values = record.get("values")
    is_same = record.get("fingerprint") == fingerprint and isinstance(values, dict)
    return values if is_same else None


def check_classes(matrices: Matrices, parameters: Mapping[str, Any]) -> None:
    """Refuse a dataset with another number of classes than the experiment says.

    Raises:
        UserError: names both numbers.
    """
    found, expected = len(matrices.classes), parameters["output_classes"]
    if parameters["task"] == "classification" and found != expected:
        raise UserError(
            f"{matrices.name}: holds {found} classes, the experiment's output_classes is {expected}"
        )


def input_fingerprints(instance: Instance, workshop: Workshop) -> dict[str, str]:
    """What an instance reads: its data, and the weights of other networks."""
    settings, training = instance.settings, instance.settings.training_defaults
    name = matrices_name(instance.parameters["dataset"], instance.parameters["features_type"])
    inputs = {"data": workshop.matrices(settings, name).fingerprint}
    for extractor in training.extractors:
        description = read_description(settings.extractor_folder(extractor))
        inputs[f"extractor {extractor}"] = description["weights_fingerprint"]
    if training.source_experiment is not None:
        best = best_run(settings, workshop.results)
        inputs[str(training.at_pretraining)] = best["fingerprint"]
    return inputs


def _run_fold(
    instance: Instance,
    matrices: Matrices,
    split: Split[str],
    number: int,
    workshop: Workshop,
    title: str,
    checkpoint: Checkpoint,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train on one fold; returns its entry of the dictionary and the best weights."""
    settings, training = instance.settings, instance.settings.training_defaults
    plan = memory_plan(instance, matrices, workshop.device)
    needed_bytes = workshop.require_memory(plan, training.batch_size)
    fold = workshop.fold(matrices, split, needed_bytes)
    if instance.parameters["task"] == "classification":
        workshop.say_once(require_classes(fold, matrices))
    streams = Streams.from_seed(training.seed, number)
    architecture = architecture_of(int(instance.parameters["output_classes"]), training.width)
    model = build_network(architecture, streams.initialization)
    source = initial_weights(settings, workshop.results, number)
    if source is not None:
        load_convolutions(model, workshop.weights(source), display_path(source))
    model = to_device(model, workshop.device)
    penalties = _penalties(model, instance, streams, workshop) if training.anti_transfer else []
    adversary = _adversary(model, training, matrices, fold, streams)
    options = FitOptions(
        num_epochs=training.num_epochs,
        batch_size=training.batch_size,
        patience=training.patience if training.early_stopping else None,
        best_metric=training.save_best_model_metric,
        train_metrics=training.train_metrics,
        shuffle=training.shuffle_training_data,
        task=instance.parameters["task"],
    )
    log_folder = settings.results.results_folder / "tracking"
    with workshop.memory_errors_explained(plan, training.batch_size):
        return train_fold(
            model,
            penalties,
            fold,
            options,
            training,
            streams,
            log_folder,
            title,
            workshop.feature_store(settings),
            checkpoint,
            needed_bytes,
            adversary,
        )


def memory_plan(instance: Instance, matrices: Matrices, device: torch.device) -> TrainingPlan:
    """What decides how much memory an instance's training needs."""
    training = instance.settings.training_defaults
    _, num_frames, num_bins = matrices.predictors.shape
    plan = TrainingPlan.from_settings(
        training,
        int(instance.parameters["output_classes"]),
        num_frames,
        num_bins,
        "cuda" if device.type == "cuda" else "cpu",
        choose_precision(training.precision, device),
    )
    return replace(plan, num_processes=num_processes())


def _penalties(
    model: nn.Module, instance: Instance, streams: Streams, workshop: Workshop
) -> list[AntiTransferLoss]:
    """One similarity term for each network of at_dataset, each with its own layers and beta."""
    training = instance.settings.training_defaults
    networks = training.at_dataset
    layers = training.at_layer * (len(networks) if len(training.at_layer) == 1 else 1)
    betas = training.at_beta * (len(networks) if len(training.at_beta) == 1 else 1)
    return [
        AntiTransferLoss(
            model,
            workshop.frozen_network(instance, name, streams, networks[:number].count(name)),
            layers=layers[number],
            aggregation=training.at_aggregation,
            distance=training.at_distance,
            beta=betas[number],
            tap=training.at_tap,
            name=_term_name(networks, number),
            generator=streams.similarity,
        )
        for number, name in enumerate(networks)
    ]


def _term_name(networks: Sequence[str], number: int) -> str:
    """The network's name; the second random one is random2."""
    earlier = networks[:number].count(networks[number])
    return networks[number] + (str(earlier + 1) if earlier else "")


def _adversary(
    model: nn.Module, training: TrainingDefaults, matrices: Matrices, fold: Fold, streams: Streams
) -> GradientReversal | None:
    """What gradient reversal needs, if it is asked for."""
    label, layer = training.gradient_reversal_label, training.gradient_reversal_layer
    if label is None or layer is None:
        return None
    domains = domain_labels(matrices, fold.sets["training"].rows, label)
    weight = training.gradient_reversal_weight
    return GradientReversal(model, layer, domains, label, weight, streams.adversary)
