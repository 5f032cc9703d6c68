"""The spreadsheet of an experiment: one row per instance, best values marked, means below.

Only plain numbers are written, so that programs that do not recalculate see them too.
"""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from config.fields import Task
from config.files import identity_of, waited_for, written_aside
from config.networks import PUBLISHED_NETWORK
from training.engine.metrics import CLIP_METRICS, SET_METRICS
from training.engine.subsets import Groups, pool_groups, worst_value
from training.results.dictionary import SETS, InstanceFiles, fingerprinted, has_segments
from training.results.loading import ResultReader
from training.results.method_names import keys_that_differ, text_of

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

# (what is read of an instance's JSON file, its parameters file) of each instance, by number
Rows = Sequence[tuple[Mapping[str, Any], Path]]

# Title and colour of each metric's columns; of clips and of examples they are the same.
METRIC_HEADERS = {
    "loss": ("LOSS", "#FF5050"),
    "acc": ("ACCURACY", "#FFA500"),
    "f1": ("F1", "#00FFFF"),
    "precision": ("PRECISION", "#BFFF00"),
    "recall": ("RECALL", "#FF66FF"),
    "uar": ("UAR", "#FFCC66"),
    "RMSE": ("RMSE", "#FFA500"),
    "MAE": ("MAE", "#00FFFF"),
    "CCC": ("CCC", "#BFFF00"),
}
PARAMETER_COLOUR, TITLE_COLOUR = "#FFFF00", "#D9D9D9"
BEST_MEAN_COLOUR, BEST_DEVIATION_COLOUR, WORST_COLOUR = "#92D050", "#9DC3E6", "#FF9999"
LOWEST_IS_BEST = ("loss", "RMSE", "MAE")
PARAMETER_HEADERS = ("ID", "parameters", "comment 1", "comment 2")
GROUP_HEADERS = ("label", "value", "examples")
DATA_HEADERS = ("ID", "dataset", "split", "chance (test)")
GROUP_ROW, STATISTIC_ROW, HEADER_ROW, FIRST_ROW = 1, 2, 3, 4
STATISTICS = ("mean over folds", "standard deviation over folds")
# Of a result, its entry for the second fold.
SECOND_FOLD = "1"
# In characters.
VALUE_WIDTH, DATASET_WIDTH, SPLIT_WIDTH = 9, 26, 44


def update_spreadsheet(
    path: Path, instances: Sequence[InstanceFiles], task: Task, reader: ResultReader
) -> None:
    """Write the spreadsheet of an experiment anew with all results that there are now.

    One process at a time, for several may work on the same experiment.
    """
    with waited_for(path.with_name(f".{path.stem}.lock")):
        found = [(reader.find(files.json_path), files.parameters) for files in instances]
        write_spreadsheet(path, [(each, place) for each, place in found if each is not None], task)


def is_outdated(path: Path, instances: Sequence[InstanceFiles]) -> bool:
    """Tell whether one of the results is newer than the spreadsheet, or that is cut off."""
    times = [identity[2] for each in instances if (identity := identity_of(each.json_path))]
    written = identity_of(path)
    return bool(times) and (
        written is None or max(times) > written[2] or not zipfile.is_zipfile(path)
    )


def write_spreadsheet(path: Path, rows: Rows, task: Task) -> None:
    """Write the spreadsheet anew, whole or not at all."""
    import xlsxwriter

    # Of a file that it cannot complete, xlsxwriter would leave an archive that complains later.
    content = BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as workbook:
        sheet = workbook.add_worksheet("results")
        _write_parameters(workbook, sheet, path, rows)
        column = len(PARAMETER_HEADERS)
        # With one fold there is no deviation over folds.
        statistics = STATISTICS if any(SECOND_FOLD in result for result, _ in rows) else ["value"]
        width = len(statistics) * len(SETS)
        metrics = _shown_metrics(rows, task)
        _write_means(workbook, sheet, rows, metrics, width)
        for metric in metrics:
            _write_metric(workbook, sheet, metric, column, rows, statistics)
            column += width
        title = _header(workbook, TITLE_COLOUR, size=14)
        sheet.merge_range(0, 0, 0, column - 1, "RESULTS", title)
        sheet.freeze_panes(FIRST_ROW, len(PARAMETER_HEADERS))
        _write_data_sheet(workbook, rows)
        _write_groups_sheet(workbook, rows, task)
    with written_aside(path) as aside:
        aside.write_bytes(content.getbuffer())


