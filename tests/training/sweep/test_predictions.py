"""Predictions of a trained network: the file beside the result, and who is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from preprocessing.pipeline.matrices import open_matrices
from training.engine.evaluation import Evaluation
from training.results.predictions import write_predictions

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

PREFIXES = {"train": "train", "validation": "val", "test": "test"}
CLASSES = ["class0", "class1", "class2"]


def write_segments(suite: "Suite", examples: "Examples | None" = None) -> None:
    """Matrices with two examples of a clip, the later one first, and what users call columns."""
    suite.write_matrices(examples=examples)
    start = suite.matrices / "tiny_spectrum_fast"
    index_file = Path(f"{start}_index.csv")
    index = pd.read_csv(index_file)
    number = np.arange(len(index))
    # Examples 6k + j and 6k + j + 3 have the same class.
    clip = number // 6 * 3 + number % 3
    index["clip"] = [f"-{each}.wav" for each in clip]
    index["group"] = [f"clip{each:03}" for each in clip]
    index["first_frame"] = np.where(number % 6 < 3, 40, 0)
    index["noise"] = np.where(clip % 5 < 3, clip % 3, clip % 4)
    index["noise"] = index["noise"].map(["=car", "rain", "wind", "hall"].__getitem__)
    index["set"], index["snr"] = "mine", "-5"
    index.to_csv(index_file, index=False)
    splits = pd.read_json(f"{start}_splits.json", typ="series")
    known = set(index["group"])
    splits["order"] = [group for group in splits["order"] if group in known]
    splits["folds"] = [
        {name: [each for each in members if each in known] for name, members in fold.items()}
        for fold in splits["folds"]
    ]
    splits.to_json(f"{start}_splits.json")
    info = pd.read_json(f"{start}_info.json", typ="series")
    info["orthogonal_labels"] = ["noise", "not there"]
    info.to_json(f"{start}_info.json")
    with suite.config.open("a") as config:
        config.write("[dataset tiny]\nmanifest = tiny.csv\nlabel = word\nsequence_length = 1\n")
        config.write("confounder = noise\n")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, dtype={"snr": str})


@pytest.fixture(scope="module")
def trained(make_suite: Callable[[], "Suite"]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Predictions and JSON of a training on two folds."""
    suite = make_suite()
    write_segments(suite)
    suite.write_experiment(1)
    values: dict[str, Any] = {"learning_rate": 0.003, "train_metrics": "running"}
    values |= {"train_split": 0.5, "validation_split": 0.2, "test_split": 0.3}
    result = suite.run(1, num_folds=2, num_epochs=12, **values)
    assert not any(suite.files(1).unfinished.glob("predictions*"))
    table = read(suite.files(1).predictions)
    assert table["prediction"].nunique() == 3, "it has learnt nothing, which proves nothing"
    return table, result


def test_metrics_follow_from_the_predictions(
    trained: tuple[pd.DataFrame, dict[str, Any]],
) -> None:
    """By pandas alone: of examples, and of clips by the mean of their probabilities."""
    table, result = trained
    assert [*table.columns[:10]] == [
        *("clip", "segment", "set", "truth", "prediction"),
        *(f"p_{name}" for name in CLASSES),
        *("clip_prediction", "fold"),
    ]
    probabilities = table[[f"p_{name}" for name in CLASSES]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=2e-6)
    assert (probabilities.idxmax(axis=1) == "p_" + table["prediction"]).all()
    for (fold, set_name), part in table.groupby(["fold", "set"]):
        values, prefix = result[str(fold)], PREFIXES[str(set_name)]
        right = part["prediction"] == part["truth"]
        assert values[f"{prefix}_acc"] == pytest.approx(right.mean())
        assert values[f"{prefix}_examples"] == len(part)
        columns = [*probabilities]
        means = part.groupby(["clip", "truth"])[columns].mean().idxmax(axis=1).reset_index()
        means.columns = pd.Index(["clip", "truth", "named"])
        assert values[f"{prefix}_clips"] == len(means) == len(part) / 2
        assert values[f"{prefix}_clip_acc"] == pytest.approx(
            (means["named"] == "p_" + means["truth"]).mean()
        )
        of_clip = part.merge(means, on="clip")
        assert ("p_" + of_clip["clip_prediction"] == of_clip["named"]).all()


