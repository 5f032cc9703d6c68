"""Which instances of which experiments run, whether their inputs are there, and in what order.

python experiments_manager.py [20,21,22,23] 0        experiments on GPU 0; -1: the CPU
python experiments_manager.py [20,21] 0,1,2,3        four runs at a time, each on a GPU of its own
python experiments_manager.py [20,21] 0 --launcher ray --address HOST:PORT      on a Ray cluster
python experiments_manager.py [20] 0 3 5             instances 3 to 5 only
python experiments_manager.py [20] 0 [1,4,13]        instances 1, 4 and 13
python experiments_manager.py --list                 all experiments, done / all
python experiments_manager.py --check [20,21]        is everything there that they need?
python experiments_manager.py --summary [20,21]      the results so far
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.command_line import (
    EXIT_USER_ERROR,
    add_launcher_options,
    log_to,
    run_command,
    settings_parser,
)
from config.experiments import Experiment, load_experiments
from config.listing import files_in
from config.log import logger
from config.selection import METAVAR, add_experiments_option, parse_selection, require_gpus
from config.settings import Results
from config.text import aligned, counted, display_path
from training.engine.distributed import is_main, only_main_speaks
from training.models.frozen import sources_of
from training.results.loading import count_failed, load_results
from training.results.runs_table import RUNS_TABLE
from training.sweep.input_cache import InputCache
from training.sweep.inputs import find_missing, known_to
from training.sweep.overview import describe_inputs, split_of
from training.sweep.runs import Run, choose_runs, in_order, runs_of
from training.sweep.status import refusals, refuse_unfit, status_of


def list_experiments(experiments: Mapping[int, Experiment], results_folder: Path) -> None:
    """Print the table of --list, and what keeps results from counting as done."""
    rows = [("ID", "done", "dataset", "split", "orthogonal task", "question")]
    inputs = InputCache()
    notes = []
    for experiment in experiments.values():
        statuses = {run: status_of(run, inputs) for run in runs_of(experiment)}
        notes += refusals(statuses)
        done = sum(status.is_finished for status in statuses.values())
        counts = Counter(filter(None, (status.words for status in statuses.values())))
        counts["failed"] = count_failed(results_folder, experiment.id)
        others = [f"{number} {words}" for words, number in counts.items() if number]
        rows.append(
            (
                str(experiment.id),
                ", ".join([f"{done}/{len(statuses)}", *others]),
                experiment.dataset,
                split_of(experiment),
                _orthogonal_task(experiment),
                experiment.question,
            )
        )
    logger.info("\n".join([*aligned(rows), *notes]))


def check_results(runs: Sequence[Run], overwrite: bool, inputs: InputCache) -> None:
    """Print how many of the runs are finished.

    Raises:
        UserError: a result stands in the way of a run.
    """
    statuses = {run: status_of(run, inputs) for run in runs}
    if not overwrite:
        refuse_unfit(statuses)
    done = sum(status.is_finished for status in statuses.values())
    are = "is" if len(runs) == 1 else "are"
    logger.info(f"{done} of {counted(len(runs), 'instance')} {are} finished")


def _orthogonal_task(experiment: Experiment) -> str:
    settings = experiment.instances[0].settings
    training = settings.training_defaults
    controls_last = sorted(sources_of(settings), key=lambda source: source.is_untrained)
    tasks = [*dict.fromkeys(source.words for source in controls_last)]
    if training.gradient_reversal_label:
        tasks.append(f"{training.gradient_reversal_label} (gradient reversal)")
    if training.source_experiment is not None:
        tasks.append(str(training.at_pretraining))
    return ", ".join(tasks) or "-"


def print_summary(experiments: Sequence[Experiment], settings: Results) -> None:
    """Print the report's table, what may be concluded, and where the files are."""
    from plotting.reporting.summary import summary_text

    # By ID, as in the report: the order in which experiments run decides no order of methods.
    identifiers = sorted(each.id for each in experiments)
    results = [
        each
        for one in identifiers
        for each in load_results(settings.results_folder, one, settings.report_metric)
    ]
    if not results:
        logger.info("none of these experiments has a finished instance")
        return
    logger.info(f"\n{summary_text(results)}\n")
    print_paths(experiments, settings.results_folder)


def print_paths(experiments: Sequence[Experiment], results_folder: Path) -> None:
    """Print what the experiments were made from, and where their results lie."""
    settings = [instance.settings for each in experiments for instance in each.instances]
    folders = {
        one.extractor_folder(source.name): None
        for one in settings
        for source in sources_of(one)
        if source.name in one.extractors
    }
    for folder in folders:
        if folder.exists():
            logger.info(f"used {display_path(folder)}/")
    for experiment in experiments:
        folder = results_folder / f"experiment_{experiment.id}"
        if folder.exists():
            logger.info(f"see {display_path(folder)}/ (models, dictionaries, parameters)")
        for path in files_in(folder / "results", ".xlsx"):
            if path.stem.endswith("_results_spreadsheet"):
                logger.info(f"see {display_path(path)}")
    if (results_folder / RUNS_TABLE).exists():
        logger.info(f"see {display_path(results_folder / RUNS_TABLE)} (all runs, for pandas)")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = settings_parser(__doc__)
    parser.add_argument("words", nargs="*", metavar=METAVAR, help="see the examples above")
    parser.add_argument(
        "--list", action="store_true", help="show all experiments, or those named, and stop"
    )
    parser.add_argument("--check", action="store_true", help="show what is missing and stop")
    parser.add_argument(
        "--summary", action="store_true", help="show the results there are and stop"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="run finished instances again as well"
    )
    parser.add_argument(
        "--force", action="store_true", help="use extractors that learnt nothing, too"
    )
    add_launcher_options(parser)
    add_experiments_option(parser)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit code."""
    only_main_speaks()
    everything = arguments.list and not arguments.words
    selection = None if everything else parse_selection(arguments.words)
    experiments = load_experiments(
        arguments.experiments,
        arguments.config,
        arguments.overrides,
        None if selection is None else selection.wanted,
    )
    # Experiment files cannot change [results]: it is the same for all of them.
    some_settings = next(iter(experiments.values())).instances[0].settings
    results_folder = some_settings.results.results_folder
    if arguments.list or selection is None:
        list_experiments(experiments, results_folder)
        return 0
    chosen = in_order(list(experiments.values()))
    if arguments.summary:
        print_summary(chosen, some_settings.results)
        return 0
    if not arguments.check:
        log_to(results_folder)
    runs = choose_runs(chosen, selection)
    inputs = InputCache()
    missing = find_missing(runs, arguments.force, inputs)
    for each in missing if is_main() else ():
        cure = f"\n    make it with: {each.command}" if each.command else ""
        logger.error(f"missing: {each.problem}{cure}")
    if missing:
        return EXIT_USER_ERROR
    describe_inputs(runs, inputs)
    if arguments.check:
        if measured := [run for run in runs if known_to(run.instance)]:
            from training.sweep.shortcut import describe_shortcuts

            describe_shortcuts(measured, inputs)
        check_results(runs, arguments.overwrite, inputs)
        logger.info(f"everything is there for {counted(len(runs), 'instance')}")
        return 0
    gpus = require_gpus(selection)
    from training.sweep.schedule import run_sweep

    code = run_sweep(runs, gpus, some_settings.cluster, arguments.overwrite, inputs)
    if is_main():
        print_summary(chosen, some_settings.results)
    return code


if __name__ == "__main__":
    run_command(lambda: main(build_parser().parse_intermixed_args()))
