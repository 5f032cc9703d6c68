"""A network written for other programs: ONNX, or a program of torch.export."""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import UserError
from config.files import written_aside
from config.text import shorten

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def trace(network: "nn.Module", place: str, num_frames: int, num_bins: int) -> "ExportedProgram":
    """Turn a network into a program: normalised inputs (batch, 1, frames, bins) to its outputs.

    Args:
        network: in evaluation mode, on the CPU, known to take such inputs.
        place: what declares it, for the error.

    Raises:
        UserError: its code does what cannot be traced.
    """
    import torch

    from training.models.registry import example_batch

    inputs = example_batch((0, num_frames, num_bins))
    sizes = ({0: torch.export.Dim("batch")},)
    try:
        return torch.export.export(network, (inputs,), dynamic_shapes=sizes)
    except Exception as error:  # whatever the tracer meets in somebody else's code
        raise UserError(f"{place}: cannot be traced by torch.export: {shorten(error)}") from None


def write_torch(program: "ExportedProgram", path: Path, _description: Mapping[str, Any]) -> None:
    """Write a program for torch.export.load, whole or not at all."""
    import torch

    with written_aside(path) as aside, warnings.catch_warnings(action="ignore"):
        torch.export.save(program, aside)


def write_onnx(program: "ExportedProgram", path: Path, description: Mapping[str, Any]) -> None:
    """Write a program as ONNX, whole or not at all.

    Args:
        description: its keys become the metadata's, its values JSON there.

    Raises:
        UserError: what torch needs for it is not installed, or ONNX has no such operation.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        needed = "pip install -r requirements-export.txt"
        raise UserError(f"--export onnx: {error.name} is not installed; {needed}") from None
    # It says that it is young, and that torchvision is not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["inputs"],
                output_names=["outputs"],
                dynamic_shapes=({0: "batch"},),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"--export onnx: cannot be written: {shorten(error)}") from None
    assert written is not None
    properties = {key: json.dumps(value, ensure_ascii=False) for key, value in description.items()}
    written.model.metadata_props.update(properties)
    with written_aside(path) as aside:
        written.save(aside, external_data=False)


# By the word of the command line: the extension of the file, and what writes it.
FORMATS: dict[str, tuple[str, Callable[["ExportedProgram", Path, Mapping[str, Any]], None]]] = {
    "torch": (".pt2", write_torch),
    "onnx": (".onnx", write_onnx),
}
