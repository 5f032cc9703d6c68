"""The spreadsheet of an experiment: one row per instance, best values marked.

Only plain numbers are written, so that programs that do not recalculate see them too.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.files import identity_of, written_aside
from config.locks import waited_for
from training.engine.metrics import SET_METRICS, Task
from training.results.dictionary import InstanceFiles
from training.results.loading import ResultReader

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

COLOURS = {
    "PARAMETERS": "#FFFF00",
    "LOSS": "#FF5050",
    "ACCURACY": "#FFA500",
    "F1": "#00FFFF",
    "PRECISION": "#BFFF00",
    "RECALL": "#FF66FF",
    "RMSE": "#FFA500",
    "MAE": "#00FFFF",
}
TITLES = {
    "loss": "LOSS",
    "acc": "ACCURACY",
    "f1": "F1",
    "precision": "PRECISION",
    "recall": "RECALL",
    "RMSE": "RMSE",
    "MAE": "MAE",
}
LOWEST_IS_BEST = ("loss", "RMSE", "MAE")
SET_COLUMNS = ("training", "validation", "test")
SET_HEADERS = ("train", "val", "test")
PARAMETER_HEADERS = ("ID", "parameters", "comment 1", "comment 2")
DATA_HEADERS = ("ID", "dataset", "split", "chance (test)")
GROUP_ROW, STATISTIC_ROW, HEADER_ROW, FIRST_ROW = 1, 2, 3, 4
VALUE_WIDTH = 9


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
    """Return whether one of the results is newer than the spreadsheet."""
    times = [identity[2] for each in instances if (identity := identity_of(each.json_path))]
    written = identity_of(path)
    return bool(times) and (written is None or max(times) > written[2])


def write_spreadsheet(
    path: Path, rows: Sequence[tuple[Mapping[str, Any], Path]], task: Task
) -> None:
    """Write the spreadsheet anew, whole or not at all.

    Args:
        rows: (JSON twin, parameters file) of each finished instance, by number.
    """
    import xlsxwriter

    # Of a file that it cannot complete, xlsxwriter would leave an archive that complains later.
    content = BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as workbook:
        sheet = workbook.add_worksheet("results")
        _write_parameters(workbook, sheet, path, rows)
        column = len(PARAMETER_HEADERS)
        for metric in SET_METRICS[task]:
            _write_metric(workbook, sheet, metric, column, rows)
            column += 2 * len(SET_COLUMNS)
        title = _header(workbook, "#D9D9D9", size=14)
        sheet.merge_range(0, 0, 0, column - 1, "RESULTS", title)
        sheet.freeze_panes(FIRST_ROW, len(PARAMETER_HEADERS))
        _write_data_sheet(workbook, rows)
    with written_aside(path) as aside:
        aside.write_bytes(content.getbuffer())


def _write_data_sheet(workbook: "Workbook", rows: Sequence[tuple[Mapping[str, Any], Path]]) -> None:
    """A second sheet: what each instance was trained on, how it was split, and chance."""
    sheet = workbook.add_worksheet("data")
    header = _header(workbook, COLOURS["PARAMETERS"])
    for column, name in enumerate(DATA_HEADERS):
        sheet.write_string(0, column, name, header)
    for row, (result, _) in enumerate(rows, start=1):
        sheet.write_number(row, 0, int(result["number"]))
        sheet.write_string(row, 1, str(result["parameters"]["dataset"]))
        sheet.write_string(row, 2, str(result["model"]["split"]))
        if "test_chance" in result["0"]:
            sheet.write_number(row, 3, float(result["0"]["test_chance"]))
    sheet.set_column(1, 1, 26)
    sheet.set_column(2, 2, 44)


def _header(workbook: "Workbook", colour: str, size: int = 11) -> "Format":
    return workbook.add_format(
        {"bold": True, "bg_color": colour, "align": "center", "border": 1, "font_size": size}
    )


def _write_parameters(
    workbook: "Workbook",
    sheet: "Worksheet",
    path: Path,
    rows: Sequence[tuple[Mapping[str, Any], Path]],
) -> None:
    header = _header(workbook, COLOURS["PARAMETERS"])
    last_column = len(PARAMETER_HEADERS) - 1
    sheet.merge_range(GROUP_ROW, 0, STATISTIC_ROW, last_column, "PARAMETERS", header)
    for column, name in enumerate(PARAMETER_HEADERS):
        sheet.write_string(HEADER_ROW, column, name, header)
    for row, (result, parameters_file) in enumerate(rows, start=FIRST_ROW):
        link = parameters_file.relative_to(path.parent)
        sheet.write_number(row, 0, int(result["number"]))
        sheet.write_url(row, 1, f"external:{link.as_posix()}", string=link.stem)
        for column, key in ((2, "comment_1"), (3, "comment_2")):
            sheet.write_string(row, column, str(result["parameters"].get(key, "")))
    sheet.set_column(0, 0, 5)
    sheet.set_column(1, 1, max([10, *(len(file.stem) for _, file in rows)]))
    for column, key in ((2, "comment_1"), (3, "comment_2")):
        lengths = [len(str(result["parameters"].get(key, ""))) for result, _ in rows]
        sheet.set_column(column, column, max([12, *lengths]) + 1)


def _write_metric(
    workbook: "Workbook",
    sheet: "Worksheet",
    metric: str,
    column: int,
    rows: Sequence[tuple[Mapping[str, Any], Path]],
) -> None:
    """The six columns of a metric: mean and standard deviation over folds, for each set."""
    header = _header(workbook, COLOURS[TITLES[metric]])
    number = workbook.add_format({"num_format": "0.0000"})
    width = len(SET_COLUMNS)
    sheet.merge_range(GROUP_ROW, column, GROUP_ROW, column + 2 * width - 1, TITLES[metric], header)
    for first, key, title in (
        (column, f"mean_{metric}", "mean over folds"),
        (column + width, f"{metric}_std", "standard deviation over folds"),
    ):
        sheet.merge_range(STATISTIC_ROW, first, STATISTIC_ROW, first + width - 1, title, header)
        for offset, set_name in enumerate(SET_COLUMNS):
            sheet.write_string(HEADER_ROW, first + offset, SET_HEADERS[offset], header)
            for row, (result, _) in enumerate(rows, start=FIRST_ROW):
                value = float(result["summary"][set_name][key])
                sheet.write_number(row, first + offset, value, number)
            _mark_best(workbook, sheet, first + offset, len(rows), metric, key.endswith("_std"))
    sheet.set_column(column, column + 2 * width - 1, VALUE_WIDTH)


def _mark_best(
    workbook: "Workbook", sheet: "Worksheet", column: int, num_rows: int, metric: str, is_std: bool
) -> None:
    if num_rows == 0:
        return
    colour = "#9DC3E6" if is_std else "#92D050"
    kind = "bottom" if is_std or metric in LOWEST_IS_BEST else "top"
    condition = {"type": kind, "value": 1, "format": workbook.add_format({"bg_color": colour})}
    sheet.conditional_format(FIRST_ROW, column, FIRST_ROW + num_rows - 1, column, condition)
