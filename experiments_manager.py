"""Which instances of which experiments run, whether their inputs are there, and in what order.

python experiments_manager.py [20,21,22,23] 0        experiments on GPU 0; -1: the CPU
python experiments_manager.py [20] 0 3 5             instances 3 to 5 only
python experiments_manager.py --list                 all experiments, done / all
python experiments_manager.py --check [20,21]        is everything there that they need?
"""

import argparse
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.command_line import EXIT_FAILED_RUNS, EXIT_USER_ERROR, run_command, settings_parser
from config.errors import UserError
from config.experiments import Experiment, Instance, load_experiments, select_experiments
from config.settings import (
    PROJECT_FOLDER,
    Settings,
    TrainingDefaults,
    display_path,
    load_settings,
    printable,
)
from preprocessing.corpora import all_datasets
from preprocessing.pipeline.matrices import matrices_name, matrices_ready, open_matrices
from pretraining.extractors import EXTRACTORS
from training.network_files import learnt_nothing, quality, read_description
from training.results import InstanceFiles, count_finished, differences, read_result, read_results

EXPERIMENTS_FOLDER = PROJECT_FOLDER / "experiments_antitransfer"
BEST_OF_EXPERIMENT = re.compile(r"experiment (\d+)")
LEGEND = (
    "±: standard deviation over repetitions (other seeds, same split); chance: always naming the "
    "most frequent class of the test set"
)
FULL_MODEL_BYTES = 134_275_780 * 4


@dataclass(frozen=True)
class Request:
    """What the positional words ask for; gpu None: none given."""

    wanted: tuple[int | str, ...]
    gpu: int | None
    first: int | None
    last: int | None


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


def parse_words(words: Sequence[str]) -> Request:
    """'[20, 21] 0 1 13', however a shell or ipython cut it into words.

    Raises:
        UserError: the words are none of that.
    """
    text = " ".join(words).strip()
    match = re.fullmatch(r"(\[[^\[\]]*\]|[\w]+)((?:\s+-?\d{1,9})*)", text)
    if not match:
        raise UserError(
            f"{printable(text) or 'no experiments given'}: must be [IDs] GPU [first] [last], for "
            "example [20,21,22,23] 0 (GPU -1 is the CPU); --list shows the IDs"
        )
    names = [name.strip() for name in match[1].strip("[]").split(",") if name.strip()]
    if not names:
        raise UserError(f"{match[1]}: names no experiment; --list shows the IDs")
    numbers = [int(word) for word in match[2].split()]
    if len(numbers) > 3:
        raise UserError(f"{printable(text)}: only GPU, first and last instance follow the IDs")
    gpu, first, last = [*numbers, None, None, None][:3]
    if gpu is not None and gpu < -1:
        raise UserError(f"GPU {gpu}: must be a GPU's number, or -1 for the CPU")
    for word, number in (("first", first), ("last", last)):
        if number is not None and number < 1:
            raise UserError(f"{word} instance {number}: instances are numbered from 1")
    wanted = tuple(int(name) if re.fullmatch(r"\d{1,9}", name) else name for name in names)
    return Request(wanted, gpu, first, last)


def choose_runs(experiments: Sequence[Experiment], request: Request) -> list[Run]:
    """The instances asked for, in order.

    Raises:
        UserError: an experiment has no instance between first and last.
    """
    runs = []
    for experiment in experiments:
        first, last = request.first or 1, request.last or len(experiment.instances)
        chosen = [each for each in experiment.instances if first <= each.number <= last]
        if not chosen:
            raise UserError(
                f"experiment {experiment.id}: has instances 1 to {len(experiment.instances)}, "
                f"none from {first} to {last}"
            )
        runs += [Run(experiment, instance, _files(experiment, instance)) for instance in chosen]
    return runs


def _files(experiment: Experiment, instance: Instance) -> InstanceFiles:
    return InstanceFiles(
        results_folder=instance.settings.results.results_folder,
        experiment=experiment.id,
        number=instance.number,
        dataset=experiment.dataset,
        features=str(instance.parameters["features_type"]),
    )


