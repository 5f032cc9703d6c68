"""What counts as finished: what is lost is made again, what does not fit is said everywhere."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.errors import UserError
from config.files import read_json
from tests.conftest import Suite
from training.models.weights import load_weights

CPU = "-1"


@pytest.fixture
def finished(suite: Suite) -> Suite:
    """Two finished instances of experiment 5."""
    suite.write_matrices()
    suite.write_experiment(5, {"num_epochs": 1}, {"repeat": 2})
    assert suite.manage("[5]", CPU) == 0
    return suite


def texts_below(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.suffix in (".json", ".txt")]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def dictionary(suite: Suite) -> Any:
    return np.load(suite.files(5, 2).dictionary, allow_pickle=True).item()


@pytest.mark.parametrize("leave", [Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["dictionary", "parameters"])
def test_copies_of_the_json_file_are_written_again_without_training(
    name: str, leave: Callable[[Path], object], finished: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, content = texts_below(finished.results), dictionary(finished)
    leave(getattr(finished.files(5, 2), name))
    monkeypatch.setattr(
        "training.sweep.instance.run_instance", lambda *_: pytest.fail("trained again")
    )
    assert finished.manage("[5]", CPU) == 0
    assert texts_below(finished.results) == before
    assert dictionary(finished) == content


def test_files_of_the_whole_experiment_are_written_again(finished: Suite) -> None:
    files = finished.files(5)
    for path in (files.folder / "description.txt", files.spreadsheet):
        path.unlink()
        assert finished.manage("[5]", CPU) == 0
        assert path.exists()
    cut(files.spreadsheet)
    assert finished.manage("[5]", CPU) == 0
    assert zipfile.is_zipfile(files.spreadsheet)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("leave", [Path.unlink, cut, lambda path: path.write_bytes(b"")])
def test_a_lost_model_is_trained_again_and_is_the_same(
    leave: Callable[[Path], object], finished: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    model, json_path = finished.files(5, 2).model(0), finished.files(5, 2).json_path
    weights, result = load_weights(model), read_json(json_path)
    leave(model)
    capsys.readouterr()
    assert finished.manage("--list") == 0
    assert "1/2, 1 without a whole model" in capsys.readouterr().out
    assert finished.manage("--check", "[5]", CPU) == 0
    assert "1 of 2 instances are finished" in capsys.readouterr().out
    assert finished.manage("[5]", CPU) == 0
    said = capsys.readouterr().out
    assert f"{model.name}: is missing or cut off" in said
    assert "1 of 2 instances are finished, 1 to run" in said
    # It was made at another time.
    assert read_json(json_path) | {"provenance": result["provenance"]} == result
    again = load_weights(model)
    assert all(np.array_equal(weights[key], again[key]) for key in weights | again)


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("num_epochs=2", "num_epochs: 1 then, 2 now"),
    ],
)
def test_results_with_other_settings_count_nowhere(
    setting: str, difference: str, finished: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert finished.manage("--list", "--set", setting) == 0
    said = capsys.readouterr().out
    assert "0/2, 2 with other settings" in said
    assert said.count(difference) == 1
    for words in (["--check"], []):
        with pytest.raises(UserError, match=difference) as caught:
            finished.manage(*words, "[5]", CPU, "--set", setting)
        assert "(and those of 1 other)" in str(caught.value)
        assert f"[5] -1 1 2 --overwrite --experiments {finished.experiments}" in str(caught.value)
    assert finished.manage("--check", "[5]", CPU, "--set", setting, "--overwrite") == 0


def test_results_of_other_features_are_none(
    finished: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert finished.manage("--list", "--set", "features_type=mel") == 0
    assert " 0/2 " in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"0": {}}'])
def test_a_damaged_result_says_the_cure(
    content: str, finished: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.files(5, 2).json_path.write_text(content)
    capsys.readouterr()
    assert finished.manage("--list") == 0
    said = capsys.readouterr().out
    assert "1/2, 1 damaged" in said
    assert "[5] -1 2 2 --overwrite" in said or "[5] 0 2 2 --overwrite" in said
    for words in (["--check"], [], ["--summary"]):
        with pytest.raises(UserError, match=r"run it again: python .* \[5\] -1 2 2 --overwrite"):
            finished.manage(*words, "[5]", CPU)
    assert finished.manage("[5]", CPU, "2", "2", "--overwrite") == 0
    assert finished.manage("--check", "[5]", CPU) == 0
