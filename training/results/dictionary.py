"""What an instance leaves behind: the names of its files, and the result that it writes.

Users get a numpy dictionary; the project itself reads only the JSON file beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.fields import Task
from config.files import write_json, write_text, written_aside
from config.fingerprints import fingerprint_of
from config.networks import PUBLISHED_NETWORK, Network
from training.engine.metrics import CLIP_METRICS, SET_METRICS
from training.methods.kinds import AT_METHODS, SIMILARITY

# Parameters that say what a run is called, where it reports or what it keeps, not what it computes.
NOT_IN_FINGERPRINT = (
    *("comment_1", "comment_2", "kind", "repetition", "tracker", "at_cache"),
    *("search", "search_trial"),
)
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
    def json_path(self) -> Path:
        """The same as JSON; written last, so it marks the instance finished."""
        return self.dictionary.with_suffix(".json")

    @property
    def parameters(self) -> Path:
        """All parameters, for people."""
        return self.folder / "results" / "parameters" / f"parameters_{self.stem}.txt"

    @property
    def predictions(self) -> Path:
        """What the network gave for each example, as CSV."""
        return self.folder / "results" / "predictions" / f"predictions_{self.stem}.csv"

    @property
    def spreadsheet(self) -> Path:
        """The experiment's spreadsheet."""
        name = f"{self.dataset}_{self.features}_exp{self.experiment}_results_spreadsheet.xlsx"
        return self.folder / "results" / name

    def model(self, fold: int) -> Path:
        """The best weights of a fold; beside them stands the JSON that describes them."""
        return self.folder / "models" / f"model_{self.stem}_fold{fold}.safetensors"

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
        """The metrics of a fold that is finished, while others are not."""
        return self.unfinished / f"fold_{self.stem}_fold{fold}.json"

    def fold_predictions(self, fold: int) -> Path:
        """The predictions of a fold that is finished, while others are not."""
        return self.unfinished / f"predictions_{self.stem}_fold{fold}.csv"