def _shown_metrics(rows: Rows, task: Task) -> tuple[str, ...]:
    """Return the metrics that have columns; those of clips only if some clip has several examples.

    What an older version wrote lacks some, and has empty cells there.
    """
    folds = [result[key] for result, _ in rows for key in result if key.isdecimal()]
    return SET_METRICS[task] + (CLIP_METRICS[task] if any(map(has_segments, folds)) else ())


def repetitions(results: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the results that differ in nothing but their seeds together; single ones are none.

    The trial that a search chose is no repetition of the runs that it was chosen for.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        setting = fingerprinted(result["parameters"])
        setting |= {"seed": None, "search_trial": result["parameters"].get("search_trial")}
        groups.setdefault(repr(sorted(setting.items())), []).append(result)
    return [group for group in groups.values() if len(group) > 1]


def _header(workbook: "Workbook", colour: str, size: int = 11) -> "Format":
    return workbook.add_format(
        {"bold": True, "bg_color": colour, "align": "center", "border": 1, "font_size": size}
    )


def _write_parameters(workbook: "Workbook", sheet: "Worksheet", path: Path, rows: Rows) -> None:
    """Write the first columns: number, link to the parameters file, comments."""
    header = _header(workbook, PARAMETER_COLOUR)
    last_column = len(PARAMETER_HEADERS) - 1
    sheet.merge_range(GROUP_ROW, 0, STATISTIC_ROW, last_column, "PARAMETERS", header)
    sheet.write_row(HEADER_ROW, 0, PARAMETER_HEADERS, header)
    widths = [5, 10, 13, 13]
    for row, (result, parameters_file) in enumerate(rows, start=FIRST_ROW):
        link = parameters_file.relative_to(path.parent)
        comments = [str(result["parameters"].get(f"comment_{number}", "")) for number in (1, 2)]
        sheet.write_number(row, 0, int(result["number"]))
        sheet.write_url(row, 1, f"external:{link.as_posix()}", string=link.stem)
        for column, comment in enumerate(comments, start=2):
            sheet.write_string(row, column, comment)
        lengths = (0, len(link.stem), *(len(comment) + 1 for comment in comments))
        widths = list(map(max, widths, lengths))
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width)


def _write_metric(
    workbook: "Workbook",
    sheet: "Worksheet",
    metric: str,
    column: int,
    rows: Rows,
    statistics: Sequence[str],
) -> None:
    """Write the columns of a metric: for each statistic, one for each set."""
    of_examples = metric.removeprefix("clip_")
    title, colour = METRIC_HEADERS[of_examples]
    header = _header(workbook, colour)
    number = workbook.add_format({"num_format": "0.0000"})
    width = len(SETS)
    last = column + len(statistics) * width - 1
    title = title if metric == of_examples else f"CLIP {title}"
    sheet.merge_range(GROUP_ROW, column, GROUP_ROW, last, title, header)
    best_mean = "bottom" if of_examples in LOWEST_IS_BEST else "top"
    means = f"mean_{metric}", best_mean, BEST_MEAN_COLOUR
    deviations = f"{metric}_std", "bottom", BEST_DEVIATION_COLOUR
    # With one statistic the deviations are left over.
    for first, statistic, (key, best, best_colour) in zip(
        range(column, last, width), statistics, (means, deviations), strict=False
    ):
        mark = workbook.add_format({"bg_color": best_colour})
        sheet.merge_range(STATISTIC_ROW, first, STATISTIC_ROW, first + width - 1, statistic, header)
        for place, (set_name, set_header) in enumerate(SETS.items(), start=first):
            sheet.write_string(HEADER_ROW, place, set_header, header)
            for row, (result, _) in enumerate(rows, start=FIRST_ROW):
                sheet.write(row, place, result["summary"][set_name].get(key), number)
            if rows:
                condition = {"type": best, "value": 1, "format": mark}
                last_row = FIRST_ROW + len(rows) - 1
                sheet.conditional_format(FIRST_ROW, place, last_row, place, condition)
    sheet.set_column(column, last, VALUE_WIDTH)


def _write_means(
    workbook: "Workbook", sheet: "Worksheet", rows: Rows, metrics: Sequence[str], width: int
) -> None:
    """Write two rows for each group of repetitions: mean and standard deviation over them.

    Args:
        width: columns of a metric, of which the first are the sets' values.
    """
    bold = workbook.add_format({"num_format": "0.0000", "bold": True})
    row = FIRST_ROW + len(rows)
    for group in repetitions(result for result, _ in rows):
        numbers = ", ".join(str(result["number"]) for result in group)
        titles = f"mean of {len(group)} repetitions (ID {numbers})", "± standard deviation"
        sheet.write_column(row, 1, titles, bold)
        for index, metric in enumerate(metrics):
            first = len(PARAMETER_HEADERS) + index * width
            for place, set_name in enumerate(SETS, start=first):
                values = [result["summary"][set_name].get(f"mean_{metric}") for result in group]
                if None not in values:
                    sheet.write_column(row, place, [fmean(values), stdev(values)], bold)
        row += len(titles)


