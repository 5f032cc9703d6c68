"""The spreadsheet, read by openpyxl as another program would: cells, headers, marks, links."""

from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from config.fields import Task
from training.results.spreadsheet import write_spreadsheet

METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("loss", "acc", "f1", "precision", "recall", "uar"),
    "regression": ("loss", "RMSE", "MAE", "CCC"),
}
TITLES: dict[Task, list[str]] = {
    "classification": ["LOSS", "ACCURACY", "F1", "PRECISION", "RECALL", "UAR"],
    "regression": ["LOSS", "RMSE", "MAE", "CCC"],
}
SETS = ("training", "validation", "test")
FIRST_ROW, FIRST_METRIC_COLUMN = 5, 5


def result_of(number: int, task: Task, num_folds: int = 2, **parameters: Any) -> dict[str, Any]:
    """A result in which every metric is another number."""
    summary: dict[str, Any] = {
        set_name: {
            key: number + 0.1 * position + 0.01 * row + 0.001 * place
            for row, metric in enumerate(METRICS[task])
            for place, key in enumerate((f"mean_{metric}", f"{metric}_std"))
        }
        for position, set_name in enumerate(SETS)
    }
    parameters = {
        "comment_1": "=1+1",
        "comment_2": f"layer{number}",
        "dataset": "tiny",
        "at_layer": number,
        "seed": 1,
    } | parameters
    is_classified = task == "classification"
    return {
        **{
            str(index): {"test_chance": 0.25 + index / 8} if is_classified else {}
            for index in range(num_folds)
        },
        "number": number,
        "summary": summary,
        "parameters": parameters,
        "model": {"split": "by session: no speaker shared"},
    }


def parameters_file(folder: Path, number: int) -> Path:
    return folder / "parameters" / f"parameters_tiny_exp5_run{number}.txt"


def write(
    folder: Path,
    numbers: list[int],
    task: Task = "classification",
    num_folds: int = 2,
    settings: list[dict[str, Any]] | None = None,
) -> Any:
    """The written sheet; settings: parameters of each instance."""
    path = folder / "sheet.xlsx"
    rows = [
        (result_of(number, task, num_folds, **setting), parameters_file(folder, number))
        for number, setting in zip(numbers, settings or [{}] * len(numbers), strict=True)
    ]
    write_spreadsheet(path, rows, task)
    sheet, _data = openpyxl.load_workbook(path, data_only=True).worksheets
    return sheet


