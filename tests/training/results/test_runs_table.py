"""results/runs.csv as pandas reads it: its rows, results that go, and the table of the README."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from config.files import identity_of
from config.text import PROJECT_FOLDER
from plotting.reporting.compare import compare
from plotting.reporting.findings import find
from plotting.reporting.tables import main_table
from tests.synthetic_results import AGAINST_NOISE, AGAINST_RANDOM, loaded, make_result, write_result
from training.results.loading import ResultReader
from training.results.runs_table import update_runs_table


def table_of(folder: Path, reader: ResultReader | None = None) -> pd.DataFrame:
    assert update_runs_table(folder, reader or ResultReader()) == ""
    return pd.read_csv(folder / "runs.csv", dtype={"layer": str})


def test_a_row_is_what_the_files_say(tmp_path: Path) -> None:
    trial = {
        "search": "random, 2 trials: at_beta, learning_rate",
        "search_trial": 0,
        "at_layer": "3, 5",
    }
    new = make_result(0.5, 0, 28, **{**AGAINST_NOISE, **trial})
    new["provenance"] = {"suite": "1.2.0", "commit": "abc", "seconds": 7.5}
    new["0"] |= {"test_clips": 30, "test_chance": 0.2}
    new["0"] |= {"test_acc": 0.4, "test_uar": 0.25}
    new["1"] = {**new["0"], "test_examples": 10, "collapsed": True, "test_chance": 0.3}
    new["1"] |= {"test_acc": 0.6}
    new["summary"]["test"] = {"mean_acc": 0.5, "acc_std": 0.1, "mean_uar": 0.25, "uar_std": 0.0}
    old = make_result(0.75, 4, 5, learning_rate=0.01)
    write_result(tmp_path, new)
    write_result(tmp_path, old)
    table = table_of(tmp_path)
    rows = table[table.set == "test"].astype(object).where(table.notna(), None)
    first, second, third = rows.to_dict("records")
    assert [row["metric"] for row in (first, second, third)] == ["acc", "acc", "uar"]
    assert (first["value"], second["value"], third["value"]) == (0.75, 0.5, 0.25)
    expected: dict[str, Any] = {
        **{"experiment": 5, "run": 5, "method": "baseline", "kind": "baseline", "layer": None},
        **{"dataset": "gsc_randsplit", "features": "spectrum_fast", "network": "vgg16"},
        **{"frozen_networks": None, "beta": None, "seed": 4, "learning_rate": 0.01},
        **{"search": None, "suite": None, "sd_over_folds": None, "examples": 90, "clips": None},
        **{"collapsed": False, "test_chance": 0.25, "split": "random by clip: speakers shared"},
    }
    assert {key: first[key] for key in expected} == expected
    expected = {
        **{"experiment": 28, "run": 1, "method": "anti-transfer against noisyspeech"},
        **{"layer": "3, 5", "frozen_networks": "noisyspeech", "beta": 1.0, "seed": 0},
        **{"learning_rate": 0.001, "batch_size": 30},
        **{
            "search_trial": 0,
            "suite": "1.2.0",
            "commit": "abc",
            "seconds": 7.5,
            "sd_over_folds": pytest.approx(np.std([0.4, 0.6], ddof=1)),
        },
        **{"examples": 100, "clips": 60, "collapsed": True, "test_chance": 0.25},
    }
    assert {key: second[key] for key in expected} == expected


def test_a_table_is_written_only_when_it_changes(tmp_path: Path) -> None:
    for number in (1, 2):
        write_result(tmp_path, make_result(number / 4, number, 5))
        table_of(tmp_path)
        identity = identity_of(tmp_path / "runs.csv")
        assert sorted(set(table_of(tmp_path).seed)) == list(range(1, number + 1))
        assert identity_of(tmp_path / "runs.csv") == identity


def test_parts_of_the_test_set_have_rows(tmp_path: Path) -> None:
    result = make_result(0.5, 0, 28)
    names = ("acc", "examples")
    folds = [
        {"a": (0.5, 40), "b": (0.25, 20), "c": (0.0, 2)},
        {"b": (0.75, 20), "d": (0.625, 50)},
    ]
    for number, (groups, hard) in enumerate(zip(folds, ((0.25, 30), (0.5, 10)), strict=True)):
        sides = {"aligned": (0.75, 20), "conflicting": hard}
        result[str(number)] = {
            **result["0"],
            "test_groups": {
                "speaker": {
                    key: dict(zip(names, each, strict=True)) for key, each in groups.items()
                }
            },
            "test_alignment": {
                "label": "noise_type",
                **{key: dict(zip(names, each, strict=True)) for key, each in sides.items()},
            },
        }
    write_result(tmp_path, result)
    table = table_of(tmp_path).set_index("metric")
    # (30 x 0.25 + 10 x 0.5) / 40; b is right in (20 x 0.25 + 20 x 0.75) / 40, c has too few.
    expected = {"aligned_acc": (0.75, 40), "conflicting_acc": (0.3125, 40)}
    expected["worst_speaker_acc"] = (0.5, 40)
    found = table.loc[list(expected), ["value", "examples"]].itertuples(name=None)
    assert {metric: (value, examples) for metric, value, examples in found} == expected


def test_parameters_in_which_runs_differ_have_columns(tmp_path: Path) -> None:
    for seed, decay in enumerate((0.0, 0.1)):
        write_result(tmp_path, make_result(0.5, seed, 5, regularization_lambda=decay))
    table = table_of(tmp_path)
    assert sorted(set(table.regularization_lambda)) == [0.0, 0.1]
    assert not {"at_layer", "at_tap", "comment_2"} & set(table.columns)


def test_it_follows_results_that_go_change_and_are_damaged(tmp_path: Path) -> None:
    reader = ResultReader()
    paths = [write_result(tmp_path, make_result(0.5, seed, 5)) for seed in range(4)]
    assert sorted(set(table_of(tmp_path, reader).run)) == [1, 2, 3, 4]
    paths[0].unlink()
    paths[1].unlink()
    write_result(tmp_path, make_result(0.75, 1, 5))
    table = table_of(tmp_path, reader)
    assert table[table.set == "test"].set_index("run").value.to_dict() == {2: 0.75, 3: 0.5, 4: 0.5}
    paths[2].write_text("{}")
    said = update_runs_table(tmp_path, reader)
    assert re.search(r"runs\.csv: lacks 1 damaged result: .*run3\.json: is no result", said)
    assert sorted(set(pd.read_csv(tmp_path / "runs.csv").run)) == [2, 4]


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("classification", {}),
        ("regression", {'"acc"': '"RMSE"', "idxmax": "idxmin", "100 * ": ""}),
    ],
)
def test_five_lines_of_the_readme_make_the_main_table_of_the_report(
    tmp_path: Path, task: str, changes: dict[str, str]
) -> None:
    random = np.random.default_rng(3)
    methods: list[tuple[int, dict[str, Any]]] = [
        (5, {}),
        (108, {"kind": "weight_initialization", "at_pretraining": "noisyspeech"}),
    ]
    methods += [
        (identifier, {**own, "at_layer": layer})
        for identifier, own in ((28, AGAINST_NOISE), (203, AGAINST_RANDOM))
        for layer in (1, 5, 13)
    ]
    results: list[dict[str, Any]] = []
    for identifier, own in methods:
        for seed in range(3):
            test, validation = random.uniform(0.3, 0.9, 2)
            result = make_result(test, seed, identifier, task, validation=validation, **own)
            result["number"] = len(results)
            results.append(result)
            write_result(tmp_path / "results", result)
    trial = {**AGAINST_NOISE, "at_layer": 1, "at_beta": 0.3, "search_trial": 1}
    write_result(tmp_path / "results", make_result(0.99, 0, 29, task, validation=0.99, **trial))
    table_of(tmp_path / "results")
    (comparison,) = compare(loaded(results))
    path, *_ = main_table(find(comparison)).write(tmp_path)
    expected = pd.read_csv(path, dtype={"layer": str}).fillna({"layer": ""})
    text = (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import pandas\n.*?)```", text, flags=re.DOTALL)
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    shown = r"print\((.*)\.round\(1\)\.to_string\(\)\)\n$"
    code = re.sub(shown, r"\1.stack('set').to_csv('made.csv')", code)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    made = pd.read_csv(tmp_path / "made.csv", dtype={"layer": str}).fillna({"layer": ""})
    for set_name in ("validation", "test"):
        found = made[made.set == set_name].set_index("method").loc[expected.method]
        name = f"{set_name} {'%' if task == 'classification' else 'RMSE'}"
        assert list(found.layer) == list(expected.layer)
        assert list(found["mean"]) == pytest.approx(list(expected[name]))
        assert list(found["std"]) == pytest.approx(list(expected[f"{name} sd"]))
    assert len(expected) == 4
