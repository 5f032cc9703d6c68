"""Writes results/report/: one HTML page that says what the results show, its tables and figures.

python plotting/report.py                      all experiments that have results
python plotting/report.py [6,29,109]           some of them
python plotting/report.py [anti_transfer]      a family
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.advice import again, run_again
from config.command_line import log_to, run_command, settings_parser
from config.errors import UserError
from config.experiments import Experiment, load_experiments
from config.files import waited_for, write_text
from config.log import logger
from config.selection import MANAGER, add_experiments_option, parse_selection
from config.text import counted, display_path, printable, shorten
from plotting.drawing import figures_attempted
from plotting.reporting.compare import Comparison, compare, undecided_searches
from plotting.reporting.figures import all_figures
from plotting.reporting.findings import Findings, find
from plotting.reporting.invariance import (
    find_invariance,
    invariance_sentences,
    invariance_tables,
)
from plotting.reporting.invariance_figures import invariance_figures
from plotting.reporting.page import Part, page
from plotting.reporting.sentences import conclusions
from plotting.reporting.shortcut import shortcut_table
from plotting.reporting.subsets import subset_tables
from plotting.reporting.summary import answer, answer_line
from plotting.reporting.table import file_name
from plotting.reporting.tables import all_tables, describe
from training.probing.files import Analysis, load_analyses
from training.results.loading import ResultReader, count_finished, load_results
from training.results.metric import DEFAULT_METRIC
from training.results.runs_table import RUNS_TABLE, update_runs_table

FOLDER_NAME = "report"
PAGE_NAME = "report.html"
WRITTEN_NAME = re.compile(r"[0-9]{2,}_[A-Za-z0-9_]+\.(csv|tex|md|png|pdf)")
TITLE = "Anti-transfer: what the results show"
SHARED_PARAMETERS = ("features_type", "width", "learning_rate", "batch_size", "num_epochs")


def write_report(
    experiments: Sequence[Experiment], results_folder: Path, report_metric: str = DEFAULT_METRIC
) -> tuple[Path, list[Findings]]:
    """Write the report of experiments; return the page's path and what was found.

    Raises:
        UserError: none of them has a result, or a file is damaged.
    """
    results = [
        each for one in experiments for each in load_results(results_folder, one.id, report_metric)
    ]
    if not results:
        raise UserError(
            f"{display_path(results_folder)}: none of these experiments has a finished instance; "
            f"run one: {run_again(experiments[0].id)}"
        )
    folder = results_folder / FOLDER_NAME
    analyses, ignored = load_analyses(results_folder, results)
    described = {each.id: each for each in experiments}
    found = [find(comparison) for comparison in compare(results)]
    problems = [*ignored, *undecided_searches(results)]
    parts: list[Part] = []
    written: list[Path] = []
    for number, findings in enumerate(found, start=1):
        part, paths = _write_part(findings, number, described, analyses, folder)
        parts.append(part)
        written += paths
    identifiers = sorted({result.experiment for result in results})
    experiments_named = "Experiment" if len(identifiers) == 1 else "Experiments"
    num_trials = sum(result.is_trial for result in results)
    subtitle = (
        f"{experiments_named} {', '.join(map(str, identifiers))}: "
        f"{counted(len(results), 'finished run')}"
        f"{f', of them {num_trials} trials of searches' if num_trials else ''}."
    )
    path = folder / PAGE_NAME
    write_text(path, page(TITLE, subtitle, parts, problems, folder / "figures"))
    _remove_earlier(folder, written)
    return path, found


def _write_part(
    findings: Findings,
    number: int,
    experiments: Mapping[int, Experiment],
    analyses: Mapping[str, Analysis],
    folder: Path,
) -> tuple[Part, list[Path]]:
    """Write a comparison's tables and figures; return its part of the page, and their paths."""
    comparison = findings.comparison
    prefix = file_name(f"{number:02d}", shorten(comparison.dataset)[:60])
    main, *others = all_tables(findings, prefix)
    strengths = shortcut_table(findings, prefix)
    tables = [main, *([strengths] if strengths.rows else []), *subset_tables(findings, prefix)]
    tables += others
    sentences = conclusions(findings)
    invariance = find_invariance(findings, analyses)
    if invariance is not None:
        tables += invariance_tables(invariance, prefix)
        sentences["Is the network more invariant?"] = invariance_sentences(invariance)
    paths, pictures = [], []
    for table in tables:
        paths += table.write(folder / "tables")
    with figures_attempted(comparison.dataset):
        figures = all_figures(findings, prefix)
        figures += invariance_figures(invariance, prefix) if invariance is not None else []
        for figure in figures:
            picture, files = figure.write(folder / "figures")
            pictures.append(picture)
            paths += files
    part = Part(
        anchor=f"comparison-{number}",
        title=shorten(comparison.title),
        heading=shorten(comparison.heading),
        answer=answer(findings),
        description=_description(comparison),
        findings=sentences,
        experiments=[experiments[identifier] for identifier in comparison.experiments],
        tables=sorted((table.readable for table in tables), key=lambda table: table.folded),
        pictures=pictures,
    )
    return part, paths


