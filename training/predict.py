"""What a trained network says of recordings: the class of each, or its value.

python training/predict.py MODEL one.wav two.flac      on the CPU; each file as the class that it is
python training/predict.py MODEL FOLDER 0              all audio below a folder, on GPU 0
python training/predict.py MODEL table.csv             rows: path, and start and end (s) if need be
python training/predict.py MODEL --export onnx         the network for other programs; or torch

MODEL is a model_….safetensors of an experiment, or an extractor's folder. Audio is read, resampled,
cut and turned into features as its training data were, by the JSON beside it. A recording of
several examples is one decision, the mean of their probabilities. A network of your own needs the
--config that declares it.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from config.command_line import (
    EXIT_FAILED_RUNS,
    log_to,
    run_command,
    settings_from,
    settings_parser,
)
from config.errors import UserError
from config.fields import path_argument
from config.files import write_json
from config.log import logger
from config.selection import CPU
from config.settings import Settings
from config.text import counted, display_path, no_formula, printable
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.examples import Examples, Recipe, blocks_of, extract_block
from preprocessing.pipeline.recordings import clips_without_labels
from preprocessing.pipeline.tables import write_rows
from training.engine.metrics import by_clip
from training.models.description import ModelDescription, read_model
from training.models.export import FORMATS, trace
from training.models.weights import WEIGHTS_FILE, description_path, load_weights, weights_at

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH_SIZE = 32


@dataclass(frozen=True)
class Model:
    """A trained network with what stands beside its weights."""

    network: "nn.Module"
    place: str
    described: ModelDescription
    content: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """How a recording becomes examples: as in its preparation, without altered copies."""
        described, example = self.described, self.described.example
        as_prepared = {"augmentation": False, "features_backend": "cpu"}
        return Recipe(
            features=described.feature_extraction.model_copy(update=as_prepared),
            sample_rate=described.sample_rate,
            num_samples=example.samples,
            num_frames=example.frames,
            num_bins=example.bins,
            seed=0,
            leave_out_silence=described.leave_out_silence,
        )

    def probabilities(self, examples: Examples, device: "torch.device") -> npt.NDArray[np.float32]:
        """Return those of the classes, (examples, classes), or a regression's values (…, 1)."""
        import torch

        from training.data.batches import ExampleSet, Normalization

        given = self.described.normalization
        num_frames = np.array([row[2] for row in examples.rows], dtype=np.int64)
        rows = np.arange(len(examples.rows))
        inputs = ExampleSet(
            examples.values,
            np.zeros(len(rows), dtype=np.int64),
            rows,
            Normalization(given.mean, given.std),
            device,
            num_frames if given.skips_padding else None,
        )
        is_bf16 = self.described.precision == "bf16"
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            outputs = [self.network(batch.inputs).float() for batch in inputs.batches(BATCH_SIZE)]
        joined = torch.cat(outputs).cpu()
        return (joined if self.described.is_regression else joined.softmax(dim=1)).numpy()


def load_model(path: Path, settings: Settings) -> Model:
    """Load a trained network, on the CPU and in evaluation mode.

    Args:
        path: its weights, or the folder of an extractor.

    Raises:
        UserError: it is not there, nothing says how to use it, or no file declares its network.
    """
    weights = weights_at(path / WEIGHTS_FILE if path.is_dir() else path)
    if not weights.is_file():
        raise UserError(
            f"{display_path(path)}: holds no model; name a model_….safetensors of an "
            "experiment, or an extractor's folder"
        )
    described, content = read_model(weights)
    from training.models.loading import load_whole
    from training.models.registry import build_network, stored_architecture

    place = display_path(description_path(weights))
    architecture = stored_architecture(settings.networks, content["architecture"], place)
    network = build_network(architecture, seed=0)
    load_whole(network, load_weights(weights), display_path(weights))
    return Model(network.eval(), architecture.network.place, described, content)