def test_a_second_sheet_says_how_the_data_were_split(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    data = openpyxl.load_workbook(tmp_path / "sheet.xlsx", data_only=True)["data"]
    assert [[cell.value for cell in row] for row in data.rows] == [
        ["ID", "dataset", "split", "chance (test)", "at_layer"],
        [1, "tiny", "by session: no speaker shared", (0.25 + 0.375) / 2, "1"],
        [2, "tiny", "by session: no speaker shared", (0.25 + 0.375) / 2, "2"],
    ]


def test_the_second_sheet_says_which_settings_are_not_the_same(tmp_path: Path) -> None:
    rows = [(result_of(number, "classification"), tmp_path / "x.txt") for number in (1, 2)]
    for (result, _), epochs, data in zip(rows, (50, 4), ("old", "new"), strict=True):
        result["parameters"] |= {"num_epochs": epochs, "width": 1.0, "seed": epochs}
        result["inputs"] = {"data": data}
    write_spreadsheet(tmp_path / "sheet.xlsx", rows, "classification")
    data_sheet = openpyxl.load_workbook(tmp_path / "sheet.xlsx")["data"]
    assert [[cell.value for cell in row[4:]] for row in data_sheet.rows] == [
        ["at_layer", "num_epochs", "input data"],
        ["1", "50", "old"],
        ["2", "4", "new"],
    ]


def test_a_third_sheet_says_who_is_wrong(tmp_path: Path) -> None:
    """Over two folds, of one of which a value and the confounder's examples are missing."""
    rows = [(result_of(number, "classification"), tmp_path / "x.txt") for number in (1, 2)]

    def groups(**accuracies: float) -> dict[str, Any]:
        return {name: {"examples": 10, "acc": each, "uar": 0} for name, each in accuracies.items()}

    first, second = (result for result, _ in rows)
    of_all = groups(aligned=0.75, conflicting=0.5) | {"label": "noise"}
    first["0"] = {"test_groups": {"room": groups(hall=1, kitchen=0.5)}, "test_alignment": of_all}
    first["1"] = {"test_groups": {"room": groups(hall=0.75)}}
    second["0"] = {"test_groups": {"room": groups(hall=0.25, kitchen=0.5)}}
    write_spreadsheet(tmp_path / "sheet.xlsx", rows, "classification")
    sheet = openpyxl.load_workbook(tmp_path / "sheet.xlsx")["groups"]
    assert [[cell.value for cell in row] for row in sheet.rows] == [
        ["label", "value", "examples", "ACCURACY of 1", "ACCURACY of 2"],
        ["room", "hall", 20, 0.875, 0.25],
        ["room", "kitchen", 10, 0.5, 0.5],
        ["noise as in training", "aligned", 10, 0.75, None],
        ["noise as in training", "conflicting", 10, 0.5, None],
    ]
    marked = {
        cell.coordinate
        for row in sheet.iter_rows(min_row=2, min_col=4)
        for cell in row
        if cell.fill.bgColor.rgb != "00000000"
    }
    assert marked == {"D3", "E2", "D5"}


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_metric_stands_in_its_column(tmp_path: Path, task: Task) -> None:
    numbers = [1, 2, 10]
    sheet = write(tmp_path, numbers, task)
    assert sheet["A1"].value == "RESULTS"
    assert [sheet.cell(4, column).value for column in range(1, 5)] == [
        "ID",
        "parameters",
        "comment 1",
        "comment 2",
    ]
    column = FIRST_METRIC_COLUMN
    for metric, title in zip(METRICS[task], TITLES[task], strict=True):
        assert sheet.cell(2, column).value == title
        for key, words in ((f"mean_{metric}", "mean"), (f"{metric}_std", "standard deviation")):
            assert sheet.cell(3, column).value.startswith(words)
            for set_name, header in zip(SETS, ("train", "val", "test"), strict=True):
                assert sheet.cell(4, column).value == header
                for row, number in enumerate(numbers, start=FIRST_ROW):
                    expected = result_of(number, task)["summary"][set_name][key]
                    assert sheet.cell(row, column).value == pytest.approx(expected)
                column += 1
    assert sheet.max_column == column - 1
    assert sheet.max_row == FIRST_ROW + len(numbers) - 1


def test_an_instance_is_known_by_number_comments_and_a_relative_link(tmp_path: Path) -> None:
    sheet = write(tmp_path, [3, 4])
    for row, number in ((5, 3), (6, 4)):
        assert sheet.cell(row, 1).value == number
        assert sheet.cell(row, 3).value == "=1+1"
        assert sheet.cell(row, 3).data_type == "s"
        assert sheet.cell(row, 4).value == f"layer{number}"
        # xlsxwriter writes folders as Excel does, with backslashes.
        target = Path(sheet.cell(row, 2).hyperlink.target.replace("\\", "/"))
        assert not target.is_absolute()
        assert tmp_path / target == parameters_file(tmp_path, number)
        assert sheet.cell(row, 2).value == parameters_file(tmp_path, number).stem


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_best_of_each_column_is_marked(tmp_path: Path, task: Task) -> None:
    sheet = write(tmp_path, [1, 2, 3], task)
    rules = {}
    for area in sheet.conditional_formatting:
        (rule,) = area.rules
        rules[str(area.sqref)] = rule
    column = FIRST_METRIC_COLUMN
    for metric in METRICS[task]:
        for place in range(6):
            letter = openpyxl.utils.get_column_letter(column + place)
            rule = rules.pop(f"{letter}5:{letter}7")
            red, green, blue = bytes.fromhex(rule.dxf.fill.bgColor.rgb[-6:])
            is_std = place >= 3
            assert rule.type == "top10"
            assert rule.rank == 1
            assert not rule.percent
            assert blue > max(red, green) if is_std else green > max(red, blue)
            assert bool(rule.bottom) == (is_std or metric in ("loss", "RMSE", "MAE"))
        column += 6
    assert not rules


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_one_fold_has_no_columns_of_deviations(tmp_path: Path, task: Task) -> None:
    sheet = write(tmp_path, [1, 2], task, num_folds=1)
    assert sheet.max_column == FIRST_METRIC_COLUMN - 1 + 3 * len(METRICS[task])
    column = FIRST_METRIC_COLUMN
    for metric, title in zip(METRICS[task], TITLES[task], strict=True):
        assert [sheet.cell(2, column).value, sheet.cell(3, column).value] == [title, "value"]
        for set_name in SETS:
            assert sheet.cell(6, column).value == pytest.approx(
                result_of(2, task)["summary"][set_name][f"mean_{metric}"]
            )
            column += 1


def test_clips_of_several_examples_have_columns_and_old_results_empty_cells(tmp_path: Path) -> None:
    """Of two repetitions the first is by an older version, which knew no UAR and no clips."""
    old, new = (result_of(number, "regression", num_folds=1, at_layer=3) for number in (1, 2))
    for summary in old["summary"].values():
        del summary["mean_CCC"]
    new["0"] |= {"val_clips": 9, "val_examples": 20}
    for place, summary in enumerate(new["summary"].values()):
        summary |= {f"mean_clip_{metric}": place + 0.5 for metric in ("RMSE", "MAE", "CCC")}
    path = tmp_path / "sheet.xlsx"
    write_spreadsheet(path, [(result, tmp_path / "x.txt") for result in (old, new)], "regression")
    sheet = openpyxl.load_workbook(path).worksheets[0]
    titles = [cell.value for cell in sheet[2] if cell.value]
    assert titles[-4:] == ["CCC", "CLIP RMSE", "CLIP MAE", "CLIP CCC"]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(5, 8, sheet.max_column - 11)]
    assert rows[0] == rows[2] == rows[3] == [None] * 12
    assert rows[1] == pytest.approx([2.03, 2.13, 2.23, *[0.5, 1.5, 2.5] * 3])