def in_order(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Experiments after those whose best run they start from.

    Raises:
        UserError: they wait for each other.
    """
    waiting = list(experiments)
    ordered: list[Experiment] = []
    while waiting:
        ids = {experiment.id for experiment in waiting}
        ready = [each for each in waiting if not _sources(each) & (ids - {each.id})]
        if not ready:
            raise UserError(f"experiments {sorted(ids)} start from each other's results")
        ordered += ready
        waiting = [each for each in waiting if each not in ready]
    return ordered


def _sources(experiment: Experiment) -> set[int]:
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
    expected = run.instance.parameters["output_classes"]
    if run.instance.parameters["task"] == "classification" and len(classes) != expected:
        return [Missing(f"{name}: {len(classes)} classes, output_classes = {expected}", command)]
    return []


def _missing_extractors(run: Run, force: bool) -> list[Missing]:
    settings, training = run.instance.settings, run.instance.settings.training_defaults
    names = list(training.at_dataset) if training.anti_transfer else []
    if training.at_pretraining and not BEST_OF_EXPERIMENT.fullmatch(training.at_pretraining):
        names.append(training.at_pretraining)
    missing = []
    for name in names:
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
    if learnt_nothing(description) and not force:
        return (
            f"{display_path(folder)}: is at chance level ({quality(description)}); --force uses it"
        )
    return None


def _missing_experiments(run: Run, chosen: set[int]) -> list[Missing]:
    missing = []
    for source in sorted(_sources(run.experiment) - chosen):
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


def list_experiments(experiments: Mapping[int, Experiment], results_folder: Path) -> None:
    """Print the table of --list."""
    rows = [("ID", "done", "dataset", "orthogonal task", "question")]
    for experiment in experiments.values():
        done = count_finished(results_folder, experiment.id)
        rows.append(
            (
                str(experiment.id),
                f"{done}/{len(experiment.instances)}",
                experiment.dataset,
                _orthogonal_task(experiment),
                experiment.question,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))


def _orthogonal_task(experiment: Experiment) -> str:
    training = experiment.instances[0].settings.training_defaults
    names = list(training.at_dataset) if training.anti_transfer else []
    if training.at_pretraining:
        names.append(training.at_pretraining)
    tasks = [f"{EXTRACTORS[name].task} ({name})" if name in EXTRACTORS else name for name in names]
    return ", ".join(tasks) or "-"


def describe_inputs(runs: Sequence[Run]) -> None:
    """Print what the runs will use: data with their split, extractors with their own accuracy."""
    lines: dict[str, None] = {}
    for run in runs:
        settings, training = run.instance.settings, run.instance.settings.training_defaults
        name = matrices_name(run.files.dataset, run.files.features)
        info = open_matrices(settings.preprocessing.output_folder, name).info
        lines[f"data {name}: {info['num_examples']} examples, split {info['split_type']}"] = None
        sources = list(training.at_dataset) if training.anti_transfer else []
        if training.at_pretraining in EXTRACTORS:
            sources.append(str(training.at_pretraining))
        for source in sources:
            folder = settings.extractor_folder(source)
            lines[f"extractor {source}: {quality(read_description(folder))}"] = None
    print("\n".join(lines))


def run_all(runs: Sequence[Run], gpu: int, overwrite: bool) -> int:
    """Run what is not finished; returns the exit code."""
    from training.devices import choose_device
    from training.instance import Workshop, input_fingerprints, run_instance

    workshop = Workshop(device=choose_device(gpu))
    todo = _unfinished(runs, overwrite, lambda run: input_fingerprints(run.instance, workshop))
    print(f"{len(runs) - len(todo)} of {len(runs)} instances are finished, {len(todo)} to run")
    failures: list[str] = []
    for run in todo:
        try:
            run_instance(run.instance, run.files, workshop, run.title)
            _update_spreadsheet(run)
        except Exception as error:  # one failing instance must not stop the others
            failures.append(f"{run.title}: {_reason(error)}")
            print(f"failed: {failures[-1]}", file=sys.stderr)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return EXIT_FAILED_RUNS if failures else 0


def _reason(error: Exception) -> str:
    text = printable(" ".join(str(error).split()))
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _unfinished(
    runs: Sequence[Run], overwrite: bool, inputs_of: Callable[[Run], Mapping[str, str]]
) -> list[Run]:
    """Runs without a result.

    Raises:
        UserError: a result is there that was made with other parameters.
    """
    todo = []
    for run in runs:
        if overwrite or not run.files.twin.exists():
            todo.append(run)
            continue
        different = differences(
            read_result(run.files.twin), run.instance.parameters, inputs_of(run)
        )
        if different:
            raise UserError(
                f"{display_path(run.files.twin)}: was made otherwise ({'; '.join(different)}); "
                "--overwrite runs it again, --set results_folder=FOLDER keeps both"
            )
    return todo


def _update_spreadsheet(run: Run) -> None:
    from training.spreadsheet import write_spreadsheet

    rows: list[tuple[Mapping[str, Any], Path]] = []
    for instance in run.experiment.instances:
        files = _files(run.experiment, instance)
        if files.twin.exists():
            rows.append((read_result(files.twin), files.parameters))
    write_spreadsheet(run.files.spreadsheet, rows, run.instance.parameters["task"])
    description = run.files.folder / "description.txt"
    if not description.exists():
        from config.files import write_text

        text = f"{run.experiment.description}\n{run.experiment.question}\n"
        write_text(description, text)


def print_summary(experiments: Sequence[Experiment], results_folder: Path) -> None:
    """Print the table of accuracies, what may be concluded, and where the files are."""
    from training.summary import conclusions, group_results, summary_table

    groups = [
        group
        for experiment in experiments
        for group in group_results(
            experiment.id, experiment.description, read_results(results_folder, experiment.id)
        )
    ]
    if not groups:
        print("none of these experiments has a finished instance")
        return
    print()
    if any(group.has_accuracies for group in groups):
        print(summary_table(groups))
        print(LEGEND)
    for sentence in conclusions(groups):
        print(sentence)
    print_paths(experiments, results_folder)


def print_paths(experiments: Sequence[Experiment], results_folder: Path) -> None:
    """Print where the results of the experiments lie, and what they were made from."""
    settings = [instance.settings for each in experiments for instance in each.instances]
    extractors = {
        one.extractor_folder(name): None
        for one in settings
        for name in EXTRACTORS
        if name in (*one.training_defaults.at_dataset, one.training_defaults.at_pretraining)
    }
    for folder in (*extractors, settings[0].results.figures_folder):
        if folder.exists():
            print(f"wrote {display_path(folder)}/")
    for experiment in experiments:
        folder = results_folder / f"experiment_{experiment.id}"
        if folder.exists():
            print(f"wrote {display_path(folder)}/ (models, dictionaries, parameters)")
        for path in sorted(folder.glob("results/*_results_spreadsheet.xlsx")):
            print(f"wrote {display_path(path)}")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = settings_parser(str(__doc__))
    parser.add_argument(
        "words", nargs="*", metavar="[IDs] GPU [first] [last]", help="see the examples above"
    )
    parser.add_argument("--list", action="store_true", help="show all experiments and stop")
    parser.add_argument("--check", action="store_true", help="show what is missing and stop")
    parser.add_argument(
        "--summary", action="store_true", help="show the accuracies there are and stop"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="run finished instances again as well"
    )
    parser.add_argument(
        "--force", action="store_true", help="use extractors that learnt nothing, too"
    )
    parser.add_argument(
        "--experiments",
        metavar="FOLDER",
        type=Path,
        default=EXPERIMENTS_FOLDER,
        help="folder of experiment files; default: experiments_antitransfer",
    )
    return parser


def _with_options(command: str, arguments: argparse.Namespace) -> str:
    """A command that works in the folders, and with the width, that these arguments set."""
    if not command.startswith("python "):
        return command
    options = [word for file in arguments.config for word in ("--config", str(file))]
    for override in arguments.overrides:
        key = override.partition("=")[0].strip().rpartition(".")[2]
        if key == "width" or key not in TrainingDefaults.model_fields:
            options += ["--set", override]
    return " ".join([command, *map(shlex.quote, options)])


def main(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit code."""
    results_folder = load_settings(
        *arguments.config, overrides=arguments.overrides
    ).results.results_folder
    experiments = load_experiments(arguments.experiments, arguments.config, arguments.overrides)
    if arguments.list:
        list_experiments(experiments, results_folder)
        return 0
    request = parse_words(arguments.words)
    chosen = in_order(select_experiments(experiments, request.wanted))
    if arguments.summary:
        print_summary(chosen, results_folder)
        return 0
    runs = choose_runs(chosen, request)
    missing = find_missing(runs, arguments.force)
    for each in missing:
        command = _with_options(each.command, arguments)
        print(f"missing: {each.problem}\n    make it with: {command}", file=sys.stderr)
    if missing:
        return EXIT_USER_ERROR
    describe_inputs(runs)
    if arguments.check:
        print(f"everything is there for {len(runs)} instances")
        return 0
    if request.gpu is None:
        raise UserError("no GPU given: write its number after the IDs, or -1 for the CPU")
    code = run_all(runs, request.gpu, arguments.overwrite)
    print_summary(chosen, results_folder)
    return code


if __name__ == "__main__":
    run_command(lambda: main(build_parser().parse_intermixed_args()))
