"""Writes results/report/: one HTML page that says what the results show, its tables and figures.

python plotting/report.py                      all experiments that have results
python plotting/report.py [6,29,109]           some of them
python plotting/report.py [anti_transfer]      a family
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.command_line import run_command, settings_parser
from config.errors import UserError
from config.experiments import Experiment, load_experiments, select_experiments
from config.files import write_json, write_text
from config.json_files import read_json
from config.settings import display_path
from config.text import printable
from config.words import add_experiments_option, parse_words
from plotting.comparisons import Comparison, compare
from plotting.findings import Findings, find
from plotting.invariance_files import Measured, read_measured
from plotting.invariance_findings import (
    find_invariance,
    invariance_sentences,
    invariance_tables,
)
from plotting.report_page import Part, Picture, page
from plotting.report_published import published_table
from plotting.report_tables import all_tables, describe, experiments_of
from plotting.result_files import read_result
from plotting.runs import Run, run_of, shorten
from plotting.sentences import grouped_conclusions
from plotting.summary import text_of
from plotting.tables import Table, file_name, write_table
from training.results.loading import TWIN_NAME

FOLDER_NAME = "report"
PAGE_NAME = "report.html"
LIST_NAME = "written.json"
WRITTEN_NAME = re.compile(r"(tables|figures)/[A-Za-z0-9_]+\.(csv|tex|md|png|pdf)")
TITLE = "Anti-transfer: what the results show"
FOLDED_TABLES = ("layers", "invariance_layers")


def read_runs(results_folder: Path, experiment: int) -> list[Run]:
    """All finished instances of an experiment, whole, by number.

    Raises:
        UserError: a result is damaged.
    """
    folder = results_folder / f"experiment_{experiment}" / "results"
    runs = []
    for path in sorted(folder.glob("results_*.json")):
        match = TWIN_NAME.fullmatch(path.name)
        if match and match[1] == str(experiment):
            content = read_result(path).content
            runs.append(run_of(content, experiment, path.stem.removeprefix("results_")))
    return sorted(runs, key=lambda run: run.number)


def write_report(
    experiments: Sequence[Experiment], results_folder: Path
) -> tuple[Path, list[Findings]]:
    """Write the report of experiments; returns the page's path and what was found.

    Raises:
        UserError: none of them has a result, or a file is damaged.
    """
    runs = [run for each in experiments for run in read_runs(results_folder, each.id)]
    if not runs:
        raise UserError(
            f"{display_path(results_folder)}: none of these experiments has a finished instance; "
            f"run one: python experiments_manager.py [{experiments[0].id}] 0"
        )
    from plotting.figures import figure_style

    folder = results_folder / FOLDER_NAME
    measured = read_measured(results_folder, runs)
    comparisons = compare(runs)
    parts, found, written = [], [], []
    described = {each.id: each for each in experiments}
    with figure_style():
        for number, comparison in enumerate(comparisons, start=1):
            findings = find(comparison)
            part, paths = _write_part(findings, number, described, measured, folder)
            parts.append(part)
            found.append(findings)
            written += paths
    identifiers = ", ".join(map(str, experiments_of(comparisons)))
    subtitle = f"Experiments {identifiers}: {len(runs)} finished runs."
    path = folder / PAGE_NAME
    write_text(path, page(TITLE, subtitle, parts, measured.ignored))
    _remove_earlier(folder, written)
    return path, found


def _write_part(
    findings: Findings,
    number: int,
    experiments: Mapping[int, Experiment],
    measured: Measured,
    folder: Path,
) -> tuple[Part, list[Path]]:
    """One comparison: its tables and figures on the disk, and what the page shows of it."""
    from plotting.figures import write_figure
    from plotting.invariance_figures import invariance_figures
    from plotting.published import load_published
    from plotting.report_figures import all_figures

    comparison, published = findings.comparison, load_published()
    prefix = file_name(f"{number:02d}", shorten(comparison.dataset)[:60])
    tables = all_tables(findings, prefix)
    figures = all_figures(findings, prefix, published)
    sentences = dict(grouped_conclusions(findings))
    beside = published_table(published, findings, prefix)
    tables += [beside] if beside else []
    invariance = find_invariance(findings, measured)
    if invariance is not None:
        tables += invariance_tables(invariance, prefix)
        figures += invariance_figures(invariance, prefix)
        sentences["Is the network more invariant?"] = invariance_sentences(invariance)
    paths, pictures = [], []
    for table in tables:
        paths += write_table(table, folder / "tables")
    for each in figures:
        files = write_figure(each.figure, folder / "figures", each.name)
        paths += files
        pictures.append(Picture(each.name, each.title, each.alt, files[0]))
    part = Part(
        anchor=f"comparison-{number}",
        heading=shorten(f"{comparison.dataset}: {comparison.split}"),
        description=_description(comparison),
        findings=sentences,
        experiments=_described(comparison, experiments),
        tables=tables,
        folded=_folded(tables, prefix),
        pictures=pictures,
    )
    return part, paths


def _description(comparison: Comparison) -> str:
    """What all runs of the comparison share."""
    parameters = comparison.first.parameters
    keys = ("features_type", "width", "learning_rate", "batch_size", "num_epochs")
    trained = ", ".join(
        f"{key} {shorten(parameters[key])}" for key in keys if parameters.get(key) is not None
    )
    return f"{describe(comparison)}. Trained alike: {trained}."


def _described(
    comparison: Comparison, experiments: Mapping[int, Experiment]
) -> list[dict[str, Any]]:
    return [
        {
            "id": identifier,
            "description": experiments[identifier].description,
            "question": experiments[identifier].question,
        }
        for identifier in comparison.experiments
    ]


def _folded(tables: Sequence[Table], prefix: str) -> frozenset[str]:
    starts = tuple(file_name(prefix, name) for name in FOLDED_TABLES)
    return frozenset(table.name for table in tables if table.name.startswith(starts))


def _remove_earlier(folder: Path, written: Sequence[Path]) -> None:
    """Remove tables and figures of an earlier report that this one does not have."""
    names = sorted(path.relative_to(folder).as_posix() for path in written)
    path = folder / LIST_NAME
    earlier: Any = []
    if path.is_file():
        try:
            earlier = read_json(path).get("files")
        except UserError:  # then nothing is known of the earlier report
            earlier = []
    for name in earlier if isinstance(earlier, list) else []:
        if isinstance(name, str) and WRITTEN_NAME.fullmatch(name) and name not in names:
            (folder / name).unlink(missing_ok=True)
    write_json(path, {"files": names})


def with_results(experiments: Mapping[int, Experiment], results_folder: Path) -> list[Experiment]:
    """All experiments that have a finished instance.

    Raises:
        UserError: none has.
    """
    found = []
    for experiment in experiments.values():
        folder = results_folder / f"experiment_{experiment.id}" / "results"
        matches = (TWIN_NAME.fullmatch(path.name) for path in folder.glob("results_*.json"))
        if any(match and match[1] == str(experiment.id) for match in matches):
            found.append(experiment)
    if not found:
        raise UserError(
            f"{display_path(results_folder)}: holds no results; run an experiment first: "
            "python experiments_manager.py --list shows them"
        )
    return found


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = settings_parser(str(__doc__))
    parser.add_argument(
        "words", nargs="*", metavar="[IDs]", help="experiments or families; default: all"
    )
    add_experiments_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and print the main tables and sentences."""
    parsed = build_parser().parse_intermixed_args(arguments)
    experiments = load_experiments(parsed.experiments, parsed.config, parsed.overrides)
    results_folder = next(iter(experiments.values())).instances[0].settings.results.results_folder
    if parsed.words:
        request = parse_words(parsed.words)
        if request.gpu is not None:
            raise UserError(
                f"{printable(' '.join(parsed.words))}: only [IDs] can be given: a report needs no "
                "GPU and shows all instances"
            )
        chosen = select_experiments(experiments, request.wanted)
    else:
        chosen = with_results(experiments, results_folder)
    path, found = write_report(chosen, results_folder)
    print(f"\n{text_of(found)}")
    print(f"\nwrote {display_path(path)} (open it in a browser)")
    print(f"wrote {display_path(path.parent / 'tables')}/ (CSV, LaTeX, Markdown)")
    print(f"wrote {display_path(path.parent / 'figures')}/ (PNG, PDF)")
    return 0


if __name__ == "__main__":
    run_command(main)
