"""What training/invariance.py leaves for each instance: where it lies, and whether it serves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from config.errors import UserError
from config.json_files import read_json, require_fields
from training.results.dictionary import InstanceFiles

# What enters the last linear layer, beside the convolutions '1' to '13'.
PENULTIMATE = "penultimate"


class Described(BaseModel):
    """One label."""

    role: str
    num_examples: int
    chance: float


class Probe(BaseModel):
    """Accuracies of one label's probes."""

    accuracy: float
    shuffled: float


class Layer(BaseModel):
    """One layer."""

    layer: str
    probes: dict[str, Probe]


class Asked(BaseModel):
    """What the figures were made with."""

    labels: dict[str, str]
    frozen: dict[str, str]


class Analysis(BaseModel):
    """What a file must hold to serve again."""

    fingerprint: str
    experiment: int
    labels: dict[str, Described]
    left_out_labels: dict[str, str]
    layers: list[Layer]
    settings: Asked


def apart_text(grouped_by: str | None, not_apart: Sequence[str]) -> str:
    """What a probe's cross-validation kept apart, in words; empty where nothing says it.

    Args:
        grouped_by: the column, or "column, column", of which no value was on both sides.
        not_apart: columns that name the recordings of the label itself, if they were.
    """
    if not grouped_by:
        return ""
    text = f"no {' or '.join(grouped_by.split(', '))} is on both sides of the cross-validation"
    if not not_apart:
        return text
    return (
        f"{text}, but recordings ({', '.join(not_apart)}) are: with one recording per type, the "
        "type cannot be told from the recording"
    )


def invariance_path(files: InstanceFiles) -> Path:
    """Where an instance's analysis lies."""
    return path_in(files.folder, files.stem)


def path_in(experiment_folder: Path, stem: str) -> Path:
    """results/experiment_<ID>/invariance/invariance_<stem>.json"""
    return experiment_folder / "invariance" / f"invariance_{stem}.json"


def stored_analysis(
    path: Path, fingerprint: str, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What an earlier command found, if it was for the same result and asked for no less.

    Args:
        fingerprint: the result's.
        settings: what is asked for; its "labels" and "frozen" may hold more in the file.
    """
    try:
        stored = read_json(path)
        require_fields(stored, Analysis, str(path))
    except UserError:
        return None
    made_with = dict(stored["settings"])
    for key in ("labels", "frozen"):
        made_with[key] = {name: made_with[key].get(name) for name in settings[key]}
    serves = stored["fingerprint"] == fingerprint and made_with == dict(settings)
    return stored if serves else None
