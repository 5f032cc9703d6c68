"""What experiments need (data, extractors, other results, disk), and the commands that make it."""

import argparse
import csv
import shlex
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from config.errors import UserError
from config.experiments import Experiment
from config.extractors import EXTRACTORS, TRAINING_AUDIO
from config.selection import CPU, EXPERIMENTS_FOLDER, MANAGER
from config.settings import RANDOM, Settings, TrainingDefaults
from config.text import display_path
from preprocessing.corpora import all_datasets
from preprocessing.pipeline.matrices import (
    Matrices,
    matrices_name,
    matrices_ready,
    open_matrices,
    part_path,
    read_info,
)
from training.models.weights import is_at_chance, quality, read_description
from training.results.loading import count_finished
from training.similarity.aggregations import POOL
from training.sweep.runs import Run

if TYPE_CHECKING:
    from training.engine.memory import MemoryEstimate

# The length of examples is the dataset's own unless it is set, and both backends agree.
NOT_OF_FEATURES = {"sequence_length", "features_backend"}
# Of the experimental similarity, in a trial on synthetic digits.
RISKY_POOL_LAYER, RISKY_POOL_BETA = 7, 3.0
FULL_MODEL_BYTES = 134_275_780 * 4


class Stock:
    """What lies on the disk, each thing read once however many runs need it."""

    def __init__(self) -> None:
        self.has_matrices = cache(matrices_ready)
        self.matrices = cache(open_matrices)
        self.extractor = cache(read_description)
        self.num_finished = cache(count_finished)
        self.training_audio = cache(_training_audio)
        self.test_contents = cache(self._test_contents)

    def _test_contents(
        self, folder: Path, name: str, fractions: tuple[float, float, float], num_folds: int
    ) -> set[str]:
        """Hashes of the audio in the test sets of all folds."""
        matrices = self.matrices(folder, name)
        folds = matrices.folds(fractions, num_folds)
        return _contents_of(matrices, {group for fold in folds for group in fold.test})


@dataclass(frozen=True)
class Missing:
    """Something an experiment needs, why it cannot be used, and the command that makes it."""

    problem: str
    command: str


def find_missing(runs: Sequence[Run], force: bool) -> list[Missing]:
    """Everything that keeps the runs from starting, each thing once."""
    chosen = {run.experiment.id for run in runs}
    stock = Stock()
    problems: dict[Missing, None] = {}
    for run in runs:
        for missing in (
            *_missing_matrices(run, stock),
            *_missing_extractors(run, stock, force),
            *_missing_experiment(run, stock, chosen),
        ):
            problems[missing] = None
    return [*problems, *_missing_space(runs)]


def _missing_matrices(run: Run, stock: Stock) -> list[Missing]:
    problem = _matrices_problem(run, stock)
    return [Missing(problem, _command_for(run.files.dataset))] if problem else []


@cache
def _command_for(dataset: str) -> str:
    known = all_datasets()
    return known[dataset].command if dataset in known else f"a script that makes {dataset}"


def _matrices_problem(run: Run, stock: Stock) -> str | None:
    name = matrices_name(run.files.dataset, run.files.features)
    folder = run.instance.settings.preprocessing.output_folder
    if not stock.has_matrices(folder, name):
        return f"{display_path(folder)}: no matrices {name}"
    try:
        matrices = stock.matrices(folder, name)
    except UserError as error:
        return str(error)
    different = _other_features(run, matrices)
    if different:
        return f"{display_path(folder)}: {name} was made with {different}"
    found, expected = len(matrices.classes), run.instance.parameters["output_classes"]
    if run.instance.parameters["task"] == "classification" and found != expected:
        return f"{name}: {found} classes, output_classes = {expected}"
    return None


def _other_features(run: Run, matrices: Matrices) -> str:
    """Settings that the matrices were made with and this run has otherwise."""
    settings, info = run.instance.settings, matrices.info
    stored = info.get("feature_extraction", {}) | info.get("preprocessing", {})
    stored |= {"sr_target": info["sample_rate"]} if "sample_rate" in info else {}
    wanted = settings.feature_extraction.model_dump(mode="json", exclude=NOT_OF_FEATURES)
    wanted |= settings.preprocessing.model_dump(mode="json", include=set(stored))
    wanted |= settings.sampling.model_dump()
    different = [
        f"{key} = {stored[key]}, this run has {value}"
        for key, value in wanted.items()
        if key in stored and stored[key] != value
    ]
    return "; ".join(different)