def _write_data_sheet(workbook: "Workbook", rows: Rows) -> None:
    """Write a second sheet: what each instance was trained on, how it was split, and chance.

    Parameters that are not the same in all of them have columns of their own.
    """
    sheet = workbook.add_worksheet("data")
    sheet.write_row(0, 0, DATA_HEADERS, _header(workbook, PARAMETER_COLOUR))
    for row, (result, _) in enumerate(rows, start=1):
        sheet.write_number(row, 0, int(result["number"]))
        sheet.write_string(row, 1, str(result["parameters"]["dataset"]))
        sheet.write_string(row, 2, str(result["model"]["split"]))
        chances = [result[key].get("test_chance") for key in result if key.isdecimal()]
        if None not in chances:
            sheet.write_number(row, 3, fmean(chances))
    made_with = [_made_with(result) for result, _ in rows]
    keys = dict.fromkeys(keys_that_differ(made_with))
    if {each["network"] for each in made_with} - {PUBLISHED_NETWORK}:
        keys = {"network": None} | keys
    for column, key in enumerate(keys, start=len(DATA_HEADERS)):
        sheet.write_column(0, column, [key, *(text_of(each.get(key)) for each in made_with)])
    sheet.set_column(1, 1, DATASET_WIDTH)
    sheet.set_column(2, 2, SPLIT_WIDTH)


def _write_groups_sheet(workbook: "Workbook", rows: Rows, task: Task) -> None:
    """Write a third sheet, if there is something for it: who is wrong.

    A row for each value of a label that the task does not need, with its accuracy in the test set
    (of a regression, its error) in a column for each instance; the worst of a label is marked.
    """
    metric = "acc" if task == "classification" else "RMSE"
    runs = [_groups_of(result) for result, _ in rows]
    if not any(runs):
        return
    sheet = workbook.add_worksheet("groups")
    name = METRIC_HEADERS[metric][0]
    titles = [f"{name} of {result['number']}" for result, _ in rows]
    sheet.write_row(0, 0, (*GROUP_HEADERS, *titles), _header(workbook, PARAMETER_COLOUR))
    plain = workbook.add_format({"num_format": "0.0000"})
    marked = workbook.add_format({"num_format": "0.0000", "bg_color": WORST_COLOUR})
    row = 1
    for label in dict.fromkeys(label for groups_of in runs for label in groups_of):
        columns = [groups_of.get(label, {}) for groups_of in runs]
        worst = [worst_value(groups, metric) if groups else "" for groups in columns]
        for value in sorted({value for groups in columns for value in groups}):
            counts = [groups[value]["examples"] for groups in columns if value in groups]
            sheet.write_string(row, 0, label)
            sheet.write_string(row, 1, value)
            sheet.write_number(row, 2, max(counts))
            for column, groups in enumerate(columns):
                if value in groups:
                    style = marked if value == worst[column] else plain
                    place = column + len(GROUP_HEADERS)
                    sheet.write_number(row, place, groups[value][metric], style)
            row += 1
    sheet.set_column(0, 1, DATASET_WIDTH)
    sheet.set_column(len(GROUP_HEADERS), len(GROUP_HEADERS) + len(rows) - 1, len(titles[0]))
    sheet.freeze_panes(1, len(GROUP_HEADERS))


def _groups_of(result: Mapping[str, Any]) -> dict[str, Groups]:
    """Return the groups of each label over all folds, and those that a confounder makes."""
    folds = [result[key] for key in result if key.isdecimal()]
    groups: dict[str, list[Groups]] = {}
    for fold in folds:
        for label, of_label in fold.get("test_groups", {}).items():
            groups.setdefault(label, []).append(of_label)
        if "test_alignment" in fold:
            alignment = dict(fold["test_alignment"])
            name = f"{alignment.pop('label')} as in training"
            groups.setdefault(name, []).append(alignment)
    return {label: pooled for label, parts in groups.items() if (pooled := pool_groups(parts))}


def _made_with(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides an instance's result, but its seed, which is another for each."""
    parameters = {"network": PUBLISHED_NETWORK} | fingerprinted(result["parameters"])
    parameters.pop("seed", None)
    return parameters | {f"input {key}": value for key, value in result.get("inputs", {}).items()}