def instance_fingerprint(parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Return the hash of all that decides a result: parameters, data and frozen networks."""
    return fingerprint_of([fingerprinted(parameters), dict(inputs)])


def differences(
    result: Mapping[str, Any], parameters: Mapping[str, Any], inputs: Mapping[str, Any]
) -> list[str]:
    """Name what a stored result was made with and what is asked for now, where the two differ."""
    stored = fingerprinted(result.get("parameters", {}))
    known = {key: value for key, value in stored.items() if key in parameters}
    wanted = fingerprinted(parameters)
    if wanted.get("output_classes") is None:  # the matrices to count them in are not there
        wanted.pop("output_classes", None)
        known.pop("output_classes", None)
    return [
        *changes(known, wanted),
        *changes(result.get("inputs", {}), inputs),
    ]


def changes(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return 'key: 1 then, 2 now' for each value that is not as it was."""
    return [
        f"{key}: {stored.get(key)!r} then, {wanted.get(key)!r} now"
        for key in {**wanted, **stored}
        if stored.get(key) != wanted.get(key)
    ]


def fingerprinted(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide a result.

    Keys that are not used are left out: results made before they existed stay what they are.
    """
    idle = set(NOT_IN_FINGERPRINT)
    if not parameters.get("gradient_reversal_label"):
        idle |= {key for key in parameters if key.startswith("gradient_reversal_")}
    if not parameters.get("gradient_reversal_conditional"):
        idle.add("gradient_reversal_conditional")
    if not parameters.get("confounder"):
        idle |= {"confounder", "confounder_strength"}
    for key in ("at_ramp", "at_frozen_layer"):
        if not parameters.get("anti_transfer") or not parameters.get(key):
            idle.add(key)
    at_method = parameters.get("at_method", SIMILARITY)
    if not parameters.get("anti_transfer") or at_method == SIMILARITY:
        idle.add("at_method")
    else:
        idle |= {key for key in parameters if not AT_METHODS[at_method].reads(key)}
    if parameters.get("network") == PUBLISHED_NETWORK:
        idle.add("network")
    return {key: parameters[key] for key in parameters if key not in idle}


def described_network(network: Network) -> dict[str, str]:
    """Return what the network that is trained adds to the inputs of its training.

    Nothing if it is the published one: what was made before there were others stays what it is.
    """
    if network.is_published:
        return {}
    is_plain = network.factory.is_built_in and not network.options
    return {"network": network.name if is_plain else f"{network.name} = {network.description}"}


def summarize(folds: Sequence[Mapping[str, Any]], task: Task) -> dict[str, dict[str, float]]:
    """Return the mean and standard deviation of each set's metrics over the folds."""
    import numpy as np

    summary: dict[str, dict[str, float]] = {name: {} for name in SETS}
    for set_name, prefix in SETS.items():
        for metric in (*SET_METRICS[task], *CLIP_METRICS[task]):
            values = [float(fold[f"{prefix}_{metric}"]) for fold in folds]
            summary[set_name][f"mean_{metric}"] = float(np.mean(values))
            summary[set_name][f"{metric}_std"] = float(np.std(values))
    return summary


def has_segments(fold: Mapping[str, Any]) -> bool:
    """Tell from a fold's entry whether some clip has several examples; an old one does not say."""
    counts = ((fold.get(f"{each}_clips"), fold.get(f"{each}_examples")) for each in SETS.values())
    return any(clips is not None and clips < examples for clips, examples in counts)


def write_result(
    files: InstanceFiles,
    folds: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    model_parameters: Mapping[str, Any],
    inputs: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Write dictionary, parameters and, last, the JSON file; return what that holds.

    Args:
        folds: the metrics of each fold, plain values only.
        model_parameters: what the network is, for the parameters file.
        inputs: fingerprints of the data and the frozen networks.
        provenance: as of config/provenance.py.
    """
    result = {
        **{str(fold): dict(values) for fold, values in enumerate(folds)},
        "summary": {
            **summarize(folds, parameters["task"]),
            "parameters": _released_text(parameters),
        },
        "parameters": dict(parameters),
        "model": dict(model_parameters),
        "inputs": dict(inputs),
        "fingerprint": instance_fingerprint(parameters, inputs),
        "experiment": files.experiment,
        "number": files.number,
        "provenance": dict(provenance),
    }
    write_copies(files, result)
    write_json(files.json_path, result)
    return result


def has_copies(files: InstanceFiles) -> bool:
    """Tell whether the files are there that hold parts of the JSON file for users."""
    copies = (files.dictionary, files.parameters)
    return all(path.exists() and path.stat().st_size for path in copies)


def write_copies(files: InstanceFiles, result: Mapping[str, Any]) -> None:
    """Write the numpy dictionary and the parameters file from what the JSON file holds."""
    import numpy as np

    dictionary: dict[Any, Any] = {int(key): result[key] for key in result if key.isdecimal()}
    dictionary |= {key: result[key] for key in ("summary", "parameters")}
    with written_aside(files.dictionary) as aside:
        np.save(aside, np.array(dictionary, dtype=object))
    write_text(files.parameters, _parameters_text(result["parameters"], result["model"]))


def _released_text(parameters: Mapping[str, Any]) -> str:
    """Write parameters as scripts for the released code split them: comment_1="a"/at_layer=3."""
    values = {
        key: f'"{value}"' if isinstance(value, str) else value for key, value in parameters.items()
    }
    return "/".join(f"{key}={value}" for key, value in values.items())


def _parameters_text(parameters: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    lines = ["TRAINING PARAMETERS:", *(f"{key}:{value}" for key, value in parameters.items())]
    lines += ["", "MODEL PARAMETERS:", *(f"{key}:{value}" for key, value in model.items())]
    return "\n".join(lines) + "\n"