def _missing_extractors(run: Run, stock: Stock, force: bool) -> list[Missing]:
    settings = run.instance.settings
    missing = []
    for name in settings.training_defaults.extractors:
        if name not in EXTRACTORS:
            key = (
                "at_dataset" if name in settings.training_defaults.at_dataset else "at_pretraining"
            )
            raise UserError(
                f"{display_path(run.experiment.file)}: no extractor {name}; "
                f"there are {', '.join([*EXTRACTORS, *([RANDOM] if key == 'at_dataset' else [])])} "
                f"(see [training_defaults] {key})"
            )
        problem = _extractor_problem(settings, name, stock, force)
        if problem:
            missing.append(Missing(problem, EXTRACTORS[name].command))
    return missing


def _extractor_problem(settings: Settings, name: str, stock: Stock, force: bool) -> str | None:
    folder = settings.extractor_folder(name)
    try:
        description = stock.extractor(folder)
    except UserError as error:
        return str(error)
    width = description["architecture"].get("width")
    if width != settings.training_defaults.width:
        wanted = settings.training_defaults.width
        return f"{display_path(folder)}: has width {width}, this run has {wanted}"
    wanted_features = settings.feature_extraction.features_type
    features = description.get("plan", {}).get("features_type", wanted_features)
    if features != wanted_features:
        return f"{display_path(folder)}: was trained on {features}, this run has {wanted_features}"
    rate, wanted_rate = description.get("sample_rate"), settings.sampling.sr_target
    if rate not in (None, wanted_rate):
        return f"{display_path(folder)}: was trained at {rate} Hz, this run has {wanted_rate}"
    if is_at_chance(description) and not force:
        return (
            f"{display_path(folder)}: is at chance level ({quality(description)}); --force uses it"
        )
    return None


def _missing_experiment(run: Run, stock: Stock, chosen: Collection[int]) -> list[Missing]:
    source = run.instance.settings.training_defaults.source_experiment
    if source is None or source in chosen or stock.num_finished(run.files.results_folder, source):
        return []
    problem = (
        f"experiment {run.experiment.id} starts from the best run of experiment {source}, which "
        "has no results"
    )
    return [Missing(problem, f"{MANAGER} [{source}]")]


def _missing_space(runs: Sequence[Run]) -> list[Missing]:
    """Whether the disk takes the models of all runs."""
    needed: dict[Path, float] = {}
    for run in runs:
        training = run.instance.settings.training_defaults
        folder = run.files.results_folder
        if not run.files.json_path.exists():
            size = FULL_MODEL_BYTES * training.width**2 * training.num_folds
            needed[folder] = needed.get(folder, 0) + size
    missing = []
    for folder, size in needed.items():
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not existing.is_dir():
            raise UserError(f"[results] results_folder: {display_path(existing)} is no folder")
        free = shutil.disk_usage(existing).free
        if size > free:
            missing.append(
                Missing(
                    f"{display_path(folder)}: {size / 1e9:.1f} GB are needed for models, "
                    f"{free / 1e9:.1f} GB are free",
                    "--set results_folder=FOLDER on a larger disk",
                )
            )
    return missing


def split_of(experiment: Experiment) -> str:
    """How an experiment's data are divided, with what the sets share if the data are there."""
    settings = experiment.instances[0].settings
    name = matrices_name(experiment.dataset, settings.feature_extraction.features_type)
    try:
        return str(read_info(settings.preprocessing.output_folder, name)["split"])
    except (UserError, KeyError):
        return _split_types().get(experiment.dataset, "?")


@cache
def _split_types() -> dict[str, str]:
    return {name: dataset.split_type for name, dataset in all_datasets().items()}


def describe_inputs(runs: Sequence[Run], gpu: int | None) -> None:
    """Print what the runs will use.

    That is: the data with their split, each extractor with its own accuracy and the share of the
    test set that it was trained on, and the memory that the largest of the runs needs.

    Args:
        gpu: its number; -1: the CPU; None: not said, a GPU is meant.

    Raises:
        UserError: the CPU is to run them, and has too little memory.
    """
    stock = Stock()
    lines: dict[str, None] = {}
    overlaps: dict[tuple[str, str], str] = {}
    for run in runs:
        settings, training = run.instance.settings, run.instance.settings.training_defaults
        name = matrices_name(run.files.dataset, run.files.features)
        info = stock.matrices(settings.preprocessing.output_folder, name).info
        lines[f"data {name}: {info['num_examples']} examples, split {info['split']}"] = None
        for extractor in training.extractors:
            folder = settings.extractor_folder(extractor)
            if (extractor, name) not in overlaps:
                overlaps[extractor, name] = _overlap(folder, run, stock)
            figures = quality(stock.extractor(folder))
            lines[f"extractor {extractor}: {figures}; {overlaps[extractor, name]}"] = None
        if training.source_experiment is not None:
            source = training.source_experiment
            finished = stock.num_finished(run.files.results_folder, source)
            start = f"experiment {run.experiment.id} starts from the best of experiment {source}"
            lines[f"{start}, of which {finished} runs are finished now"] = None
    for warning in _warnings(runs):
        lines[warning] = None
    print("\n".join(lines))
    print(f"memory of the largest run: {_largest_estimate(runs, gpu, stock)}")


