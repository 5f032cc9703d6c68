"""Which instances of which experiments run, whether their inputs are there, and in what order.

python experiments_manager.py [20,21,22,23] 0        experiments on GPU 0; -1: the CPU
python experiments_manager.py [20] 0 3 5             instances 3 to 5 only
python experiments_manager.py --list                 all experiments, done / all
python experiments_manager.py --check [20,21]        is everything there that they need?
python experiments_manager.py --summary [20,21]      the accuracies so far
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.command_line import EXIT_USER_ERROR, run_command, settings_parser
from config.errors import UserError
from config.experiments import Experiment, load_experiments, select_experiments
from config.settings import display_path, printable
from experiments_inputs import (
    EXPERIMENTS_FOLDER,
    Run,
    describe_inputs,
    files_of,
    find_missing,
    sources_of,
    split_of,
    with_options,
)
from pretraining.extractors import EXTRACTORS
from training.results import ResultReader, count_failed, count_finished

LEGEND = (
    "±: standard deviation over repetitions (other seeds, same split); chance: always naming the "
    "most frequent class of the test set"
)


@dataclass(frozen=True)
class Request:
    """What the positional words ask for; gpu None: none given."""

    wanted: tuple[int | str, ...]
    gpu: int | None
    first: int | None
    last: int | None


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
        runs += [Run(experiment, instance, files_of(experiment, instance)) for instance in chosen]
    return runs


def in_order(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Experiments after those whose best run they start from.

    Raises:
        UserError: they wait for each other.
    """
    waiting = list(experiments)
    ordered: list[Experiment] = []
    while waiting:
        ids = {experiment.id for experiment in waiting}
        ready = [each for each in waiting if not sources_of(each) & (ids - {each.id})]
        if not ready:
            raise UserError(f"experiments {sorted(ids)} start from each other's results")
        ordered += ready
        waiting = [each for each in waiting if each not in ready]
    return ordered


def list_experiments(experiments: Mapping[int, Experiment], results_folder: Path) -> None:
    """Print the table of --list."""
    rows = [("ID", "done", "dataset", "split", "orthogonal task", "question")]
    for experiment in experiments.values():
        done = f"{count_finished(results_folder, experiment.id)}/{len(experiment.instances)}"
        failed = count_failed(results_folder, experiment.id)
        rows.append(
            (
                str(experiment.id),
                f"{done}, {failed} failed" if failed else done,
                experiment.dataset,
                split_of(experiment),
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
    names = list(training.extractors)
    if training.source_experiment is not None:
        names.append(str(training.at_pretraining))
    tasks = [f"{EXTRACTORS[name].task} ({name})" if name in EXTRACTORS else name for name in names]
    return ", ".join(tasks) or "-"


def print_summary(
    experiments: Sequence[Experiment], results_folder: Path, reader: ResultReader
) -> None:
    """Print the table of accuracies, what may be concluded, and where the files are."""
    from training.summary import conclusions, group_results, summary_table

    groups = [
        group
        for experiment in experiments
        for group in group_results(
            experiment.id, experiment.description, reader.find_all(results_folder, experiment.id)
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
        for name in one.training_defaults.extractors
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


def main(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit code."""
    experiments = load_experiments(arguments.experiments, arguments.config, arguments.overrides)
    # Experiment files cannot change [results]: it is the same for all of them.
    some_settings = next(iter(experiments.values())).instances[0].settings
    results_folder = some_settings.results.results_folder
    if arguments.list:
        list_experiments(experiments, results_folder)
        return 0
    request = parse_words(arguments.words)
    chosen = in_order(select_experiments(experiments, request.wanted))
    reader = ResultReader()
    if arguments.summary:
        print_summary(chosen, results_folder, reader)
        return 0
    runs = choose_runs(chosen, request)
    missing = find_missing(runs, arguments.force)
    for each in missing:
        command = with_options(each.command, arguments, request.gpu)
        print(f"missing: {each.problem}\n    make it with: {command}", file=sys.stderr)
    if missing:
        return EXIT_USER_ERROR
    describe_inputs(runs, request.gpu)
    if arguments.check:
        print(f"everything is there for {len(runs)} instances")
        return 0
    if request.gpu is None:
        raise UserError("no GPU given: write its number after the IDs, or -1 for the CPU")
    from experiments_runs import run_all

    code = run_all(runs, request.gpu, arguments.overwrite, reader)
    print_summary(chosen, results_folder, reader)
    return code


if __name__ == "__main__":
    run_command(lambda: main(build_parser().parse_intermixed_args()))