def test_rows_say_what_the_index_has_and_nothing_is_a_formula(
    trained: tuple[pd.DataFrame, dict[str, Any]],
) -> None:
    """A column that is called as one of ours is kept under another name; -5 is a number."""
    table, _ = trained
    assert set(table["clip"]) == {f"'-{number}.wav" for number in range(30)}
    assert set(table["noise"]) == {"'=car", "rain", "wind", "hall"}
    assert set(table["snr"]) == {"-5"}
    assert set(table["index_set"]) == {"mine"}
    assert (table["segment"] == table["first_frame"] / 40).all()
    number = table["group"].str.removeprefix("clip").astype(int)
    assert (table["truth"] == "class" + (number % 3).astype(str)).all()
    assert table.groupby("fold").size().tolist() == [60, 60]


def test_groups_and_alignment_follow_from_the_predictions(
    trained: tuple[pd.DataFrame, dict[str, Any]],
) -> None:
    table, result = trained
    assert "gradient_norms" not in result["0"]
    for fold, of_fold in table.groupby("fold"):
        test, training = (of_fold[of_fold["set"] == each] for each in ("test", "train"))
        usual = training.groupby("truth")["noise"].agg(lambda noises: noises.mode()[0])
        kinds = np.where(test["noise"] == test["truth"].map(usual), "aligned", "conflicting")
        values = result[str(fold)]
        assert set(values["test_groups"]) == {"noise"}
        assert values["test_alignment"].pop("label") == "noise"
        for by, found in (
            (test["noise"].str.removeprefix("'"), values["test_groups"]["noise"]),
            (kinds, values["test_alignment"]),
        ):
            assert {name for name, each in found.items() if each["examples"]} == {*by}
            for name, part in test.groupby(by):
                assert found[name]["examples"] == len(part)
                right = part["truth"] == part["prediction"]
                assert found[name]["acc"] == pytest.approx(right.mean())
                recalls = right.groupby(part["truth"]).mean()
                assert found[name]["uar"] == pytest.approx(recalls.mean())


def test_predictions_of_a_regression_are_its_values(suite: "Suite", loudness: "Examples") -> None:
    """Without classes, to as many digits as single precision has."""
    write_segments(suite, loudness)
    matrices = open_matrices(suite.matrices, "tiny")
    outputs = torch.tensor([[123456.79], [-1 / 3], [2.0]])
    labels = np.array([16777215.0, 0.1, 1.0])
    path = suite.folder / "predictions.csv"
    evaluation = Evaluation("regression", {}, np.array([0, 3, 1]), labels, outputs)
    sets = ("training", "validation", "test")
    write_predictions(path, dict.fromkeys(sets, evaluation), matrices)
    table = read(path).query("set == 'test'")
    assert not [name for name in map(str, table) if name.startswith("p_") or name == "fold"]
    assert table["truth"].tolist() == [16777215, 0.1, 1]
    assert table["prediction"].astype(np.float32).tolist() == outputs[:, 0].tolist()
    mean = (outputs[0, 0] + outputs[1, 0]) / 2
    assert table["clip_prediction"].tolist() == pytest.approx([float(mean)] * 2 + [2], rel=1e-7)


def test_lost_predictions_are_named_with_the_command_that_makes_them(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    command = ["[1]", "-1", "--set", "num_epochs=1"]
    assert suite.manage(*command) == 0
    files = suite.files(1)
    before = files.predictions.read_bytes()
    files.predictions.unlink()
    capsys.readouterr()
    assert suite.manage(*command) == 0
    said = capsys.readouterr().out
    assert "experiment 1: the predictions of 1 finished run are lost" in said
    assert "[1] -1 1 1 --overwrite" in said
    assert not files.predictions.exists()
    assert suite.manage(*command, "--overwrite") == 0
    assert files.predictions.read_bytes() == before
