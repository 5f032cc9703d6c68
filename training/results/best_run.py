"""The best run of another experiment, and the weights that a training starts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config import advice
from config.errors import UserError
from config.networks import PUBLISHED_NETWORK
from config.selection import MANAGER
from config.settings import Settings
from training.models.frozen import start_of
from training.models.weights import weights_at
from training.results.dictionary import InstanceFiles
from training.results.loading import ResultReader


def initial_weights(settings: Settings, reader: ResultReader, fold: int) -> Path | None:
    """Find the file of weights that a fold's training starts from; None: it starts from random.

    Raises:
        UserError: the experiment that at_pretraining names has no finished instance.
    """
    training = settings.training_defaults
    if training.source_experiment is not None:
        best = best_run(settings, reader)
        return weights_at(files_of_result(settings.results.results_folder, best).model(fold))
    start = start_of(settings)
    return start.weights if start else None


def files_of_result(results_folder: Path, result: Mapping[str, Any]) -> InstanceFiles:
    """Return where the files of a result lie."""
    parameters = result["parameters"]
    return InstanceFiles(
        results_folder,
        int(result["experiment"]),
        int(result["number"]),
        parameters["dataset"],
        parameters["features_type"],
    )


def best_run(settings: Settings, reader: ResultReader) -> dict[str, Any]:
    """Choose the best instance of the experiment that at_pretraining names, without its histories.

    The best is that of the highest validation accuracy (regression: of the lowest loss).

    Raises:
        UserError: the experiment has no finished instance.
    """
    identifier = settings.training_defaults.source_experiment or 0
    wanted = {
        "features_type": settings.feature_extraction.features_type,
        "network": settings.training_defaults.network,
    }
    found = reader.find_all(settings.results.results_folder, identifier)
    results = [
        result
        for result in found
        if wanted.items() <= {"network": PUBLISHED_NETWORK, **result["parameters"]}.items()
    ]
    if not results:
        command = f"{MANAGER} [{identifier}] {advice.gpu()}"
        raise UserError(
            f"at_pretraining = experiment {identifier}: experiment {identifier} has no finished "
            f"instance with {' and '.join(f'{key} = {value}' for key, value in wanted.items())}; "
            f"run {advice.beforehand(command, settings if found else None)}"
        )
    if results[0]["parameters"]["task"] == "classification":
        return max(results, key=lambda result: result["summary"]["validation"]["mean_acc"])
    return min(results, key=lambda result: result["summary"]["validation"]["mean_loss"])
