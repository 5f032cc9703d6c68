"""results/runs.csv: a row for each run, set and metric, for figures and tables of one's own."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from config.errors import UserError
from config.files import require_fields, waited_for
from config.listing import folders_in
from config.text import counted, display_path
from preprocessing.pipeline.tables import rows_text, write_rows
from training.engine.subsets import worst_value
from training.results.dictionary import SETS
from training.results.loading import ResultReader, result_paths
from training.results.method_names import (
    keys_that_differ,
    kind_of,
    labels_of,
    layer_of,
    own_parameters,
    setting_of,
)
from training.results.result import SUMMARY_KEYS, Result

RUNS_TABLE = "runs.csv"
FOLDER_START = "experiment_"
# What columns are called that show a parameter under another name.
NAMES = {
    "features_type": "features",
    "at_dataset": "frozen_networks",
    "at_pretraining": "pretraining",
    "at_beta": "beta",
    "at_aggregation": "aggregation",
    "at_distance": "distance",
}
# These are always there; further parameters are if the runs differ in them.
RUN_COLUMNS = (
    *("experiment", "run", "method", "kind", "dataset", "split", "task", "features", "network"),
    *("width", "layer", "frozen_networks", "pretraining", "beta", "aggregation", "distance"),
    *("learning_rate", "batch_size", "num_folds", "seed", "search", "search_trial"),
    *("test_chance", "collapsed", "seconds", "suite", "commit", "fingerprint"),
)
EXAMPLES = "examples"
VALUE_COLUMNS = ("set", "metric", "value", "sd_over_folds", "examples", "clips")

# What a result's file holds, but lists, and the same as it was checked.
Stored = tuple[Mapping[str, Any], Result]
Row = dict[str, Any]


def update_runs_table(results_folder: Path, reader: ResultReader) -> str:
    """Bring the table up to date with all results that there are now; one process at a time.

    A table that is up to date is not touched, so that its folder may be read-only.

    Returns:
        how many results it lacks because they are damaged, and why; empty if none are.
    """
    path = results_folder / RUNS_TABLE
    rows, columns, damaged = _table(results_folder, reader)
    if not path.exists() or path.read_bytes() != rows_text(rows, columns).encode():
        with waited_for(results_folder / f".{path.stem}.lock"):
            rows, columns, damaged = _table(results_folder, reader)
            write_rows(path, rows, columns)
    if not damaged:
        return ""
    return f"{display_path(path)}: lacks {counted(len(damaged), 'damaged result')}: {damaged[0]}"


def _table(
    results_folder: Path, reader: ResultReader
) -> tuple[list[Row], Sequence[str], list[str]]:
    """Return the rows and columns of the table, and why it lacks damaged results."""
    stored, damaged = _read_all(results_folder, reader)
    runs = _runs(stored)
    further = [key for key in keys_that_differ(runs) if key not in RUN_COLUMNS]
    columns = (*RUN_COLUMNS, *further)
    rows = [
        {**{key: run.get(key) for key in columns}, **values}
        for run, (content, result) in zip(runs, stored, strict=True)
        for values in (*_values(content), *_values_of_groups(result))
    ]
    return rows, (*columns, *VALUE_COLUMNS), damaged


def _read_all(results_folder: Path, reader: ResultReader) -> tuple[list[Stored], list[str]]:
    """Return all results, by experiment and number, and why others cannot be read."""
    ends = [each.name.removeprefix(FOLDER_START) for each in folders_in(results_folder)]
    stored: list[Stored] = []
    damaged = []
    for end in filter(str.isdecimal, ends):
        for path in result_paths(results_folder, int(end)):
            try:
                if (content := reader.find(path)) is not None:
                    stored.append((content, require_fields(content, Result, display_path(path))))
            except UserError as error:
                damaged.append(str(error))
    return sorted(stored, key=lambda each: (each[1].experiment, each[1].number)), damaged


def _runs(stored: Sequence[Stored]) -> list[Row]:
    """Return what each run is: its method, called as in the report, its parameters and facts."""
    runs = [_run(*each) for each in stored]
    comparisons: dict[str, list[int]] = {}
    for place, (_, result) in enumerate(stored):
        # The trials of a search differ in what it tries, which tells no methods apart.
        key = repr((sorted(result.setting.items()), result.is_trial))
        comparisons.setdefault(key, []).append(place)
    for places in comparisons.values():
        parameters = [stored[place][0]["parameters"] for place in places]
        for place, label in zip(places, labels_of(parameters), strict=True):
            runs[place]["method"] = label
    return runs


def _run(content: Mapping[str, Any], result: Result) -> Row:
    """Return what a run is, without what its method is called; unused parameters are left out."""
    parameters, provenance = result.parameters.model_dump(), content.get("provenance", {})
    used = {**setting_of(parameters), **own_parameters(parameters)}
    layer = kind_of(parameters).layer
    chances = _in_all(_folds(content), "test_chance")
    return {
        **{NAMES.get(key, key): value for key, value in used.items() if key != layer},
        **{key: parameters.get(key) for key in ("kind", "seed", "search", "search_trial")},
        "experiment": result.experiment,
        "run": result.number,
        "network": result.parameters.network,
        "layer": layer_of(parameters),
        "split": result.split,
        "test_chance": fmean(chances) if chances else None,
        "collapsed": result.collapsed,
        **{key: provenance.get(key) for key in ("seconds", "suite", "commit")},
        "fingerprint": result.fingerprint,
    }


def _values(content: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the metrics of each set of a run: means over its folds."""
    folds = _folds(content)
    for set_name, key in SUMMARY_KEYS.items():
        summary = content["summary"][key]
        counts = {name: _in_all(folds, f"{SETS[key]}_{name}") for name in ("examples", "clips")}
        for name, value in summary.items():
            if name.startswith("mean_"):
                metric = name.removeprefix("mean_")
                values = _in_all(folds, f"{SETS[key]}_{metric}")
                yield {
                    "set": set_name,
                    "metric": metric,
                    "value": value,
                    "sd_over_folds": stdev(values) if len(values) > 1 else None,
                    **{name: sum(each) for name, each in counts.items() if each},
                }


def _values_of_groups(result: Result) -> Iterator[Row]:
    """Yield the metrics of parts of the test set, over all folds.

    The parts are the examples that a confounder helps and misleads, and of each orthogonal label
    those with the value that is told worst.
    """
    parts = [
        (side, metric, metrics) for side, metrics in result.alignment.items() for metric in metrics
    ]
    for label in dict.fromkeys(label for fold in result.folds for label in fold.test_groups):
        groups = result.groups_of(label)
        for metric in next(iter(groups.values()), {}):
            parts.append((f"worst_{label}", metric, groups[worst_value(groups, metric)]))
    for name, metric, metrics in parts:
        if metric != EXAMPLES:
            row = {"set": "test", "metric": f"{name}_{metric}", "value": metrics[metric]}
            yield row | {EXAMPLES: int(metrics[EXAMPLES])}


def _folds(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [content[key] for key in content if key.isdecimal()]


def _in_all(folds: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """Return what the folds have under a key; none if one of them has nothing."""
    values = [fold.get(key) for fold in folds]
    return [] if None in values else values
