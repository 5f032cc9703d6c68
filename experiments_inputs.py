"""What experiments need (data, extractors, other results, disk), and the commands that make it."""

import argparse
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import UserError
from config.experiments import Experiment, Instance
from config.settings import Settings, TrainingDefaults, display_path
from preprocessing.corpora import all_datasets
from preprocessing.pipeline.matrices import (
    Matrices,
    matrices_name,
    matrices_ready,
    open_matrices,
    read_info,
)
from pretraining.extractors import EXTRACTORS
from pretraining.pretrain import TRAINING_AUDIO
from training.network_files import learnt_nothing, quality, read_description
from training.results import InstanceFiles, count_finished

BEST_OF_EXPERIMENT = re.compile(r"experiment (\d+)")
# The length of examples is the dataset's own unless it is set, and both backends agree.
NOT_OF_FEATURES = {"sequence_length", "features_backend"}
FULL_MODEL_BYTES = 134_275_780 * 4


@dataclass(frozen=True)
class Run:
    """One instance to be run."""

    experiment: Experiment
    instance: Instance
    files: InstanceFiles

    @property
    def title(self) -> str:
        """What the progress bar shows."""
        comment = self.instance.parameters["comment_2"] or self.instance.parameters["comment_1"]
        return f"experiment {self.experiment.id} run {self.instance.number} {comment}"


@dataclass(frozen=True)
class Missing:
    """Something an experiment needs, why it cannot be used, and the command that makes it."""

    problem: str
    command: str


def files_of(experiment: Experiment, instance: Instance) -> InstanceFiles:
    """Where an instance's results lie."""
    return InstanceFiles(
        results_folder=instance.settings.results.results_folder,
        experiment=experiment.id,
        number=instance.number,
        dataset=experiment.dataset,
        features=str(instance.parameters["features_type"]),
    )


def sources_of(experiment: Experiment) -> set[int]:
    """IDs of the experiments whose best run this one starts from."""
    sources = (i.settings.training_defaults.at_pretraining or "" for i in experiment.instances)
    return {int(match[1]) for match in map(BEST_OF_EXPERIMENT.fullmatch, sources) if match}


def find_missing(runs: Sequence[Run], force: bool) -> list[Missing]:
    """Everything that keeps the runs from starting, each thing once."""
    chosen = {run.experiment.id for run in runs}
    problems: dict[Missing, None] = {}
    for run in runs:
        for missing in (
            *_missing_matrices(run),
            *_missing_extractors(run, force),
            *_missing_experiments(run, chosen),
        ):
            problems[missing] = None
    return [*problems, *_missing_space(runs)]


def _missing_matrices(run: Run) -> list[Missing]:
    name = matrices_name(run.files.dataset, run.files.features)
    folder = run.instance.settings.preprocessing.output_folder
    dataset = all_datasets().get(run.files.dataset)
    command = dataset.command if dataset else f"a script that makes {run.files.dataset}"
    if not matrices_ready(folder, name):
        return [Missing(f"{display_path(folder)}: no matrices {name}", command)]
    try:
        classes = open_matrices(folder, name).classes
    except UserError as error:
        return [Missing(str(error), command)]
    different = _other_features(run, name)
    if different:
        return [Missing(f"{display_path(folder)}: {name} was made with {different}", command)]
    expected = run.instance.parameters["output_classes"]
    if run.instance.parameters["task"] == "classification" and len(classes) != expected:
        return [Missing(f"{name}: {len(classes)} classes, output_classes = {expected}", command)]
    return []


def _other_features(run: Run, name: str) -> str:
    """Settings of the features that the matrices were made with and this run has otherwise."""
    settings = run.instance.settings
    stored = read_info(settings.preprocessing.output_folder, name).get("feature_extraction", {})
    wanted = settings.feature_extraction.model_dump(mode="json", exclude=NOT_OF_FEATURES)
    different = [
        f"{key} = {stored[key]}, this run has {value}"
        for key, value in wanted.items()
        if key in stored and stored[key] != value
    ]
    return "; ".join(different)


def _missing_extractors(run: Run, force: bool) -> list[Missing]:
    settings, training = run.instance.settings, run.instance.settings.training_defaults
    missing = []
    for name in _extractors_of(training):
        if name not in EXTRACTORS:
            raise UserError(
                f"{display_path(run.experiment.file)}: no extractor {name}; "
                f"there are {', '.join(EXTRACTORS)}"
            )
        problem = _extractor_problem(settings, name, force)
        if problem:
            missing.append(Missing(problem, EXTRACTORS[name].command))
    return missing


