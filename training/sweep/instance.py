"""One instance of an experiment: its data, network, methods and fit become its result."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from torch import Tensor, nn

from config.errors import UserError
from config.experiments import Instance
from config.files import read_json, write_json
from config.provenance import provenance
from config.text import display_path
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.shortcut_sampler import own_values, shortcut_of
from training.engine.checkpoints import Checkpoint
from training.engine.distributed import broadcast, is_main
from training.engine.fit import FitOptions
from training.engine.folds import (
    Fold,
    Trained,
    build_learner,
    require_classes,
    train_fold,
    train_in_memory,
)
from training.engine.seeds import RngSeeds
from training.engine.subsets import group_results
from training.methods import Method, MethodInputs
from training.methods.kinds import build_methods
from training.models.description import describe_model
from training.models.frozen import start_of
from training.models.loading import load_trunk, to_device
from training.models.registry import build_network, num_parameters, trained_architecture
from training.models.weights import is_whole, save_model
from training.results.best_run import initial_weights
from training.results.dictionary import InstanceFiles, instance_fingerprint, write_result
from training.results.predictions import join_predictions, write_predictions
from training.similarity.aggregations import POOL
from training.sweep.inputs import confounder_of, input_fingerprints
from training.sweep.run_context import RunContext
from training.sweep.runs import matrices_of
from training.sweep.shortcut import knowledge_of, measure_shortcuts


def run_instance(
    instance: Instance, files: InstanceFiles, context: RunContext, title: str
) -> dict[str, Any]:
    """Train one instance on all its folds and write its result; returns the JSON's content.

    What an interrupted run of the same parameters and inputs has done is not done again. Processes
    that have joined run it together: all call this and return the same, and one of them writes.

    Raises:
        UserError: an input is missing or does not fit, or is another one for another process.
        TrainingError: the training diverged; raised in all processes, while of other errors the
            others may know nothing, and wait.
    """
    started = datetime.now(UTC)
    parameters, training = instance.parameters, instance.settings.training_defaults
    matrices = context.inputs.matrices(*matrices_of(instance))
    inputs = input_fingerprints(instance, context.inputs)
    fingerprint = instance_fingerprint(parameters, inputs)
    if broadcast(fingerprint) != fingerprint:
        raise UserError(
            f"{title}: this process reads other data or extractors than the main process; "
            "all must share their folders"
        )
    splits = matrices.folds(training.fractions, training.num_folds)
    folds = []
    for number, split in enumerate(splits):
        values = broadcast(_finished_fold(files, number, fingerprint))
        if values is None:
            fold_title = f"{title} fold {number}" if len(splits) > 1 else title
            checkpoint = partial(Checkpoint, files.state(number), fingerprint)
            fold_run = _FoldRun(instance, matrices, split, number, fold_title, checkpoint, context)
            trained = train_in_memory(
                fold_run.train, training.batch_size, fold_title, context.forget
            )
            values = trained.values
            if is_main():
                fold_run.save(trained, files, fingerprint)
        folds.append(values)
    result: dict[str, Any] = {}
    if is_main():
        parts = [files.fold_predictions(number) for number in range(len(splits))]
        join_predictions(files.predictions, parts)
        seconds = sum(fold.pop("seconds") for fold in folds)
        result = write_result(
            files,
            folds,
            parameters,
            _model_of(instance, matrices),
            inputs,
            provenance(context.device, started, seconds),
        )
        forget_unfinished(files, len(splits))
    return broadcast(result)


def _model_of(instance: Instance, matrices: Matrices) -> dict[str, Any]:
    """Describe the trained network for the result."""
    architecture = trained_architecture(instance)
    return {
        "network": instance.settings.trained_network.name,
        "num_parameters": num_parameters(architecture),
        "num_classes": architecture.options["num_classes"],
        "classes": matrices.classes,
        **architecture.described(),
        "example_frames": int(matrices.predictors.shape[1]),
        "example_bins": int(matrices.predictors.shape[2]),
        "split": matrices.info["split"],
    }


def forget_unfinished(files: InstanceFiles, num_folds: int) -> None:
    """Remove what only a continuation of an instance needs, once its result is there."""
    for number in range(num_folds):
        files.state(number).unlink(missing_ok=True)
        files.fold_record(number).unlink(missing_ok=True)
        files.fold_predictions(number).unlink(missing_ok=True)


def _finished_fold(files: InstanceFiles, number: int, fingerprint: str) -> dict[str, Any] | None:
    """Read the metrics of a fold that an interrupted run of the same instance finished.

    One of an older version, without predictions, is trained again.
    """
    path, predictions = files.fold_record(number), files.fold_predictions(number)
    if not path.exists() or not predictions.exists() or not is_whole(files.model(number)):
        return None
    try:
        record = read_json(path)
    except UserError:
        return None  # the fold is trained again
    values = record.get("values")
    is_same = record.get("fingerprint") == fingerprint and isinstance(values, dict)
    return values if is_same else None


@dataclass(frozen=True)
class _FoldRun:
    """One fold of an instance, before anything of it is on the device."""

    instance: Instance
    matrices: Matrices
    split: Split[str]
    number: int
    title: str
    checkpoint: Callable[[int], Checkpoint]
    context: RunContext

    def train(self, batch_size: int) -> Trained:
        """Train from the start, or from where a run with this batch size was interrupted."""
        settings, training = self.instance.settings, self.instance.settings.training_defaults
        task = self.instance.parameters["task"]
        fold = self._fold()
        if task == "classification":
            self.context.say_once(require_classes(fold, self.matrices))
        seeds = RngSeeds.from_seed(training.seed, self.number)
        strengths = measure_shortcuts(self.instance, fold, seeds.random_network, self.context)
        model = self._network(seeds)
        methods = self._methods(model, fold, seeds)
        log_folder = settings.results.results_folder / "tracking"
        learner = build_learner(model, methods, task, training, log_folder, self.title)
        if training.at_cache == "auto":
            for similarity in (each for each in learner.similarities if each.kept is None):
                similarity.kept = self.context.frozen_cache.aggregates_of(
                    similarity,
                    fold.sets,
                    fold.fingerprint,
                    learner.precision,
                    learner.accelerator.autocast,
                )
        options = FitOptions(
            num_epochs=training.num_epochs,
            batch_size=batch_size,
            patience=training.patience if training.early_stopping else None,
            best_metric=training.save_best_model_metric,
            train_metrics=training.train_metrics,
            shuffle=training.shuffle_training_data,
        )
        checkpoint = self.checkpoint(batch_size)
        trained = train_fold(learner, fold, options, seeds, self.title, checkpoint)
        confounder, usual = confounder_of(self.instance), None
        if training.confounder:
            usual = own_values(self.matrices, self.split, confounder)
        of_groups = group_results(self.matrices, trained.evaluations, confounder, usual)
        if strengths:
            of_groups["shortcut"] = [each.model_dump() for each in strengths]
        return trained._replace(values=trained.values | of_groups)

    def _fold(self) -> Fold:
        shortcut = shortcut_of(self.instance.parameters)
        return self.context.fold(self.matrices, self.split, shortcut)

    def save(self, trained: Trained, files: InstanceFiles, fingerprint: str) -> None:
        """Write weights and predictions and, last, the record that marks the fold finished."""
        # From here on the files no longer belong to the result of an earlier run.
        files.json_path.unlink(missing_ok=True)
        files.fold_record(self.number).unlink(missing_ok=True)
        described = self.describe(files, fingerprint, trained.values["numeric_precision"])
        save_model(files.model(self.number), trained.state, described)
        is_one_of_many = self.instance.settings.training_defaults.num_folds > 1
        write_predictions(
            files.fold_predictions(self.number),
            trained.evaluations,
            self.matrices,
            self.number if is_one_of_many else None,
        )
        record = {"fingerprint": fingerprint, "values": trained.values}
        write_json(files.fold_record(self.number), record)
        files.state(self.number).unlink(missing_ok=True)

    def describe(self, files: InstanceFiles, fingerprint: str, precision: str) -> dict[str, Any]:
        """Describe the trained network for those who use it elsewhere."""
        training = self.instance.settings.training_defaults
        frozen = training.at_dataset if training.anti_transfer else ()
        normalization = self._fold().normalization
        return {
            "name": f"{files.stem}_fold{self.number}",
            **describe_model(
                trained_architecture(self.instance), self.matrices, normalization, False, precision
            ),
            "experiment": files.experiment,
            "number": files.number,
            "fold": self.number,
            "fingerprint": fingerprint,
            "frozen_networks": list(frozen),
            "tapped_layers": [list(layers) for layers in training.layers if frozen],
            "starts_from": training.at_pretraining,
            "gradient_reversal_layer": training.gradient_reversal_layer,
        }

    def _network(self, seeds: RngSeeds) -> nn.Module:
        """Build the network that is trained, with its first weights, on the device."""
        settings, inputs = self.instance.settings, self.context.inputs
        model = build_network(trained_architecture(self.instance), seeds.initialization)
        source = initial_weights(settings, inputs.results, self.number)
        if source is not None:
            start = start_of(settings)
            state = inputs.weights(source, start.remedy if start else "")
            load_trunk(model, state, display_path(source))
        return to_device(model, self.context.device)

    def _methods(self, model: nn.Module, fold: Fold, seeds: RngSeeds) -> list[Method]:
        """Build what trains the network away from what it should not use."""
        settings, own = self.instance.settings, trained_architecture(self.instance)
        keeps_head = settings.training_defaults.at_aggregation == POOL
        names = settings.training_defaults.at_dataset
        known = knowledge_of(self.instance, names, seeds.random_network)

        def frozen(name: str, number: int) -> nn.Module | Tensor:
            seed = seeds.random_network + number
            return self.context.frozen(settings, name, self.matrices, own, seed, keeps_head)

        inputs = MethodInputs(
            model,
            settings.training_defaults,
            self.matrices,
            fold.sets,
            frozen,
            seeds.similarity,
            seeds.adversary,
            partial(self.context.knowledge, known, fold),
            partial(self.context.expert, known, fold),
        )
        return build_methods(inputs)
