"""What an instance leaves behind, and how it is found again.

Users get a numpy dictionary; the project itself reads only its JSON twin.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import Identity, identity_of, write_json, write_text, written_aside
from config.settings import display_path
from training.engine.metrics import SET_METRICS, Task

# Parameters that say what a run is called, where it reports or what it keeps, not what it computes.
NOT_IN_FINGERPRINT = ("comment_1", "comment_2", "kind", "repetition", "tracker", "at_cache")
TWIN_NAME = re.compile(r"results_.+_exp([0-9]+)_run[0-9]+\.json")
SETS = {"training": "train", "validation": "val", "test": "test"}
GROUP_KEYS = {
    "training": "training_actors",
    "validation": "validation_actors",
    "test": "test_actors",
}


@dataclass(frozen=True)
class InstanceFiles:
    """Names of one instance's files, as users of the original know them."""

    results_folder: Path
    experiment: int
    number: int
    dataset: str
    features: str

    @property
    def folder(self) -> Path:
        """results/experiment_<ID>"""
        return self.results_folder / f"experiment_{self.experiment}"

    @property
    def stem(self) -> str:
        """<dataset>_<features>_exp<ID>_run<N>"""
        return f"{self.dataset}_{self.features}_exp{self.experiment}_run{self.number}"

    @property
    def dictionary(self) -> Path:
        """The numpy dictionary."""
        return self.folder / "results" / f"results_{self.stem}.npy"

    @property
    def twin(self) -> Path:
        """Its JSON twin; written last, so it marks the instance finished."""
        return self.dictionary.with_suffix(".json")

    @property
    def parameters(self) -> Path:
        """All parameters, for people."""
        return self.folder / "results" / "parameters" / f"parameters_{self.stem}.txt"

    @property
    def spreadsheet(self) -> Path:
        """The experiment's spreadsheet."""
        name = f"{self.dataset}_{self.features}_exp{self.experiment}_results_spreadsheet.xlsx"
        return self.folder / "results" / name

    def model(self, fold: int) -> Path:
        """The best weights of a fold."""
        return self.folder / "models" / f"model_{self.stem}_fold{fold}.pt"

    @property
    def unfinished(self) -> Path:
        """What is there only while the instance runs, and for its continuation."""
        return self.folder / "unfinished"

    def state(self, fold: int) -> Path:
        """The last state of a fold's training."""
        return self.unfinished / f"state_{self.stem}_fold{fold}.pt"

    @property
    def lock(self) -> Path:
        """Locked by the process that runs the instance."""
        return self.unfinished / f"{self.stem}.lock"

    @property
    def failure(self) -> Path:
        """Why the last attempt failed."""
        return self.unfinished / f"failed_{self.stem}.json"

    def fold_record(self, fold: int) -> Path:
        """The figures of a fold that is finished, while others are not."""
        return self.unfinished / f"fold_{self.stem}_fold{fold}.json"