def _description(comparison: Comparison) -> str:
    """Say what all runs of the comparison share, which what a search chose is not."""
    parameters = comparison.groups[0].parameters
    searched = {key for group in comparison.groups for key in group.searched}
    trained = ", ".join(
        f"{key} {shorten(parameters[key])}"
        for key in SHARED_PARAMETERS
        if parameters.get(key) is not None and key not in searched
    )
    return f"{describe(comparison)}. Trained alike: {trained}."


def _remove_earlier(folder: Path, written: Sequence[Path]) -> None:
    """Remove tables and figures of an earlier report that this one does not have."""
    for path in folder.glob("*/*"):
        if WRITTEN_NAME.fullmatch(path.name) and path not in written:
            path.unlink()


def with_results(experiments: Mapping[int, Experiment], results_folder: Path) -> list[Experiment]:
    """Return all experiments that have a finished instance.

    Raises:
        UserError: none has.
    """
    found = [each for each in experiments.values() if count_finished(results_folder, each.id)]
    if not found:
        raise UserError(
            f"{display_path(results_folder)}: holds no results; run an experiment first: "
            f"{again(f'{MANAGER} --list')} shows them"
        )
    return found


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = settings_parser(__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="[IDs]", help="experiments or families; default: all"
    )
    add_experiments_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; print where it is, and in one line for each comparison the answer."""
    parsed = build_parser().parse_intermixed_args(arguments)
    wanted = None
    if parsed.words:
        selection = parse_selection(parsed.words)
        if selection.gpu is not None:
            raise UserError(
                f"{printable(' '.join(parsed.words))}: only [IDs] can be given: a report needs no "
                "GPU and shows all instances"
            )
        wanted = selection.wanted
    experiments = load_experiments(parsed.experiments, parsed.config, parsed.overrides, wanted)
    settings = next(iter(experiments.values())).instances[0].settings.results
    results_folder = settings.results_folder
    log_to(results_folder)
    chosen = list(experiments.values()) if wanted else with_results(experiments, results_folder)
    with waited_for(results_folder / FOLDER_NAME / ".lock", "report"):
        path, found = write_report(chosen, results_folder, settings.report_metric)
    lacking = update_runs_table(results_folder, ResultReader())
    if lacking:
        logger.warning(f"warning: {lacking}")
    logger.info(f"wrote {display_path(path)} (open it in a browser)")
    logger.info(f"wrote {display_path(path.parent / 'tables')}/ (CSV, LaTeX, Markdown)")
    logger.info(f"wrote {display_path(path.parent / 'figures')}/ (PNG, PDF)")
    logger.info(f"see {display_path(results_folder / RUNS_TABLE)} (all runs, for pandas)")
    for findings in found:
        logger.info(answer_line(findings))
    return 0


if __name__ == "__main__":
    run_command(main)
