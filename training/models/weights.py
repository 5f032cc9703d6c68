"""Trained networks on the disk: weights beside a JSON description, read without unpickling.

Pre-training writes extractors in this form, experiments read them.
"""

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from config.errors import UserError
from config.files import write_json, written_aside
from config.json_files import read_json, require_fields, require_plain_file
from config.settings import display_path, printable
from training.engine.metrics import highest_chance_accuracy

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "model.pt"
DESCRIPTION_FILE = "extractor.json"
TRAIN_AGAIN = "train the extractor again with --overwrite"
LONGEST_REASON = 200

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=1, lt=2**62)]


class Architecture(BaseModel):
    """The network of an extractor."""

    network: str
    num_classes: Number
    in_channels: Number
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Description(BaseModel):
    """What extractor.json must hold."""

    architecture: Architecture
    test_accuracy: Share
    chance_level: Share
    num_test_examples: Number
    weights_fingerprint: str
    plan: dict[str, Any] = {}


def save_weights(path: Path, state: Mapping[str, "Tensor"]) -> None:
    """Write parameters, whole or not at all."""
    import torch

    with written_aside(path) as aside:
        torch.save(dict(state), aside)


def load_weights(path: Path) -> dict[str, "Tensor"]:
    """Read parameters; nothing in the file is executed, and no symbolic link is followed.

    The weights of an extractor must be those that its description was written for.

    Raises:
        UserError: the file is missing, holds anything but named tensors of floating-point numbers,
            or belongs to another extractor.
    """
    try:
        require_plain_file(path, follow_links=False)
        weights = _named_weights(_load(path), path)
    except UserError as error:
        raise UserError(f"{error}; {_remedy(path)}") from None
    if path.name == WEIGHTS_FILE:
        _require_described_weights(weights, path)
    return weights


def _load(path: Path) -> Any:
    import torch

    name = printable(display_path(path))
    try:
        _refuse_bombs(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a file that is no checkpoint can make torch raise anything
        # What torch says of a pickle that it refuses is how to run it all the same.
        refused = type(error).__name__ == "UnpicklingError"
        reason = "it holds more than weights" if refused else str(error) or type(error).__name__
        reason = printable(reason.splitlines()[0])[:LONGEST_REASON]
        raise UserError(f"{name}: is no file of weights: {reason}") from None


def _remedy(path: Path) -> str:
    """What makes the file anew."""
    if path.name != WEIGHTS_FILE:
        return "run its instance again with --overwrite"
    try:
        name = str(read_description(path.parent)["name"])
    except (UserError, KeyError):
        name = path.parent.name
    return printable(f"train it again: python pretraining/pretrain_vgg_{name}.py --overwrite")


def _refuse_bombs(path: Path) -> None:
    """torch.save compresses nothing; a small file that unpacks to a large one is none of its own.

    Raises:
        ValueError: it is one.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it unpacks to more than its size")


def _named_weights(state: Any, path: Path) -> dict[str, "Tensor"]:
    import torch

    name = printable(display_path(path))
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UserError(f"{name}: holds something other than named weights")
    for key, value in state.items():
        plain = value.device.type == "cpu" and value.layout == torch.strided
        if not plain or not value.is_floating_point():
            raise UserError(printable(f"{name}: {key} holds something other than plain numbers"))
    # A tensor can claim any shape by repeating one number.
    if sum(value.nbytes for value in state.values()) > path.stat().st_size:
        raise UserError(f"{name}: its shapes announce more numbers than it holds")
    return state


def _require_described_weights(state: Mapping[str, "Tensor"], path: Path) -> None:
    if weights_fingerprint(state) != read_description(path.parent)["weights_fingerprint"]:
        name = printable(display_path(path))
        raise UserError(
            f"{name}: is not the network that {DESCRIPTION_FILE} describes (weights_fingerprint "
            f"differs); {_remedy(path)}"
        )


def weights_fingerprint(state: Mapping[str, "Tensor"]) -> str:
    """Changes whenever a parameter's name, shape or value does."""
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
    """What pre-training wrote about an extractor, without loading its weights.

    Raises:
        UserError: the extractor is missing, its description is broken, or a file is a symbolic
            link (its folder may be one).
    """
    path, weights = folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE
    if not path.exists() or not weights.exists():
        raise UserError(f"{display_path(folder)}: holds no pre-trained extractor")
    require_plain_file(weights, follow_links=False)
    try:
        description = read_json(path, follow_links=False)
        require_fields(description, Description, printable(display_path(path)))
    except UserError as error:
        raise UserError(f"{error}; {TRAIN_AGAIN}") from None
    if description["architecture"]["num_classes"] > weights.stat().st_size:
        raise UserError(
            f"{printable(display_path(path))}: architecture.num_classes: more than {WEIGHTS_FILE} "
            f"has room for; {TRAIN_AGAIN}"
        )
    return description


def learnt_nothing(description: Mapping[str, Any]) -> bool:
    """Whether an extractor's test accuracy is what chance gives."""
    limit = highest_chance_accuracy(
        float(description["chance_level"]), int(description["num_test_examples"])
    )
    return float(description["test_accuracy"]) <= limit


def quality(description: Mapping[str, Any]) -> str:
    """The extractor's own accuracy in words."""
    return (
        f"test accuracy {float(description['test_accuracy']):.1%}, "
        f"chance {float(description['chance_level']):.1%}"
    )