def instance_fingerprint(parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Of everything that decides an instance's result: its parameters, data and frozen networks."""
    from preprocessing.pipeline.jobs import fingerprint_of

    return fingerprint_of([decisive(parameters), dict(inputs)])


def differences(
    result: Mapping[str, Any], parameters: Mapping[str, Any], inputs: Mapping[str, Any]
) -> list[str]:
    """What a stored result was made with and what is asked for now, where the two differ."""
    pairs = [
        (result.get("parameters", {}), decisive(parameters)),
        (result.get("inputs", {}), inputs),
    ]
    return [
        f"{key}: {stored.get(key)!r} then, {wanted[key]!r} now"
        for stored, wanted in pairs
        for key in wanted
        if stored.get(key) != wanted[key]
    ]


def decisive(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that decide nothing: results made before they existed stay what they are."""
    idle = set(NOT_IN_FINGERPRINT)
    if not parameters.get("gradient_reversal_label"):
        idle |= {f"gradient_reversal_{each}" for each in ("label", "layer", "weight")}
    if not parameters.get("anti_transfer") or not parameters.get("at_ramp"):
        idle.add("at_ramp")
    return {key: parameters[key] for key in parameters if key not in idle}


def summarize(folds: Sequence[Mapping[str, Any]], task: Task) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each set's figures over the folds."""
    import numpy as np

    summary: dict[str, dict[str, float]] = {}
    for set_name, prefix in SETS.items():
        summary[set_name] = {}
        for metric in SET_METRICS[task]:
            values = [float(fold[f"{prefix}_{metric}"]) for fold in folds]
            summary[set_name][f"mean_{metric}"] = float(np.mean(values))
            summary[set_name][f"{metric}_std"] = float(np.std(values))
    return summary


def write_result(
    files: InstanceFiles,
    folds: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    model_parameters: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Write dictionary, parameters and, last, the JSON twin; returns the twin's content.

    Args:
        folds: the figures of each fold, plain values only.
        model_parameters: what the network is, for the parameters file.
        inputs: fingerprints of the data and the frozen networks.
    """
    import numpy as np

    summary = {**summarize(folds, parameters["task"]), "parameters": dict(parameters)}
    dictionary: dict[Any, Any] = {fold: dict(values) for fold, values in enumerate(folds)}
    dictionary["summary"] = summary
    with written_aside(files.dictionary) as aside:
        np.save(aside, np.array(dictionary, dtype=object))
    write_text(files.parameters, _parameters_text(parameters, model_parameters))
    twin = {
        **{str(key): value for key, value in dictionary.items()},
        "parameters": dict(parameters),
        "model": dict(model_parameters),
        "inputs": dict(inputs),
        "fingerprint": instance_fingerprint(parameters, inputs),
        "experiment": files.experiment,
        "number": files.number,
    }
    write_json(files.twin, twin)
    return twin


def read_result(path: Path) -> dict[str, Any]:
    """A JSON twin.

    Raises:
        UserError: the file is no result of this project.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{display_path(path)}: cannot be read: {error}") from None
    for key in ("0", "summary", "parameters", "inputs", "fingerprint", "number"):
        if not isinstance(result, dict) or key not in result:
            raise UserError(f"{display_path(path)}: is no result of this project: no {key}")
    return result


class ResultReader:
    """Reads what comparisons and tables need of JSON twins: all but the lists of their folds.

    A file is read again only when it is another one, however often it is asked for.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Identity, dict[str, Any]]] = {}

    def find(self, path: Path) -> dict[str, Any] | None:
        """A JSON twin as it is now; None if there is none.

        Raises:
            UserError: the file is no result of this project.
        """
        identity = identity_of(path)
        if identity is None:
            self._known.pop(path, None)
            return None
        if path not in self._known or self._known[path][0] != identity:
            self._known[path] = identity, _without_lists(read_result(path))
        return self._known[path][1]

    def find_all(self, results_folder: Path, experiment: int) -> list[dict[str, Any]]:
        """All finished instances of an experiment, by number."""
        found = map(self.find, _twins(results_folder, experiment))
        return sorted(filter(None, found), key=lambda result: int(result["number"]))


def _without_lists(result: Mapping[str, Any]) -> dict[str, Any]:
    """A twin whose folds lack histories and groups, by far the most of it."""
    return {
        key: {name: each for name, each in value.items() if not isinstance(each, list)}
        if key.isdecimal() and isinstance(value, dict)
        else value
        for key, value in result.items()
    }


def read_results(results_folder: Path, experiment: int) -> list[dict[str, Any]]:
    """All finished instances of an experiment, by number, without the lists of their folds."""
    return ResultReader().find_all(results_folder, experiment)


def count_finished(results_folder: Path, experiment: int) -> int:
    """How many instances of an experiment have a result."""
    return len(_twins(results_folder, experiment))


def _twins(results_folder: Path, experiment: int) -> list[Path]:
    folder = results_folder / f"experiment_{experiment}" / "results"
    try:
        matches = [(path, TWIN_NAME.fullmatch(path.name)) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path, match in matches if match and match[1] == str(experiment)]


def count_failed(results_folder: Path, experiment: int) -> int:
    """How many instances of an experiment failed when they were last tried."""
    folder = results_folder / f"experiment_{experiment}" / "unfinished"
    return sum(1 for _ in folder.glob("failed_*.json"))


def _parameters_text(parameters: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    lines = ["TRAINING PARAMETERS:", *(f"{key}:{value}" for key, value in parameters.items())]
    lines += ["", "MODEL PARAMETERS:", *(f"{key}:{value}" for key, value in model.items())]
    return "\n".join(lines) + "\n"
