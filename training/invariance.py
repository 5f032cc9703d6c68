"""What the layers of trained networks still know: probes for labels that a task does not need.

python training/invariance.py [200,201,202,203] 0      all finished instances, on GPU 0; -1: the CPU
python training/invariance.py [6,29] -1 --labels noise_type,speaker
                                                       these columns of the matrices' index

For each layer, on the test set: accuracy of a linear probe for each label, against chance and a
control with shuffled labels; similarity to the frozen networks; size of the activations. Networks
run in float32. Written to results/experiment_<ID>/invariance/, from where plotting/report.py takes
it. What is there is not computed again; other experiments may be analysed at the same time.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from config import advice
from config.command_line import EXIT_FAILED_RUNS, log_to, run_command, settings_parser
from config.errors import UserError
from config.experiments import load_experiments
from config.log import logger
from config.selection import MANAGER, METAVAR, add_experiments_option, parse_selection, require_gpu
from config.text import counted, display_path, printable
from training.models.frozen import sources_of
from training.results.loading import ResultReader
from training.sweep.runs import Run, choose_runs


class Reports:
    """Says each problem once, on one line, and remembers that there was one."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, problem: str) -> None:
        """Say it."""
        line = printable(problem)
        if line not in self._said:
            self._said.add(line)
            logger.error(line)

    @property
    def exit_code(self) -> int:
        """0 if there was no problem."""
        return EXIT_FAILED_RUNS if self._said else 0


def find_finished(
    runs: Sequence[Run], reader: ResultReader, report: Reports
) -> list[tuple[Run, dict[str, Any]]]:
    """Return the instances that have a result.

    Raises:
        UserError: there is none.
    """
    finished = []
    for run in runs:
        try:
            result = reader.find(run.files.json_path)
        except UserError as error:
            report(f"skipped: {run.title}: {error}")
            continue
        if result is not None:
            finished.append((run, result))
    if not finished:
        identifiers = ",".join(dict.fromkeys(str(run.experiment.id) for run in runs))
        command = advice.again(f"{MANAGER} [{identifiers}] {advice.gpu()}")
        raise UserError(
            f"not one of {counted(len(runs), 'instance')} is finished; {command} runs them"
        )
    are = "is" if len(runs) == 1 else "are"
    logger.info(f"{len(finished)} of {counted(len(runs), 'instance')} {are} finished")
    return finished


def frozen_names(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Return the frozen networks that any of the runs on a dataset uses, by the dataset's name."""
    names: dict[str, dict[str, None]] = {}
    for run in runs:
        used = names.setdefault(run.files.dataset, {})
        used |= dict.fromkeys(source.name for source in sources_of(run.instance.settings))
    return {dataset: tuple(used) for dataset, used in names.items()}


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = settings_parser(__doc__)
    parser.add_argument("words", nargs="*", metavar=METAVAR, help="as of the experiments manager")
    parser.add_argument(
        "--labels",
        metavar="COLUMN[,COLUMN]",
        default="",
        help="columns of the matrices' index to probe for; default: its orthogonal labels",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="compute again what is there already"
    )
    add_experiments_option(parser)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit code."""
    request = parse_selection(arguments.words)
    gpu = require_gpu(request)
    experiments = load_experiments(
        arguments.experiments, arguments.config, arguments.overrides, request.wanted
    )
    runs = choose_runs(list(experiments.values()), request)
    log_to(runs[0].files.results_folder)
    report = Reports()
    finished = find_finished(runs, ResultReader(), report)
    labels = tuple(filter(None, (name.strip() for name in arguments.labels.split(","))))
    from training.engine.devices import choose_device
    from training.probing.analysis import Analyst
    from training.sweep.run_context import RunContext

    analyst = Analyst(RunContext(choose_device(gpu)), labels, frozen_names(runs), report)
    analyst.analyse_all(finished, arguments.overwrite)
    for folder in dict.fromkeys(run.files.folder for run, _ in finished):
        if (folder / "invariance").exists():
            logger.info(f"wrote {display_path(folder / 'invariance')}/")
    identifiers = ",".join(dict.fromkeys(str(run.experiment.id) for run, _ in finished))
    command = advice.beforehand(f"python plotting/report.py [{identifiers}]")
    logger.info(f"{command} shows what was found")
    return report.exit_code


if __name__ == "__main__":
    run_command(lambda: main(build_parser().parse_intermixed_args()))