def predict(
    model: Model, clips: list[Clip], device: "torch.device"
) -> Iterator[tuple[Clip, int, npt.NDArray[np.float32]]]:
    """Yield each clip that can be used, how many examples it has, and the mean of what they get.

    That is a probability for each class, (classes,), or the value of a regression, (1,). What
    cannot be used is printed with the reason.
    """
    from training.models.loading import to_device

    to_device(model.network, device)
    for block in blocks_of(clips):
        examples = extract_block(block, model.recipe)
        for number, reason in examples.left_out:
            logger.error(printable(f"{clips[number].name}: left out: {reason}"))
        if examples.rows:
            numbers = np.array([row[0] for row in examples.rows])
            _, means = by_clip(numbers, numbers, model.probabilities(examples, device))
            found, counts = np.unique(numbers, return_counts=True)
            for number, count, mean in zip(found, counts, means, strict=True):
                yield clips[number], int(count), mean


def classify(model: Model, clips: list[Clip], device: "torch.device", path: Path) -> int:
    """Print and write what a network says of clips; return how many were left out.

    Raises:
        UserError: not one can be used.
    """
    classes = model.described.classes
    rows: list[dict[str, Any]] = []
    for clip, count, mean in predict(model, clips, device):
        best = int(mean.argmax())
        said = f"{mean[0]:.6g}" if model.described.is_regression else classes[best]
        shown = said if model.described.is_regression else f"{said}  {mean[best]:.3f}"
        name = printable(clip.name)
        logger.info(f"{name}  {shown}")
        of_classes = {f"p_{each}": f"{p:.6g}" for each, p in zip(classes, mean, strict=False)}
        rows.append(
            {"clip": no_formula(name), "segments": count, "prediction": no_formula(said)}
            | of_classes
        )
    num_left_out = len(clips) - len(rows)
    if not rows:
        raise UserError(f"not one of {counted(len(clips), 'recording')} can be used")
    write_rows(path, rows, list(rows[0]))
    left_out = f"; {counted(num_left_out, 'recording')} left out" if num_left_out else ""
    logger.info(f"wrote {counted(len(rows), 'recording')} to {display_path(path)}{left_out}")
    return num_left_out


def export(model: Model, form: str, path: Path) -> None:
    """Write a network for other programs, and beside it the JSON that says how to use it.

    Raises:
        UserError: its code cannot be traced, the format lacks what it does, or the path's
            extension is not the format's.
    """
    suffix, write = FORMATS[form]
    if path.suffix != suffix:
        raise UserError(f"--output {path}: must end in {suffix}")
    example = model.described.example
    write(trace(model.network, model.place, example.frames, example.bins), path, model.content)
    write_json(path.with_suffix(".json"), model.content)
    beside = f"beside it {path.stem}.json, which says how to use it"
    logger.info(f"wrote {display_path(path)}, and {beside}")


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = settings_parser(__doc__)
    parser.add_argument("model", metavar="MODEL", type=path_argument)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECORDINGS [GPU]",
        help="files, folders and .csv files; a number at the end is a GPU, -1 the CPU (default)",
    )
    parser.add_argument("--export", choices=FORMATS, help="write the network for other programs")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=path_argument,
        help="default: in predictions/ or exports/ of the results folder, with the model's name",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit code."""
    words = list(arguments.words)
    gpu = int(words.pop()) if words and re.fullmatch(r"-1|\d+", words[-1]) else CPU
    if bool(words) == bool(arguments.export):
        raise UserError("name recordings to classify, or --export torch or --export onnx")
    settings = settings_from(arguments)
    model = load_model(arguments.model, settings)
    log_to(settings.results.results_folder)
    folder, name = settings.results.results_folder, model.described.name
    if arguments.export:
        suffix, _ = FORMATS[arguments.export]
        export(model, arguments.export, arguments.output or folder / "exports" / (name + suffix))
        return 0
    clips = [clip for word in words for clip in clips_without_labels(Path(word))]
    from training.engine.devices import choose_device

    path = arguments.output or folder / "predictions" / f"{name}.csv"
    num_left_out = classify(model, clips, choose_device(gpu), path)
    return EXIT_FAILED_RUNS if num_left_out else 0


if __name__ == "__main__":
    run_command(lambda: main(build_parser().parse_intermixed_args()))
