"""A table of the user's own, from its clips to spreadsheet and report: classes, values, folds."""

import csv
import json
from typing import Any

import numpy as np
import openpyxl
import pytest
import soundfile

from config.errors import UserError
from config.ini_files import load_settings
from preprocessing.corpora import find_dataset
from preprocessing.pipeline.extraction import preprocess
from tests.conftest import Suite

RATE = 16000
SECTIONS = """
[dataset rooms]
manifest = rooms.csv
label = word
group = speaker
orthogonal = room
sequence_length = 0.25
[dataset loud]
manifest = rooms.csv
label = loudness
task = regression
group = speaker
split = fold
orthogonal = room
sequence_length = 0.25
[extractor loud]
dataset = loud
"""
TRANSFER = {"anti_transfer": True, "at_dataset": "random", "at_layer": 3}
LOUD = "loud_spectrum_fast_exp{0}"


@pytest.fixture
def own(suite: Suite) -> Suite:
    """Thirty clips of six speakers, declared twice, and four experiments of one epoch on them."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(30):
        amplitude = generator.uniform(0.1, 0.9)
        tone = np.sin(2 * np.pi * (500 + 800 * (number % 3)) * np.arange(RATE // 4) / RATE)
        soundfile.write(suite.folder / f"{number}.wav", amplitude * tone, RATE)
        rows.append(
            {
                "path": f"{number}.wav",
                "word": ("no", "NA", "yes")[number % 3],
                "loudness": 10 + 5 * amplitude,
                "speaker": number // 5,
                "room": generator.integers(2),
                "fold": number // 5 % 3,
            }
        )
    with (suite.folder / "rooms.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with suite.config.open("a") as file:
        file.write(f"num_folds = 1\n{SECTIONS}")
    experiments: list[tuple[str, dict[str, Any]]] = [
        ("rooms", {}),
        ("loud", {}),
        ("loud", TRANSFER),
        ("loud", {"num_folds": 3}),
    ]
    for identifier, (dataset, values) in enumerate(experiments, start=1):
        path = suite.write_experiment(identifier, {"num_epochs": 1, **values}, {"repeat": 2})
        text = path.read_text().replace("output_classes = 3\n", "")
        path.write_text(text.replace("dataset = tiny", f"dataset = {dataset}"))
    return suite


@pytest.fixture
def prepared(own: Suite) -> Suite:
    """The same with matrices."""
    settings = load_settings(own.config)
    for name in ("rooms", "loud"):
        preprocess(find_dataset(name, settings), settings)
    return own


def result_of(suite: Suite, stem: str, identifier: int) -> dict[str, Any]:
    folder = suite.results / f"experiment_{identifier}" / "results"
    content: dict[str, Any] = json.loads((folder / f"results_{stem}_run1.json").read_text())
    return content


def test_classes_and_values_are_trained_and_reported(
    prepared: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared.manage("[1,2,3,4]", "-1") == 0
    rooms = result_of(prepared, "rooms_spectrum_fast_exp1", 1)
    assert rooms["parameters"]["task"] == "classification"
    assert rooms["parameters"]["output_classes"] == 3
    assert rooms["model"]["classes"] == ["NA", "no", "yes"]
    loud = result_of(prepared, LOUD.format(2), 2)
    assert (loud["parameters"]["task"], loud["parameters"]["output_classes"]) == ("regression", 1)
    # Speakers 0 and 3 are fold 0, the test set; 1 and 4 the next one; 2 and 5 are trained on.
    assert sorted(loud["0"]["test_actors"]) == ["0", "3"]
    values: dict[str, list[float]] = {}
    with (prepared.folder / "rooms.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            values.setdefault(row["speaker"], []).append(float(row["loudness"]))
    test = np.array(values["0"] + values["3"])
    level = np.sqrt(np.mean((test - np.mean(values["2"] + values["5"])) ** 2))
    assert loud["0"]["test_chance"] == pytest.approx(level, rel=1e-6)
    folds = result_of(prepared, LOUD.format(4), 4)
    assert [sorted(folds[key]["test_actors"])[0] for key in "012"] == ["0", "1", "2"]

    said = capsys.readouterr().out
    assert f"smaller is better; RMSE of the training mean {level:.3f}" in said
    assert "validation RMSE  test RMSE" in said and "test MAE" in said and "test CCC" in said
    sheet = openpyxl.load_workbook(
        prepared.results / f"experiment_2/results/{LOUD.format(2)}_results_spreadsheet.xlsx"
    ).worksheets[0]
    titles = [cell.value for cell in sheet[2] if cell.value]
    assert titles[1:] == ["LOSS", "RMSE", "MAE", "CCC"]
    column = next(cell.column for cell in sheet[2] if cell.value == "MAE")
    shown = [sheet.cell(5, column + place).value for place in range(3)]
    sets = ("training", "validation", "test")
    assert shown == pytest.approx([loud["summary"][name]["mean_MAE"] for name in sets])

    # Without matrices nothing says how many classes there are; the results are no others for that.
    for path in prepared.matrices.glob("*_info.json"):
        path.unlink()
    assert prepared.manage("--list") == 0
    assert capsys.readouterr().out.count(" 2/2 ") == 4


def test_what_values_cannot_be_trained_with_is_refused(
    prepared: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_classes = "needs classes, loud_spectrum_fast holds values"
    within_class = "at_aggregation=pool at_distance=cka_within_class"
    for words, message in (
        ("[2] num_folds=2", "num_folds = 2: loud_spectrum_fast has 3 folds of its own"),
        ("[2] save_best_model_metric=val_uar", "val_uar: a regression has no classes; allo"),
        (f"[3] {within_class}", f"cka_within_class: {needs_classes}"),
        ("[3] at_method=expert_weighting at_layer=", f"expert_weighting: {needs_classes}"),
    ):
        experiments, *overrides = words.split()
        options = [word for override in overrides for word in ("--set", override)]
        try:
            assert prepared.manage("--check", experiments, *options) == 2
        except UserError as error:
            assert message in str(error)
        else:
            assert message in capsys.readouterr().err