@pytest.mark.parametrize("num_folds", [1, 3])
def test_repetitions_end_with_their_mean_and_deviation(tmp_path: Path, num_folds: int) -> None:
    """Layer 3 three times, layer 5 twice, layer 7 once; what runs are called tells none apart."""
    settings = [
        {"at_layer": layer, "seed": seed, "repetition": seed}
        for layer, seed in ((3, 0), (5, 0), (3, 1), (5, 1), (3, 2), (7, 0))
    ]
    sheet = write(tmp_path, [1, 2, 3, 4, 5, 6], num_folds=num_folds, settings=settings)
    assert [sheet.cell(row, 2).value for row in range(11, 15)] == [
        "mean of 3 repetitions (ID 1, 3, 5)",
        "± standard deviation",
        "mean of 2 repetitions (ID 2, 4)",
        "± standard deviation",
    ]
    assert sheet.max_row == 14
    width = 3 if num_folds == 1 else 6
    for row, numbers in ((11, [1, 3, 5]), (13, [2, 4])):
        for metric in range(len(METRICS["classification"])):
            for place in range(3):
                column = FIRST_METRIC_COLUMN + metric * width + place
                values = [sheet.cell(4 + number, column).value for number in numbers]
                assert sheet.cell(row, column).value == pytest.approx(np.mean(values))
                assert sheet.cell(row + 1, column).value == pytest.approx(np.std(values, ddof=1))
    for area in sheet.conditional_formatting:
        assert str(area.sqref).endswith("10")