def _extractor_problem(settings: Settings, name: str, force: bool) -> str | None:
    folder = settings.extractor_folder(name)
    try:
        description = read_description(folder)
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
    if learnt_nothing(description) and not force:
        return (
            f"{display_path(folder)}: is at chance level ({quality(description)}); --force uses it"
        )
    return None


def _missing_experiments(run: Run, chosen: set[int]) -> list[Missing]:
    missing = []
    for source in sorted(sources_of(run.experiment) - chosen):
        if not count_finished(run.files.results_folder, source):
            missing.append(
                Missing(
                    f"experiment {run.experiment.id} starts from the best run of experiment "
                    f"{source}, which has no results",
                    f"python experiments_manager.py [{source}] 0",
                )
            )
    return missing


def _missing_space(runs: Sequence[Run]) -> list[Missing]:
    """Whether the disk takes the models of all runs."""
    needed: dict[Path, float] = {}
    for run in runs:
        training = run.instance.settings.training_defaults
        folder = run.files.results_folder
        if not run.files.twin.exists():
            size = FULL_MODEL_BYTES * training.width**2 * training.num_folds
            needed[folder] = needed.get(folder, 0) + size
    missing = []
    for folder, size in needed.items():
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
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
        dataset = all_datasets().get(experiment.dataset)
        return dataset.split_type if dataset else "?"


def describe_inputs(runs: Sequence[Run]) -> None:
    """Print what the runs will use.

    That is: the data with their split, and each extractor with its own accuracy and the share of
    the test set that it was trained on.
    """
    lines: dict[str, None] = {}
    overlaps: dict[tuple[str, str], str] = {}
    for run in runs:
        settings, training = run.instance.settings, run.instance.settings.training_defaults
        name = matrices_name(run.files.dataset, run.files.features)
        matrices = open_matrices(settings.preprocessing.output_folder, name)
        info = matrices.info
        lines[f"data {name}: {info['num_examples']} examples, split {info['split']}"] = None
        for extractor in _extractors_of(training):
            folder = settings.extractor_folder(extractor)
            if (extractor, name) not in overlaps:
                overlaps[extractor, name] = _overlap(folder, matrices, training)
            figures = quality(read_description(folder))
            lines[f"extractor {extractor}: {figures}; {overlaps[extractor, name]}"] = None
        for source in sorted(sources_of(run.experiment)):
            finished = count_finished(run.files.results_folder, source)
            start = f"experiment {run.experiment.id} starts from the best of experiment {source}"
            lines[f"{start}, of which {finished} runs are finished now"] = None
    print("\n".join(lines))


def _overlap(folder: Path, matrices: Matrices, training: TrainingDefaults) -> str:
    """How many clips of the target's test set the extractor was trained on."""
    path = folder / TRAINING_AUDIO
    if not path.exists():
        return "what it was trained on is not known"
    trained_on = set(path.read_text(encoding="utf-8").splitlines())
    folds = matrices.folds(training.fractions, training.num_folds)
    test = matrices.contents_of([group for fold in folds for group in fold.test])
    return f"trained on {len(test & trained_on)} of the {len(test)} test clips of {matrices.name}"


def _extractors_of(training: TrainingDefaults) -> list[str]:
    """Extractors that a training needs, for its penalty or its weights."""
    names = list(training.at_dataset) if training.anti_transfer else []
    if training.at_pretraining and not BEST_OF_EXPERIMENT.fullmatch(training.at_pretraining):
        names.append(training.at_pretraining)
    return names


def with_options(command: str, arguments: argparse.Namespace) -> str:
    """A command that works in the folders, and with the width, that these arguments set."""
    if not command.startswith("python "):
        return command
    options = [word for file in arguments.config for word in ("--config", str(file))]
    for override in arguments.overrides:
        section, _, key = override.partition("=")[0].strip().rpartition(".")
        of_training = section in ("", "training_defaults") and key in TrainingDefaults.model_fields
        if key == "width" or not of_training:
            options += ["--set", override]
    return " ".join([command, *map(shlex.quote, options)])
