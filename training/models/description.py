"""What a trained network is and needs to be used: the JSON beside its weights.

Of an extractor it is extractor.json, which experiments read; of an experiment's model it has the
model's own name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from config.errors import UserError
from config.files import read_json, require_fields
from config.settings import FeatureExtraction
from config.text import display_path
from training.engine.metrics import guessing_text, highest_chance_accuracy
from training.models.weights import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    description_path,
    is_whole,
    remedy_for,
    weights_at,
)

if TYPE_CHECKING:
    from preprocessing.pipeline.matrices import Matrices
    from training.data.batches import Normalization
    from training.models.registry import Architecture

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class StoredArchitecture(BaseModel):
    """What `training.models.registry.build_network` builds the network from."""

    network: str
    num_classes: Count
    in_channels: Count


class ExtractorDescription(BaseModel):
    """What extractor.json must hold for experiments."""

    architecture: StoredArchitecture
    test_accuracy: Share
    chance_level: Share
    num_test_examples: Count
    weights_fingerprint: str
    plan: dict[str, Any] = {}
    feature_extraction: dict[str, Any] = {}


class StoredExample(BaseModel):
    """The shape of what the network sees."""

    samples: Count
    frames: Count
    bins: Count


class StoredNormalization(BaseModel):
    """What is taken off, and what that is divided by; whether padding is 0 afterwards."""

    mean: float
    std: Annotated[float, Field(gt=0)]
    skips_padding: bool


class ModelDescription(BaseModel):
    """What the JSON beside weights must hold for recordings to be classified."""

    name: str
    architecture: StoredArchitecture
    is_regression: bool
    classes: list[str]
    sample_rate: Count
    feature_extraction: FeatureExtraction
    example: StoredExample
    leave_out_silence: bool
    normalization: StoredNormalization
    precision: Literal["fp32", "bf16"]


def describe_model(
    architecture: "Architecture",
    matrices: "Matrices",
    normalization: "Normalization",
    skips_padding: bool,
    precision: str,
) -> dict[str, Any]:
    """Return what whoever uses a trained network must know, plain values only.

    Args:
        normalization: of its inputs.
        skips_padding: whether padding is 0 after normalisation.
        precision: fp32 or bf16, in which it was evaluated.
    """
    info = matrices.info
    _, num_frames, num_bins = matrices.predictors.shape
    num_samples, rate = info.get("num_samples"), info.get("sample_rate")
    return {
        "architecture": architecture.described(),
        "factory": str(architecture.network.factory),
        "dataset": info.get("dataset"),
        "licence": info.get("licence", ""),
        "task": info.get("task"),
        "is_regression": matrices.task == "regression",
        "classes": matrices.classes,
        "sample_rate": rate,
        "feature_extraction": matrices.feature_settings,
        "example": {
            "seconds": num_samples / rate if num_samples and rate else None,
            "samples": num_samples,
            "frames": num_frames,
            "bins": num_bins,
        },
        "leave_out_silence": info.get("leave_out_silence", True),
        "normalization": {**vars(normalization), "skips_padding": skips_padding},
        "precision": precision,
    }


def read_model(weights: Path) -> tuple[ModelDescription, dict[str, Any]]:
    """Read what stands beside a file of weights: what is needed of it to use them, and all of it.

    Raises:
        UserError: there is nothing, as beside weights of earlier versions, or not all that is
            needed; says what trains the network again.
    """
    path = description_path(weights)
    if not path.exists():
        problem = "there is no such file, which says how to use the model"
        raise UserError(f"{display_path(path)}: {problem}; {remedy_for(weights)}")
    content = read_json(path)
    try:
        return require_fields(content, ModelDescription, display_path(path)), content
    except UserError as error:
        raise UserError(f"{error}; {remedy_for(weights)}") from None


def read_description(folder: Path) -> dict[str, Any]:
    """Read what pre-training wrote about an extractor, without loading its weights.

    Raises:
        UserError: the extractor is missing, or its description is broken.
    """
    path, weights = folder / DESCRIPTION_FILE, weights_at(folder / WEIGHTS_FILE)
    if not path.exists() or not weights.exists():
        raise UserError(f"{display_path(folder)}: holds no pre-trained extractor")
    description = read_json(path)
    require_fields(description, ExtractorDescription, display_path(path))
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
