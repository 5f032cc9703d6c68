"""Trained networks on the disk: weights beside a JSON description, read without unpickling.

Pre-training writes extractors in this form, experiments read them.
"""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from config.advice import beforehand, on_gpu, run_again
from config.errors import UserError
from config.files import read_json, require_fields, write_json, written_aside
from config.text import display_path, first_of, printable, shorten
from training.engine.metrics import guessing_text, highest_chance_accuracy

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "model.pt"
DESCRIPTION_FILE = "extractor.json"
# Of an instance: training.results.dictionary.InstanceFiles.model.
MODEL_NAME = re.compile(r"model_.+_exp([0-9]+)_run([0-9]+)_fold[0-9]+\.pt")
# About weights that somebody else trained.
FOREIGN_WEIGHTS = "save the network's state_dict() in it, with safetensors or torch.save"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Architecture(BaseModel):
    """What `training.models.registry.build_network` builds the network from."""

    network: str
    num_classes: Count
    in_channels: Count


class Description(BaseModel):
    """What extractor.json must hold."""

    architecture: Architecture
    test_accuracy: Share
    chance_level: Share
    num_test_examples: Count
    weights_fingerprint: str
    plan: dict[str, Any] = {}
    feature_extraction: dict[str, Any] = {}


def save_weights(path: Path, state: Mapping[str, "Tensor"]) -> None:
    """Write parameters, whole or not at all."""
    import torch

    with written_aside(path) as aside:
        torch.save(dict(state), aside)


def is_whole(path: Path) -> bool:
    """Tell whether a file of weights is there with its end, which torch writes last."""
    return zipfile.is_zipfile(path)


def load_weights(path: Path, remedy: str = "") -> dict[str, "Tensor"]:
    """Read parameters to the CPU; nothing in the file is executed.

    The weights of an extractor must be those that its description was written for.

    Args:
        remedy: what to do about a file that cannot be used; empty: what made it can make it anew.

    Raises:
        UserError: the file is missing or broken, holds anything but named tensors, or belongs to
            another extractor.
    """
    import torch

    name, remedy = display_path(path), remedy or _remedy(path)
    try:
        state = _read_tensors(path)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}; {remedy}") from None
    except Exception as error:  # a file that is no checkpoint can make torch raise anything
        # What torch says of a pickle that it refuses is how to run it all the same.
        refused = type(error).__name__ == "UnpicklingError"
        words = str(error).partition("\n")[0] or type(error).__name__
        reason = "it holds more than weights" if refused else shorten(words)
        raise UserError(f"{name}: is no file of weights: {reason}; {remedy}") from None
    if others := _other_contents(state):
        raise UserError(f"{name}: holds {first_of(others)}, not named weights alone; {remedy}")
    weights: dict[str, torch.Tensor] = state
    if path.name == WEIGHTS_FILE and remedy != FOREIGN_WEIGHTS:
        described = read_description(path.parent)["weights_fingerprint"]
        if weights_fingerprint(weights) != described:
            raise UserError(
                f"{name}: is not the network that {DESCRIPTION_FILE} describes "
                f"(weights_fingerprint differs); {remedy}"
            )
    return weights


def _other_contents(state: Any) -> list[str]:
    """Name what a file holds that is no named tensor."""
    import torch

    if not isinstance(state, dict):
        return [type(state).__name__]
    return [
        str(key)
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    ]


def _read_tensors(path: Path) -> Any:
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles that are refused anyway
        return torch.load(path, map_location="cpu", weights_only=True)


def file_fingerprint(path: Path) -> str:
    """Return a hash of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{display_path(path)}: cannot be read: {error.strerror}") from None


def _remedy(path: Path) -> str:
    """Say what makes a file of weights anew."""
    if match := MODEL_NAME.fullmatch(path.name):
        return f"run it again: {run_again(int(match[1]), [int(match[2])], '--overwrite')}"
    if path.name != WEIGHTS_FILE:
        return "name another file"
    try:
        name = str(read_description(path.parent).get("name", path.parent.name))
    except UserError:
        name = path.parent.name
    command = on_gpu(f"python pretraining/pretrain.py {name}")
    return printable(f"train it again: {beforehand(f'{command} --overwrite')}")


def weights_fingerprint(state: Mapping[str, "Tensor"]) -> str:
    """Hash the names, shapes, types and values of all parameters."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def save_extractor(
    folder: Path, state: Mapping[str, "Tensor"], description: Mapping[str, Any]
) -> None:
    """Write an extractor; its description comes last, so that it marks the weights complete."""
    (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
    save_weights(folder / WEIGHTS_FILE, state)
    write_json(
        folder / DESCRIPTION_FILE,
        {**description, "weights_fingerprint": weights_fingerprint(state)},
    )


def read_description(folder: Path) -> dict[str, Any]:
    """Read what pre-training wrote about an extractor, without loading its weights.

    Raises:
        UserError: the extractor is missing, or its description is broken.
    """
    path, weights = folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE
    if not path.exists() or not weights.exists():
        raise UserError(f"{display_path(folder)}: holds no pre-trained extractor")
    description = read_json(path)
    require_fields(description, Description, display_path(path))
    if not is_whole(weights):
        raise UserError(f"{display_path(weights)}: is no file of weights, or not all of one")
    return description


def is_at_chance(description: Mapping[str, Any]) -> bool:
    """Tell whether an extractor's test accuracy is what chance gives."""
    limit = highest_chance_accuracy(
        float(description["chance_level"]), int(description["num_test_examples"])
    )
    return float(description["test_accuracy"]) <= limit


def guessing(description: Mapping[str, Any]) -> str:
    """Say what an extractor's accuracy is compared with before it is called chance."""
    return guessing_text(float(description["chance_level"]), int(description["num_test_examples"]))


def quality(description: Mapping[str, Any]) -> str:
    """Put the extractor's own accuracy into words."""
    return (
        f"test accuracy {float(description['test_accuracy']):.1%}, "
        f"chance {float(description['chance_level']):.1%}"
    )
