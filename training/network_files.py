"""Trained networks on the disk: weights beside a JSON description, read without unpickling.

Pre-training writes extractors in this form, experiments read them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import UserError
from config.files import write_json, written_aside
from config.settings import display_path
from training.metrics import highest_chance_accuracy

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "model.pt"
DESCRIPTION_FILE = "extractor.json"
DESCRIPTION_KEYS = (
    "architecture",
    "test_accuracy",
    "chance_level",
    "num_test_examples",
    "weights_fingerprint",
)


def save_weights(path: Path, state: Mapping[str, "Tensor"]) -> None:
    """Write parameters, whole or not at all."""
    import torch

    with written_aside(path) as aside:
        torch.save(dict(state), aside)


def load_weights(path: Path) -> dict[str, "Tensor"]:
    """Read parameters; nothing in the file is executed.

    Raises:
        UserError: the file is missing, or holds anything but named tensors.
    """
    import torch

    name = display_path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    except Exception as error:  # a file that is no checkpoint can make torch raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name}: is no file of weights: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"{name}: holds something other than named weights")
    return state


def weights_fingerprint(state: Mapping[str, "Tensor"]) -> str:
    """Changes whenever a parameter's name, shape or value does."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
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
        UserError: the extractor is missing or its description is broken.
    """
    path = folder / DESCRIPTION_FILE
    if not path.exists() or not (folder / WEIGHTS_FILE).exists():
        raise UserError(f"{display_path(folder)}: holds no pre-trained extractor")
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{display_path(path)}: cannot be read: {error}") from None
    for key in DESCRIPTION_KEYS:
        if not isinstance(description, dict) or key not in description:
            raise UserError(f"{display_path(path)}: {key} is missing; train the extractor again")
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
