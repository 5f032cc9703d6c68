"""Trained networks on their test sets: what linear probes read from each layer, and how alike the
layers are to those of frozen networks.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from torch import Tensor, nn

from config.advice import run_again
from config.errors import UserError
from config.files import waited_for, write_json
from config.log import logger
from config.networks import PUBLISHED_NETWORK
from config.progress import ProgressBar
from config.provenance import provenance
from config.text import display_path
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.shortcut_sampler import rows_of_sets, shortcut_of
from training.engine.seeds import RngSeeds
from training.models.frozen import source_of
from training.models.loading import load_whole, to_device
from training.models.registry import Architecture, architecture_of, build_network
from training.models.weights import load_weights, weights_at
from training.probing import probes
from training.probing.files import invariance_path, is_analysed
from training.probing.labels import TARGET_LABEL, described, labels_of
from training.probing.probes import ProbePlan, probe_accuracy
from training.probing.representations import batch_size_for, layer_contents, layers_of
from training.sweep.inputs import preparation_of
from training.sweep.run_context import RunContext
from training.sweep.runs import Run, matrices_of

# Changes when the same files would give other values.
VERSION = 2


@dataclass(frozen=True)
class _Task:
    """A finished instance to be analysed.

    Attributes:
        result: what its JSON file holds.
        roles: of each label, orthogonal or target.
        settings: what decides the values besides the result; kept in the file.
    """

    run: Run
    result: Mapping[str, Any]
    matrices: Matrices
    splits: Sequence[Split[str]]
    roles: dict[str, str]
    settings: dict[str, Any]

    @property
    def path(self) -> Path:
        """Return where its analysis lies."""
        return invariance_path(self.run.files)

    @property
    def is_done(self) -> bool:
        """Whether its analysis is there."""
        return is_analysed(self.path, self.result["fingerprint"], self.settings)

    @property
    def architecture(self) -> Architecture:
        """Return what its network is built from."""
        parameters, settings = self.result["parameters"], self.run.instance.settings
        return architecture_of(
            settings.trained_network, int(parameters["output_classes"]), parameters["width"]
        )


class Analyst:
    """Analyses instances one after the other.

    Args:
        context: the device, and what instances share.
        labels: columns of the index to probe for; empty: each dataset's orthogonal labels.
        frozen_names: networks to compare with, by dataset.
        report: told of everything that is skipped, with the reason.
    """

    def __init__(
        self,
        context: RunContext,
        labels: Sequence[str],
        frozen_names: Mapping[str, Sequence[str]],
        report: Callable[[str], None],
    ) -> None:
        self._context = context
        self._labels = tuple(labels)
        self._frozen_names = frozen_names
        self._report = report

    def analyse_all(
        self, finished: Sequence[tuple[Run, Mapping[str, Any]]], overwrite: bool
    ) -> None:
        """Analyse what is not analysed yet, and write it.

        Args:
            finished: instances with their results.
            overwrite: whether to analyse the others again.

        Raises:
            UserError: a dataset has no column of that name.
        """
        tasks = [task for each in finished if (task := self._task(*each)) is not None]
        bare = [task for task in tasks if "orthogonal" not in task.roles.values()]
        for name in dict.fromkeys(task.matrices.name for task in bare):
            logger.info(
                f"{name}: names no orthogonal labels, so only the target is probed; "
                "prepare it again, or choose some with --labels"
            )
        todo = [task for task in tasks if overwrite or not task.is_done]
        logger.info(f"{len(tasks) - len(todo)} of {len(tasks)} are analysed, {len(todo)} to do")
        total = sum(len(task.splits) for task in todo)
        with ProgressBar(total, "invariance", "network") as bar:
            for task in todo:
                lock = task.path.with_name(f".{task.path.stem}.lock")
                try:
                    with waited_for(lock, f"invariance of {task.run.title}"):
                        if overwrite or not task.is_done:
                            write_json(task.path, self._analyse(task, bar.advance))
                except UserError as error:
                    self._report(f"skipped: {task.run.title}: {error}")

    def _task(self, run: Run, result: Mapping[str, Any]) -> _Task | None:
        """Return what is to be done for an instance; None, and a report, if nothing can be.

        Raises:
            UserError: a column that was asked for is none.
        """
        parameters = result["parameters"]
        try:
            matrices = self._open(run, result)
            fractions = (
                float(parameters["train_split"]),
                float(parameters["validation_split"]),
                float(parameters["test_split"]),
            )
            splits = matrices.folds(fractions, int(parameters["num_folds"]))
            frozen = self._frozen_fingerprints(run, result)
        except UserError as error:
            self._report(f"skipped: {run.title}: {error}")
            return None
        for name in self._labels:
            matrices.require_column(name, "--labels")
        roles = dict.fromkeys(self._labels or matrices.orthogonal_labels, "orthogonal")
        if parameters["task"] == "classification":
            roles[TARGET_LABEL] = "target"
        settings = {
            "version": VERSION,
            "labels": roles,
            "frozen": frozen,
            "num_folds": probes.NUM_FOLDS,
            "regularization": probes.REGULARIZATION,
            "seed": probes.SEED,
        }
        return _Task(run, result, matrices, splits, roles, settings)

    def _open(self, run: Run, result: Mapping[str, Any]) -> Matrices:
        """Open the data that an instance was trained on.

        Raises:
            UserError: they are gone, or others now.
        """
        parameters = result["parameters"]
        try:
            matrices = self._context.inputs.matrices(*matrices_of(run.instance))
        except UserError as error:
            raise UserError(f"{error}; prepare it again: {preparation_of(run)}") from None
        if result["inputs"].get("data") != matrices.fingerprint:
            raise UserError(f"was trained on another version of {matrices.name}; {_run_again(run)}")
        stored = {"network": PUBLISHED_NETWORK, **parameters}
        for key in ("network", "width"):
            was, now = stored[key], getattr(run.instance.settings.training_defaults, key)
            if was != now:
                raise UserError(
                    f"was trained with {key} = {was}, asked for is {now}; --set {key}={was}"
                )
        return matrices

    def _frozen_fingerprints(self, run: Run, result: Mapping[str, Any]) -> dict[str, str]:
        """Identify the frozen networks to compare with; one that is not there is reported."""
        found = {}
        for name in self._frozen_names[run.files.dataset]:
            source = source_of(run.instance.settings, name)
            if source.is_untrained:
                found[name] = f"seed {result['parameters']['seed']}"
                continue
            try:
                read = source.fingerprints(self._context.inputs)
            except UserError as error:
                self._report(f"no comparison with {name}: {error}")
                continue
            if (result["inputs"] | read).items() != (read | result["inputs"]).items():
                raise UserError(f"was trained with another network {name}; {_run_again(run)}")
            found[name] = " ".join(read.values())
        return found

    def _analyse(self, task: _Task, after_fold: Callable[[], object]) -> dict[str, Any]:
        started = datetime.now(UTC)
        shortcut = shortcut_of(task.result["parameters"])
        test_rows = [rows_of_sets(task.matrices, each, shortcut)["test"] for each in task.splits]
        labels = [labels_of(task.roles, task.matrices.index.iloc[rows]) for rows in test_rows]
        left_out = {name: reason for fold in labels for name, reason in fold.left_out.items()}
        folds = []
        for number, split in enumerate(task.splits):
            plans = {n: plan for n, plan in labels[number].plans.items() if n not in left_out}
            folds.append(self._layers_of_fold(task, number, split, plans))
            after_fold()
        files, result = task.run.files, task.result
        seconds = (datetime.now(UTC) - started).total_seconds()
        return {
            "fingerprint": result["fingerprint"],
            "experiment": files.experiment,
            "number": files.number,
            "set": "test",
            "num_examples": sum(map(len, test_rows)),
            "labels": {
                name: described(name, role, labels)
                for name, role in task.roles.items()
                if name not in left_out
            },
            "left_out_labels": left_out,
            "layers": [_averaged(layers) for layers in zip(*folds, strict=True)],
            "settings": task.settings,
            "provenance": provenance(self._context.device, started, seconds),
        }

    def _layers_of_fold(
        self, task: _Task, number: int, split: Split[str], plans: Mapping[str, ProbePlan]
    ) -> list[dict[str, Any]]:
        """Make the entry of each layer, for the network that was trained on one fold."""
        model = self._trained_network(task, number)
        shortcut = shortcut_of(task.result["parameters"])
        examples = self._context.fold(task.matrices, split, shortcut).sets["test"]
        seed = RngSeeds.from_seed(task.result["parameters"]["seed"], number).random_network
        settings, frozen = task.run.instance.settings, {}
        for name in task.settings["frozen"]:
            found = self._context.frozen(settings, name, task.matrices, task.architecture, seed)
            frozen[name] = found.cpu()[examples.rows] if isinstance(found, Tensor) else found
        layers = layers_of(model, named_layers(task.result["parameters"]))
        batch_size = batch_size_for(model, next(examples.batches(1)).inputs, layers)
        batches = (batch.inputs for batch in examples.batches(batch_size))
        entries = []
        for layer, content in layer_contents(model, frozen, batches, layers).items():
            features = content.features.numpy()
            probed = {
                name: {
                    "accuracy": probe_accuracy(features, plan),
                    "shuffled": probe_accuracy(features, plan, shuffled=True),
                }
                for name, plan in plans.items()
            }
            entries.append(
                {
                    "layer": layer,
                    "activation_norm": content.activation_norm,
                    "probes": probed,
                    "frozen": {name: vars(each) for name, each in content.comparisons.items()},
                }
            )
        return entries

    def _trained_network(self, task: _Task, number: int) -> nn.Module:
        path = weights_at(task.run.files.model(number))
        model = build_network(task.architecture, seed=0)
        load_whole(model, load_weights(path), display_path(path))
        return to_device(model, self._context.device)


def named_layers(parameters: Mapping[str, Any]) -> list[str]:
    """Return the modules that a run's methods act at, by their names, each once."""
    texts = (str(parameters.get(key, "")) for key in ("at_layer", "gradient_reversal_layer"))
    layers = (layer for text in texts for layer in re.split(r"[,; ]+", text))
    names = [layer for layer in layers if layer and not layer.isdecimal() and layer != "None"]
    return list(dict.fromkeys(names))


def _run_again(run: Run) -> str:
    return f"run it again: {run_again(run.experiment.id, [run.instance.number], '--overwrite')}"


def _averaged(values: Sequence[Any]) -> Any:
    """Average the numbers in dictionaries of the same form; what is no number stays."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _averaged([each[key] for each in values]) for key in first}
    return mean(values) if isinstance(first, float) else first