def _warnings(runs: Sequence[Run]) -> list[str]:
    """What is known to go wrong with settings that are allowed."""
    for run in runs:
        training = run.instance.settings.training_defaults
        layers = [layer for group in training.at_layer for layer in group]
        is_risky = (
            max(layers, default=0) >= RISKY_POOL_LAYER
            or max(training.at_beta, default=0) >= RISKY_POOL_BETA
        )
        if training.anti_transfer and training.at_aggregation == POOL and is_risky:
            return [
                f"warning: at_aggregation = {POOL} at layers of {RISKY_POOL_LAYER} and more, or "
                f"with at_beta of {RISKY_POOL_BETA:g} and more, fell to chance in a trial; a run "
                "that does is reported as collapsed"
            ]
    return []


def _largest_estimate(runs: Sequence[Run], gpu: int | None, stock: Stock) -> "MemoryEstimate":
    from training.engine.device_memory import free_machine_bytes
    from training.engine.memory import TrainingPlan, estimate_memory
    from training.engine.memory_limits import require_memory

    on_cpu = gpu == CPU
    free = free_machine_bytes() if on_cpu else None
    estimates = []
    for run in runs:
        training = run.instance.settings.training_defaults
        name = matrices_name(run.files.dataset, run.files.features)
        matrices = stock.matrices(run.instance.settings.preprocessing.output_folder, name)
        _, num_frames, num_bins = matrices.predictors.shape
        num_classes = int(run.instance.parameters["output_classes"])
        device: Literal["cpu", "cuda"] = "cpu" if on_cpu else "cuda"
        plan = TrainingPlan.from_settings(training, num_classes, num_frames, num_bins, device)
        if free is not None:
            require_memory(plan, training.batch_size, free, "the CPU")
        estimates.append(estimate_memory(plan, training.batch_size))
    return max(estimates, key=lambda estimate: estimate.total)


def _overlap(extractor_folder: Path, run: Run, stock: Stock) -> str:
    """How many clips of the target's test set the extractor was trained on."""
    trained_on = stock.training_audio(extractor_folder)
    if trained_on is None:
        return "what it was trained on is not known"
    settings, training = run.instance.settings, run.instance.settings.training_defaults
    name = matrices_name(run.files.dataset, run.files.features)
    folder = settings.preprocessing.output_folder
    test = stock.test_contents(folder, name, training.fractions, training.num_folds)
    return f"trained on {len(test & trained_on)} of the {len(test)} test clips of {name}"


def _training_audio(folder: Path) -> set[str] | None:
    path = folder / TRAINING_AUDIO
    return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else None


def _contents_of(matrices: Matrices, groups: Collection[str]) -> set[str]:
    """Hashes of the audio of some groups' clips, read without waiting for pandas.

    Raises:
        UserError: the index of the matrices is broken.
    """
    path = part_path(matrices.folder, matrices.name, "index")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            group, content = header.index("group"), header.index("content")
            return {row[content] for row in rows if row[group] in groups}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{display_path(path)}: is no usable index: {error}") from None


def with_options(command: str, arguments: argparse.Namespace, gpu: int | None) -> str:
    """A command as these arguments want it: with their folders and width, on their GPU.

    Args:
        gpu: the one that was asked for; None: none was.
    """
    if not command.startswith("python "):
        return command
    options: list[str] = []
    if command.startswith(MANAGER):
        command = f"{command} {gpu or 0}"
        if arguments.experiments != EXPERIMENTS_FOLDER:
            options += ["--experiments", str(arguments.experiments)]
    elif command.startswith("python pretraining/") and gpu is not None:
        command = f"{command} {gpu}"
    options += [word for file in arguments.config for word in ("--config", str(file))]
    for override in arguments.overrides:
        section, _, key = override.partition("=")[0].strip().rpartition(".")
        of_training = section in ("", "training_defaults") and key in TrainingDefaults.model_fields
        if key == "width" or not of_training:
            options += ["--set", override]
    return " ".join([command, *map(shlex.quote, options)])
