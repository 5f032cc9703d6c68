"""Parameters of networks on the disk: safetensors, or .pt files, which are read without unpickling.

Earlier versions wrote .pt; weights_at finds those in the place of the files that are written now.
"""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.advice import beforehand, on_gpu, run_again
from config.errors import UserError
from config.files import read_json, write_json, written_aside
from config.text import display_path, first_of, printable, shorten

if TYPE_CHECKING:
    from torch import Tensor

# Of an extractor, in its folder.
WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "extractor.json"
# Of an instance: training.results.dictionary.InstanceFiles.model.
MODEL_NAME = re.compile(r"model_.+_exp([0-9]+)_run([0-9]+)_fold[0-9]+\.(?:safetensors|pt)")
# About weights that somebody else trained.
FOREIGN_WEIGHTS = "save the network's state_dict() in it, with safetensors or torch.save"


def weights_at(path: Path) -> Path:
    """Return a file of weights, or the .pt file that an earlier version wrote in its place."""
    earlier = path.with_suffix(".pt")
    return earlier if earlier.exists() and not path.exists() else path


def description_path(path: Path) -> Path:
    """Return where the JSON stands that describes a file of weights."""
    is_extractor = path.stem == Path(WEIGHTS_FILE).stem
    return path.with_name(DESCRIPTION_FILE) if is_extractor else path.with_suffix(".json")


def save_model(path: Path, state: Mapping[str, "Tensor"], description: Mapping[str, Any]) -> None:
    """Write weights, then their description, whose absence marks the weights as unfinished."""
    description_path(path).unlink(missing_ok=True)
    save_weights(path, state)
    described = {**description, "weights_fingerprint": weights_fingerprint(state)}
    write_json(description_path(path), described)


def save_weights(path: Path, state: Mapping[str, "Tensor"]) -> None:
    """Write parameters as safetensors, whole or not at all, in place of an earlier version's .pt.

    Those that share memory, or lie in another order than their shape says, are copied for that.
    """
    import torch
    from safetensors.torch import save_file

    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    with written_aside(path) as aside:
        save_file(plain, aside, metadata={"format": "pt"})
    path.with_suffix(".pt").unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Tell whether a file of weights is there to its end, or that of an earlier version."""
    path = weights_at(path)
    if path.suffix == ".pt":
        return zipfile.is_zipfile(path)  # torch writes its directory last
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


def load_weights(path: Path, remedy: str = "") -> dict[str, "Tensor"]:
    """Read parameters to the CPU; nothing in the file is executed.

    Weights of this suite must be those that their description, if there is one, was written for.

    Args:
        remedy: what to do about a file that cannot be used; empty: what made it can make it anew.

    Raises:
        UserError: the file is missing or broken, holds anything but named tensors, or is not the
            network that is described beside it.
    """
    import torch

    name, is_foreign = display_path(path), remedy == FOREIGN_WEIGHTS
    remedy = remedy or remedy_for(path)
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
    if not is_foreign:
        _require_described(path, weights, remedy)
    return weights


def _require_described(path: Path, weights: Mapping[str, "Tensor"], remedy: str) -> None:
    """Refuse weights beside the description of others."""
    described = description_path(path)
    if not described.exists():
        return
    if read_json(described).get("weights_fingerprint") != weights_fingerprint(weights):
        raise UserError(
            f"{display_path(path)}: is not the network that {described.name} describes "
            f"(weights_fingerprint differs); {remedy}"
        )


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
        from safetensors.torch import load

        return load(path.read_bytes())  # load_file maps the file, which may change
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


def remedy_for(path: Path) -> str:
    """Say what makes a file of weights anew."""
    if match := MODEL_NAME.fullmatch(path.name):
        return f"run it again: {run_again(int(match[1]), [int(match[2])], '--overwrite')}"
    described = description_path(path)
    if described.name != DESCRIPTION_FILE:
        return "name another file"
    try:
        name = str(read_json(described).get("name", path.parent.name))
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
