"""The manager: words, checks, order, what is skipped, failures, spreadsheets and the last table."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import openpyxl
import pytest

import experiments_manager
from config.command_line import run_command
from config.errors import UserError
from config.experiments import load_experiments
from config.selection import EXPERIMENTS_FOLDER, RunSelection
from experiments_manager import build_parser, in_order, main
from training.results.dictionary import write_result
from training.results.loading import ResultReader, read_result
from training.results.spreadsheet import write_spreadsheet
from training.sweep.runs import Run, choose_runs
from training.sweep.spreadsheets import Spreadsheets

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

ROOT = Path(experiments_manager.__file__).parent
SPLIT = "random by clip: speakers shared"
HEAVY_PACKAGES = {
    *("accelerate", "essentia", "librosa", "matplotlib", "pandas"),
    *("scipy", "sklearn", "torch", "xlsxwriter"),
}
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}


def manage(suite: "Suite", *words: str) -> int:
    """What `python experiments_manager.py ...` does in the suite's folder; returns its code."""
    return main(build_parser().parse_intermixed_args([*suite.arguments, *words]))


def twin_of(suite: "Suite", identifier: int, number: int = 1) -> Any:
    return json.loads(suite.files(identifier, number).json_path.read_text())


def prepare(suite: "Suite") -> "Suite":
    suite.write_matrices()
    suite.write_extractor()
    return suite


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(experiment, instance) of each training that is started; none is carried out."""
    started: list[tuple[int, int]] = []

    def note(_instance: Any, files: Any, *_: Any) -> None:
        started.append((files.experiment, files.number))

    monkeypatch.setattr("training.sweep.instance.run_instance", note)
    monkeypatch.setattr(Spreadsheets, "add", lambda _self, _run: None)
    return started


def test_the_suites_own_experiments_are_those_of_the_paper() -> None:
    """20 repetitions of a baseline, one instance for each convolution, 3 initializations."""
    experiments = load_experiments(EXPERIMENTS_FOLDER)
    for identifiers, length, kind in (
        ((5, 6, 7), 20, "baseline"),
        ((28, 29, 30), 13, "anti_transfer"),
        ((108, 109, 110), 3, "weight_initialization"),
    ):
        for identifier in identifiers:
            assert len(experiments[identifier].instances) == length
            assert experiments[identifier].kind == kind


def test_first_and_last_instance(suite: "Suite") -> None:
    suite.write_experiment(5, instances={"repeat": 6})
    suite.write_experiment(6, instances={"repeat": 3})
    experiments = list(load_experiments(suite.experiments, [suite.config]).values())

    def chosen(first: int | None, last: int | None) -> list[tuple[int, int]]:
        runs = choose_runs(experiments, RunSelection((5, 6), (0,), first, last))
        return [(run.experiment.id, run.instance.number) for run in runs]

    assert chosen(None, None) == [(5, n) for n in range(1, 7)] + [(6, n) for n in range(1, 4)]
    assert chosen(2, 3) == [(5, 2), (5, 3), (6, 2), (6, 3)]
    assert chosen(3, None) == [(5, 3), (5, 4), (5, 5), (5, 6), (6, 3)]
    with pytest.raises(UserError, match="experiment 6: has instances 1 to 3, none from 4 to 5"):
        chosen(4, 5)


def test_experiments_come_after_those_they_start_from(suite: "Suite") -> None:
    suite.write_experiment(33, {"at_pretraining": "experiment 32"})
    suite.write_experiment(32, {"at_pretraining": "experiment 31"})
    suite.write_experiment(31)
    suite.write_experiment(30)
    experiments = load_experiments(suite.experiments, [suite.config])

    def order(*identifiers: int) -> list[int]:
        return [each.id for each in in_order([experiments[number] for number in identifiers])]

    assert order(33, 32, 31, 30) == [31, 30, 32, 33]
    assert order(30, 31, 32, 33) == [30, 31, 32, 33]
    assert order(33, 31) == [33, 31]


def test_experiments_that_wait_for_each_other_are_refused(suite: "Suite") -> None:
    suite.write_experiment(31, {"at_pretraining": "experiment 32"})
    suite.write_experiment(32, {"at_pretraining": "experiment 31"})
    suite.write_experiment(33)
    experiments = load_experiments(suite.experiments, [suite.config])
    with pytest.raises(UserError, match=r"experiments \[31, 32\] start from each other's"):
        in_order(list(experiments.values()))


def test_check_names_everything_that_is_missing_with_the_command_that_makes_it(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_experiment(28, AGAINST_NOISE, {"repeat": 3}, dataset="gsc_randsplit")
    suite.write_experiment(32, {"at_pretraining": "experiment 31"}, dataset="gsc_randsplit")
    suite.write_experiment(31)
    folder = ["--set", f"output_folder={suite.folder / 'a folder'}"]
    options = ["--set", "seed=3", "--set", "width=0.125", *folder]
    assert manage(suite, "[28,32]", "-1", "--check", *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    problems = [line for line in captured.err.split("\n") if line.startswith("missing: ")]
    commands = [line for line in captured.err.split("\n") if "make it with: " in line]
    assert [problem.split(": ", 2)[2] for problem in problems[:2]] == [
        "no matrices gsc_randsplit_spectrum_fast",
        "holds no pre-trained extractor",
    ]
    assert "best run of experiment 31, which has no results" in problems[2]
    # What is made must be made for these folders and this width; the seed is the experiment's.
    given_options = (
        f"--config {suite.config} --set width=0.125 "
        f"--set 'output_folder={suite.folder / 'a folder'}'"
    )
    assert [command.split("make it with: ")[1] for command in commands] == [
        f"python preprocessing/preprocessing_GSC_randsplit.py {given_options}",
        f"python pretraining/pretrain_vgg_noisyspeech.py -1 {given_options}",
        f"python experiments_manager.py [31] -1 --experiments {suite.experiments} {given_options}",
    ]


@pytest.mark.parametrize(
    ("gpu", "source", "extractor"), [([], "[31] 0 ", ""), (["2"], "[31] 2 ", "2 ")]
)
def test_what_is_missing_is_made_on_the_gpu_that_was_asked_for(
    suite: "Suite",
    gpu: list[str],
    source: str,
    extractor: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    suite.write_matrices()
    suite.write_experiment(32, {**AGAINST_NOISE, "at_pretraining": "experiment 31"})
    suite.write_experiment(31)
    assert manage(suite, "[32]", *gpu, "--check") == 2
    error = capsys.readouterr().err
    assert f"python experiments_manager.py {source}--experiments {suite.experiments} " in error
    assert f"python pretraining/pretrain_vgg_noisyspeech.py {extractor}--config " in error


def test_the_suites_own_experiments_need_no_folder(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(suite.config), "[34]", "-1", "--check"]
    assert main(build_parser().parse_intermixed_args(words)) == 2
    command = f"python experiments_manager.py [31] -1 --config {suite.config}\n"
    assert command in capsys.readouterr().err


def test_only_the_chosen_instances_need_their_source(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(suite)
    suite.write_experiment(31)
    suite.write_experiment(32, instances={"at_pretraining": "noisyspeech, experiment 31"})
    assert manage(suite, "[32]", "-1", "1", "1", "--check") == 0
    assert "experiment 31" not in capsys.readouterr().out
    assert manage(suite, "[32]", "-1", "2", "2", "--check") == 2
    assert "best run of experiment 31" in capsys.readouterr().err


def test_check_of_a_suite_that_has_everything(
    suite: "Suite", capsys: pytest.CaptureFixture[str], no_training: list[Any]
) -> None:
    prepare(suite).write_experiment(28, AGAINST_NOISE, {"repeat": 3})
    assert manage(suite, "--check", "[28]", "-1", "1", "2") == 0
    said = capsys.readouterr().out
    assert "extractor noisyspeech: test accuracy 90.0%, chance 10.0%" in said
    assert "what it was trained on is not known" in said
    assert "data tiny_spectrum_fast: 60 examples, split random by clip" in said
    assert said.endswith("everything is there for 2 instances\n")
    assert no_training == []


def test_check_says_how_much_memory_is_needed_and_refuses_what_does_not_fit(
    suite: "Suite", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write_matrices()
    suite.write_experiment(5)
    assert manage(suite, "--check", "[5]", "-1") == 0
    said = capsys.readouterr().out
    assert re.search(r"memory of the largest run: about [0-9.]+ GB at batch_size = 10 \(", said)
    monkeypatch.setattr("training.engine.device_memory.free_machine_bytes", lambda: 10_000_000)
    with pytest.raises(UserError, match=r"too little memory on the CPU: .* are needed and"):
        manage(suite, "--check", "[5]", "-1")
    assert manage(suite, "--check", "[5]", "0") == 0


def test_without_check_nothing_starts_as_long_as_something_is_missing(
    suite: "Suite", no_training: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_experiment(5)
    suite.write_experiment(28, AGAINST_NOISE)
    assert manage(suite, "[5,28]", "-1") == 2
    assert "pretrain_vgg_noisyspeech.py" in capsys.readouterr().err
    assert no_training == []


@pytest.mark.parametrize("part", ["predictors.npy", "target.npy", "index.csv", "splits.json"])
def test_incomplete_matrices_are_missing(
    suite: "Suite", part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = suite.write_matrices()
    suite.write_experiment(5)
    (folder / f"tiny_spectrum_fast_{part}").unlink()
    assert manage(suite, "[5]", "--check") == 2
    assert "no matrices tiny_spectrum_fast" in capsys.readouterr().err


def test_matrices_that_do_not_fit_are_missing(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    folder = suite.write_matrices()
    suite.write_experiment(5)
    suite.write_experiment(6, output_classes=7)
    assert manage(suite, "[6]", "--check") == 2
    assert "3 classes, output_classes = 7" in capsys.readouterr().err
    np.save(folder / "tiny_spectrum_fast_target.npy", np.zeros(59, dtype=np.int64))
    assert manage(suite, "[5]", "--check") == 2
    assert "60 examples, 59 targets" in capsys.readouterr().err


def test_an_extractor_at_chance_level_is_refused_unless_forced(
    suite: "Suite", capsys: pytest.CaptureFixture[str], no_training: list[Any]
) -> None:
    suite.write_matrices()
    suite.write_extractor(test_accuracy=0.15)
    suite.write_experiment(28, AGAINST_NOISE)
    suite.write_experiment(108, {"at_pretraining": "noisyspeech"})
    for identifier in (28, 108):
        assert manage(suite, f"[{identifier}]", "-1") == 2
        error = capsys.readouterr().err
        assert "is at chance level (test accuracy 15.0%, chance 10.0%); --force uses it" in error
    assert no_training == []
    assert manage(suite, "[28,108]", "-1", "--force") == 0
    assert no_training == [(28, 1), (108, 1)]


def test_an_extractor_of_another_width_is_missing(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_extractor(width=0.0625)
    suite.write_experiment(28, AGAINST_NOISE)
    assert manage(suite, "[28]", "--check") == 2
    assert "has width 0.0625, this run has 0.03125" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ({"sample_rate": 8000}, "sr_target = 8000, this run has 16000"),
        ({"preprocessing": {"confounding": 0.5}}, "confounding = 0.5, this run has 0.9"),
    ],
)
def test_matrices_made_otherwise_are_missing(
    suite: "Suite",
    stored: dict[str, Any],
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = suite.write_matrices() / "tiny_spectrum_fast_info.json"
    suite.write_experiment(5)
    info.write_text(json.dumps(json.loads(info.read_text()) | stored))
    assert manage(suite, "[5]", "--check") == 2
    assert problem in capsys.readouterr().err
    same = ["--set", "sr_target=8000", "--set", "confounding=0.5"]
    assert manage(suite, "[5]", "--check", *same) == 0


def test_an_extractor_of_another_sampling_rate_is_missing(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_extractor(sample_rate=8000)
    suite.write_experiment(28, AGAINST_NOISE)
    assert manage(suite, "[28]", "--check") == 2
    assert "was trained at 8000 Hz, this run has 16000" in capsys.readouterr().err


def test_risky_settings_and_controls_are_said(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    pooled = {"at_aggregation": "pool", "at_distance": "cka_within_class", "at_dataset": "random"}
    for identifier, values in ((5, {"at_layer": 5}), (6, {"at_layer": 7}), (7, {"at_beta": 3})):
        suite.write_experiment(identifier, {**AGAINST_NOISE, "at_layer": 5, **pooled, **values})
        assert manage(suite, f"[{identifier}]", "--check") == 0
        said = "warning: at_aggregation = pool" in capsys.readouterr().out
        assert said == (identifier != 5)
    suite.write_experiment(
        8, {"gradient_reversal_label": "class_name", "gradient_reversal_layer": 3}
    )
    assert manage(suite, "--list") == 0
    out = capsys.readouterr().out
    assert "random (untrained: a control)" in out
    assert "class_name (gradient reversal)" in out


def test_an_extractor_that_nobody_trains_is_an_error(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(28, {**AGAINST_NOISE, "at_dataset": "birdsong"})
    with pytest.raises(
        UserError, match=r"28_tiny\.ini: no extractor birdsong; there are .*noisyspeech"
    ):
        manage(suite, "[28]", "-1")


def test_a_disk_that_is_too_small(
    suite: "Suite", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full width, two folds: 134,275,780 * 4 bytes * 2 = 1.07 GB for each instance."""
    suite.write_matrices()
    suite.write_experiment(5, instances={"repeat": 3})
    full = ["--set", "width=1", "--set", "num_folds=2"]

    class Usage:
        free = 3.2e9

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    assert manage(suite, "[5]", "--check", *full) == 2
    assert "3.2 GB are needed for models, 3.2 GB are free" in capsys.readouterr().err
    assert manage(suite, "[5]", "--check", *full, "-1", "1", "2") == 0


def test_a_gpu_must_be_named(suite: "Suite", no_training: list[Any]) -> None:
    suite.write_matrices()
    suite.write_experiment(5)
    with pytest.raises(UserError, match="no GPU given"):
        manage(suite, "[5]")
    with pytest.raises(UserError, match=r"GPU 99: torch sees \d+ GPUs here"):
        manage(suite, "[5]", "99")
    assert no_training == []


def test_families_and_order_of_the_words(suite: "Suite", no_training: list[Any]) -> None:
    suite.write_matrices()
    for identifier, family in ((5, "baseline"), (6, "baseline"), (7, "10")):
        suite.write_experiment(identifier, family=family)
    assert manage(suite, "[10,baseline]", "-1") == 0
    assert no_training == [(7, 1), (5, 1), (6, 1)]
    no_training.clear()
    assert manage(suite, "[6,5]", "--overwrite", "-1") == 0
    assert no_training == [(6, 1), (5, 1)]
    with pytest.raises(UserError, match="no experiment or family 8; experiments: 5, 6, 7"):
        manage(suite, "[8]", "-1")


@pytest.fixture(scope="module")
def finished(make_suite: Callable[[], "Suite"]) -> tuple["Suite", str, int]:
    """Experiments 5 (three repetitions) and 28 (two), what their run said, and its exit code."""
    suite = prepare(make_suite())
    suite.write_experiment(5, instances={"repeat": 3, "comment_2": "repetition{repetition}"})
    suite.write_experiment(28, AGAINST_NOISE, {"repeat": 2, "comment_1": "antitransfer"})
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *texts, **_: said.append(" ".join(map(str, texts))))
        code = manage(suite, "[5,28]", "-1", "--set", "num_epochs=4")
    return suite, "\n".join(said), code


def test_a_run_leaves_what_it_promises(finished: tuple["Suite", str, int]) -> None:
    suite, said, code = finished
    assert code == 0
    for identifier, count in ((5, 3), (28, 2)):
        folder = suite.results / f"experiment_{identifier}"
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        expected = {
            "description.txt",
            f"results/tiny_spectrum_fast_exp{identifier}_results_spreadsheet.xlsx",
            f"results/.tiny_spectrum_fast_exp{identifier}_results_spreadsheet.lock",
        }
        for number in range(1, count + 1):
            stem = f"tiny_spectrum_fast_exp{identifier}_run{number}"
            expected |= {
                f"models/model_{stem}_fold0.pt",
                f"results/results_{stem}.npy",
                f"results/results_{stem}.json",
                f"results/parameters/parameters_{stem}.txt",
            }
        assert names == expected
        text = (folder / "description.txt").read_text()
        assert text == f"description {identifier}\nQuestion {identifier}?\n"
    assert "0 of 5 instances are finished, 5 to run" in said


def test_the_last_table_is_of_the_dictionaries(finished: tuple["Suite", str, int]) -> None:
    suite, said, _ = finished
    lines = [" ".join(line.split()) for line in said.split("\n")]
    accuracies = {}
    for identifier, count, name in (
        (5, 3, "baseline"),
        (28, 2, "anti-transfer against noisyspeech 13"),
    ):
        cells = []
        for key in ("validation", "test"):
            values = []
            for number in range(1, count + 1):
                path = suite.files(identifier, number).dictionary
                summary = np.load(path, allow_pickle=True).item()["summary"]
                values.append(100 * summary[key]["mean_acc"])
            cells.append(f"{mean(values):.1f} ± {stdev(values):.1f}")
            accuracies[identifier, key] = values
        chance = 100 * twin_of(suite, identifier)["0"]["test_chance"]
        (row,) = [line for line in lines if line.startswith(f"{name} ")]
        assert f"{row} ".startswith(f"{name} {count} {cells[0]} {cells[1]} ")
        assert any(f"({SPLIT})" in line and f"chance {chance:.1f} %" in line for line in lines)
    pairs = zip(accuracies[28, "test"], accuracies[5, "test"], strict=False)
    gain = mean(first - second for first, second in pairs)
    (sentence,) = [line for line in lines if "minus baseline, same seeds" in line]
    assert f"{gain:+.1f} points" in sentence
    assert "(2 pairs)" in sentence
    for line in lines:
        if line.startswith("wrote "):
            path = line.removeprefix("wrote ").partition(" (")[0]
            assert (ROOT / path).exists()


def test_the_spreadsheet_holds_the_dictionaries_figures(
    finished: tuple["Suite", str, int],
) -> None:
    suite, _, _ = finished
    for identifier, count, comment in ((5, 3, "baseline"), (28, 2, "antitransfer")):
        path = suite.files(identifier).spreadsheet
        sheet, _data = openpyxl.load_workbook(path, data_only=True).worksheets
        assert sheet.max_row == 4 + count
        for number in range(1, count + 1):
            row = 4 + number
            dictionary = np.load(suite.files(identifier, number).dictionary, allow_pickle=True)
            summary = dictionary.item()["summary"]
            expected = [
                summary[name][key]
                for metric in ("loss", "acc", "f1", "precision", "recall")
                for key in (f"mean_{metric}", f"{metric}_std")
                for name in ("training", "validation", "test")
            ]
            cells = [sheet.cell(row, column).value for column in range(5, sheet.max_column + 1)]
            assert cells == pytest.approx(expected)
            assert sheet.cell(row, 1).value == number
            assert sheet.cell(row, 3).value == comment
            target = sheet.cell(row, 2).hyperlink.target.replace("\\", "/")
            assert (path.parent / target).read_text().startswith("TRAINING PARAMETERS:")


def test_finished_instances_are_skipped(
    finished: tuple["Suite", str, int], no_training: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    suite, _, _ = finished
    same = ["--set", "num_epochs=4"]
    assert manage(suite, "[5,28]", "-1", *same) == 0
    assert no_training == []
    said = capsys.readouterr().out
    assert "5 of 5 instances are finished, 0 to run" in said
    assert "\nbaseline " in said and "±" in said
    assert manage(suite, "[5]", "-1", "2", "3", "--overwrite", *same) == 0
    assert no_training == [(5, 2), (5, 3)]


def test_a_new_repetition_is_run_beside_the_finished_ones(
    finished: tuple["Suite", str, int], no_training: list[Any]
) -> None:
    suite, _, _ = finished
    file = suite.experiments / "5_tiny.ini"
    text = file.read_text()
    file.write_text(text.replace("repeat = 3", "repeat = 5"))
    try:
        assert manage(suite, "[5]", "-1", "--set", "num_epochs=4") == 0
        assert no_training == [(5, 4), (5, 5)]
    finally:
        file.write_text(text)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["num_epochs=4", "learning_rate=0.01"], "learning_rate: 0.001 then, 0.01 now"),
        (["num_epochs=2"], "num_epochs: 4 then, 2 now"),
        (["num_epochs=4", "seed=1"], "seed: 0 then, 1 now"),
    ],
)
def test_changed_parameters_are_an_error_that_names_them(
    finished: tuple["Suite", str, int],
    no_training: list[Any],
    overrides: list[str],
    message: str,
) -> None:
    suite, _, _ = finished
    words = [word for override in overrides for word in ("--set", override)]
    with pytest.raises(UserError) as caught:
        manage(suite, "[5]", "-1", *words)
    assert message in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert str(caught.value).count("then,") == 1
    assert no_training == []
    assert manage(suite, "[5]", "-1", "--overwrite", *words) == 0
    assert no_training == [(5, 1), (5, 2), (5, 3)]


def test_another_extractor_or_other_data_make_a_result_out_of_date(
    finished: tuple["Suite", str, int], no_training: list[Any]
) -> None:
    suite, _, _ = finished
    words = ["-1", "--set", "num_epochs=4"]
    suite.write_extractor(seed=78)
    with pytest.raises(UserError, match=r"run1.json: was made otherwise \(extractor noisyspeech: "):
        manage(suite, "[28]", *words)
    assert manage(suite, "[5]", *words) == 0
    suite.write_extractor()
    assert manage(suite, "[28]", *words) == 0
    info = suite.matrices / "tiny_spectrum_fast_info.json"
    text = info.read_text()
    info.write_text(text.replace("data of tiny", "new data"))
    try:
        with pytest.raises(UserError, match=r"\(data: 'data of tiny' then, 'new data' now\)"):
            manage(suite, "[5]", *words)
    finally:
        info.write_text(text)
    assert no_training == []


def test_list_shows_what_is_done(
    finished: tuple["Suite", str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    suite, _, _ = finished
    suite.write_experiment(6, instances={"repeat": 4})
    assert manage(suite, "--list") == 0
    (suite.experiments / "6_tiny.ini").unlink()
    header, *rows = [line.split("  ") for line in capsys.readouterr().out.rstrip().split("\n")]
    assert [cell for cell in map(str.strip, header) if cell] == [
        "ID",
        "done",
        "dataset",
        "split",
        "orthogonal task",
        "question",
    ]
    assert [[cell for cell in map(str.strip, row) if cell] for row in rows] == [
        ["5", "3/3", "tiny", SPLIT, "-", "Question 5?"],
        ["6", "0/4", "tiny", SPLIT, "-", "Question 6?"],
        ["28", "2/2", "tiny", SPLIT, "noise type (noisyspeech)", "Question 28?"],
    ]


def rows_of_spreadsheet(suite: "Suite", identifier: int) -> list[int]:
    sheet, _data = openpyxl.load_workbook(suite.files(identifier).spreadsheet).worksheets
    return [cell.value for cell in sheet["A"][4:]]


def runs_of(suite: "Suite", identifier: int) -> list[Run]:
    experiments = load_experiments(suite.experiments, [suite.config])
    return choose_runs([experiments[identifier]], RunSelection((identifier,), (0,), None, None))


def pretend_to_run(suite: "Suite", identifier: int, number: int, accuracy: float = 0.5) -> None:
    """Leave a result as a training does, without any."""
    metrics = ("loss", "acc", "f1", "precision", "recall", "chance")
    fold = {f"{name}_{metric}": accuracy for name in ("train", "val", "test") for metric in metrics}
    run = runs_of(suite, identifier)[number - 1]
    inputs = {"data": "data of tiny"}
    model = {"split": "by clip"}
    write_result(run.files, [fold], run.instance.parameters, model, inputs)


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Writing a spreadsheet takes two of its seconds."""
    clock = Clock()

    def slowly(*arguments: Any) -> None:
        clock.now += 2
        write_spreadsheet(*arguments)

    monkeypatch.setattr("training.sweep.schedule.time.monotonic", clock)
    monkeypatch.setattr("training.results.spreadsheet.write_spreadsheet", slowly)
    return clock


def test_a_spreadsheet_takes_a_hundredth_of_the_time(suite: "Suite", clock: Clock) -> None:
    """Written in 2 s, it rests for 200 s; another experiment's does not have to wait for it."""
    for identifier in (5, 6):
        suite.write_experiment(identifier, instances={"repeat": 4})
    spreadsheets = Spreadsheets(ResultReader())
    runs = runs_of(suite, 5)
    for number, seconds, expected in ((1, 0, [1]), (2, 199, [1]), (3, 2, [1, 2, 3]), (4, 9, [])):
        clock.now += seconds
        pretend_to_run(suite, 5, number)
        spreadsheets.add(runs[number - 1])
        assert rows_of_spreadsheet(suite, 5) == (expected or [1, 2, 3])
    pretend_to_run(suite, 6, 2)
    spreadsheets.add(runs_of(suite, 6)[1])
    assert rows_of_spreadsheet(suite, 6) == [2]
    (outdated,) = spreadsheets.outdated([*runs, *runs_of(suite, 6)])
    assert outdated.experiment.id == 5
    spreadsheets.write(outdated)
    assert rows_of_spreadsheet(suite, 5) == [1, 2, 3, 4]
    assert spreadsheets.outdated(runs) == []


def test_a_result_that_comes_while_a_spreadsheet_is_written_stands_in_the_last(
    suite: "Suite", clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs side by side often end together; the second's file is older than the spreadsheet."""
    suite.write_experiment(5, instances={"repeat": 2})
    spreadsheets, runs = Spreadsheets(ResultReader()), runs_of(suite, 5)

    def meanwhile(*arguments: Any) -> None:
        clock.now += 2
        pretend_to_run(suite, 5, 2)
        write_spreadsheet(*arguments)

    monkeypatch.setattr("training.results.spreadsheet.write_spreadsheet", meanwhile)
    pretend_to_run(suite, 5, 1)
    spreadsheets.add(runs[0])
    spreadsheets.add(runs[1])
    assert rows_of_spreadsheet(suite, 5) == [1]
    for run in spreadsheets.outdated(runs):
        spreadsheets.write(run)
    assert rows_of_spreadsheet(suite, 5) == [1, 2]


def test_what_another_process_finished_stands_in_the_spreadsheet_too(suite: "Suite") -> None:
    suite.write_experiment(5, instances={"repeat": 3})
    spreadsheets, runs = Spreadsheets(ResultReader()), runs_of(suite, 5)
    pretend_to_run(suite, 5, 2, accuracy=0.25)
    spreadsheets.write(runs[1])
    pretend_to_run(suite, 5, 1)
    pretend_to_run(suite, 5, 2, accuracy=0.75)
    spreadsheets.write(runs[0])
    sheet, _data = openpyxl.load_workbook(suite.files(5).spreadsheet).worksheets
    assert [[cell.value for cell in row[:1] + row[4:5]] for row in sheet.iter_rows(min_row=5)] == [
        [1, 0.5],
        [2, 0.75],
    ]


def test_no_result_is_read_again_for_each_spreadsheet(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write_experiment(5, instances={"repeat": 6})
    read: list[str] = []

    def noting(path: Path) -> dict[str, Any]:
        read.append(path.name)
        return read_result(path)

    monkeypatch.setattr("training.results.loading.read_result", noting)
    spreadsheets = Spreadsheets(ResultReader())
    for number, run in enumerate(runs_of(suite, 5), start=1):
        pretend_to_run(suite, 5, number)
        spreadsheets.write(run)
    assert rows_of_spreadsheet(suite, 5) == [1, 2, 3, 4, 5, 6]
    assert sorted(read) == [f"results_tiny_spectrum_fast_exp5_run{n}.json" for n in range(1, 7)]


@pytest.mark.parametrize("rests", [True, False])
def test_the_spreadsheet_is_complete_after_an_interruption(
    suite: "Suite", clock: Clock, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    suite.write_matrices()
    suite.write_experiment(5, instances={"repeat": 3})

    def run_two(instance: Any, *_: Any) -> None:
        clock.now += 0 if rests else 1000
        if instance.number == 3:
            raise KeyboardInterrupt
        pretend_to_run(suite, 5, instance.number)

    monkeypatch.setattr("training.sweep.instance.run_instance", run_two)
    with pytest.raises(KeyboardInterrupt):
        manage(suite, "[5]", "-1")
    assert rows_of_spreadsheet(suite, 5) == [1, 2]


def test_the_spreadsheet_of_a_killed_run_is_made_good(
    suite: "Suite", no_training: list[Any]
) -> None:
    """The process ended between the last result and the spreadsheet."""
    suite.write_matrices()
    suite.write_experiment(5, instances={"repeat": 2})
    for number in (1, 2):
        pretend_to_run(suite, 5, number)
    assert manage(suite, "[5]", "-1") == 0
    assert no_training == []
    assert rows_of_spreadsheet(suite, 5) == [1, 2]
    written = suite.files(5).spreadsheet.stat().st_mtime_ns
    assert manage(suite, "[5]", "-1") == 0
    assert suite.files(5).spreadsheet.stat().st_mtime_ns == written


def test_a_spreadsheet_that_cannot_be_written_is_a_failure_of_one_line(
    suite: "Suite",
    no_training: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    suite.write_matrices()
    suite.write_experiment(5)
    pretend_to_run(suite, 5, 1)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.results.spreadsheet.write_spreadsheet", fails)
    assert manage(suite, "[5]", "-1") == 1
    captured = capsys.readouterr()
    assert "exp5_results_spreadsheet.xlsx: OSError: [Errno 28] No space left" in captured.err
    assert "baseline" in captured.out


def test_a_failing_instance_does_not_stop_the_others(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(suite)
    suite.write_experiment(
        5,
        {"choose_optimizer": "sgd"},
        {"learning_rate": "1000, 0.001", "comment_2": "rate{learning_rate}"},
    )
    suite.write_experiment(28, {**AGAINST_NOISE, "at_tap": "input"}, {"at_layer": "1, 13"})
    assert manage(suite, "[5,28]", "-1", "--set", "num_epochs=4") == 1
    captured = capsys.readouterr()
    failures = [line for line in captured.err.split("\n") if line.startswith("failed: ")]
    nan, tap = failures[-2:]
    assert nan.startswith("failed: experiment 5 run 1 rate1000.0: ")
    assert "loss became " in nan and "learning_rate" in nan
    assert tap.startswith("failed: experiment 28 run 1 ")
    assert "no gradient arrives" in tap
    assert not suite.files(5, 1).json_path.exists()
    assert twin_of(suite, 5, 2)["parameters"]["learning_rate"] == 0.001
    assert twin_of(suite, 28, 2)["parameters"]["at_layer"] == 13
    sheet, _data = openpyxl.load_workbook(suite.files(5).spreadsheet).worksheets
    assert [cell.value for cell in sheet["A"][4:]] == [2]
    assert "Traceback" not in captured.err


def test_any_error_of_an_instance_is_reported_in_one_line(
    suite: "Suite", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write_matrices()
    suite.write_experiment(5, instances={"repeat": 2})
    errors = [RuntimeError("out of\nmemory"), KeyError("x")]

    def fails(*_: Any) -> None:
        raise errors.pop(0)

    monkeypatch.setattr("training.sweep.instance.run_instance", fails)
    assert manage(suite, "[5]", "-1") == 1
    lines = capsys.readouterr().err.rstrip().split("\n")
    assert [line.split(": ", 2)[2] for line in lines[-2:]] == [
        "RuntimeError: out of memory",
        "KeyError: 'x'",
    ]


def test_an_interruption_stops_everything(
    suite: "Suite", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write_matrices()
    suite.write_experiment(5, instances={"repeat": 2})

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.sweep.instance.run_instance", interrupted)
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: manage(suite, "[5]", "-1"))
    assert caught.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_experiment_that_starts_from_another_runs_after_it(suite: "Suite") -> None:
    prepare(suite)
    suite.write_experiment(31, instances={"repeat": 2})
    suite.write_experiment(32, {**AGAINST_NOISE, "at_pretraining": "experiment 31"})
    words = ["-1", "--set", "num_epochs=1"]
    assert manage(suite, "[32,31]", *words) == 0
    best = max((1, 2), key=lambda number: _validation_accuracy(suite, number))
    assert twin_of(suite, 32)["inputs"]["experiment 31"] == twin_of(suite, 31, best)["fingerprint"]
    assert twin_of(suite, 32)["parameters"]["kind"] == "dual_anti_transfer"


def _validation_accuracy(suite: "Suite", number: int) -> float:
    return float(twin_of(suite, 31, number)["summary"]["validation"]["mean_acc"])


def test_a_regression_from_matrices_to_spreadsheet(
    suite: "Suite", loudness: "Examples", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices(examples=loudness)
    suite.write_extractor()
    head: dict[str, Any] = {"task": "regression", "output_classes": 1}
    suite.write_experiment(40, instances={"repeat": 2}, **head)
    suite.write_experiment(41, AGAINST_NOISE, **head)
    assert manage(suite, "[40,41]", "-1") == 0
    captured = capsys.readouterr()
    assert "failed" not in captured.err
    assert "exp40_results_spreadsheet.xlsx" in captured.out
    sheet, _data = openpyxl.load_workbook(suite.files(40).spreadsheet, data_only=True).worksheets
    assert [sheet.cell(2, column).value for column in (5, 11, 17)] == ["LOSS", "RMSE", "MAE"]
    assert sheet.max_column == 22
    for number in (1, 2):
        summary = np.load(suite.files(40, number).dictionary, allow_pickle=True).item()["summary"]
        expected = [
            summary[name][key]
            for metric in ("loss", "RMSE", "MAE")
            for key in (f"mean_{metric}", f"{metric}_std")
            for name in ("training", "validation", "test")
        ]
        cells = [sheet.cell(4 + number, column).value for column in range(5, 23)]
        assert cells == pytest.approx(expected)
        assert summary["test"]["mean_RMSE"] == pytest.approx(summary["test"]["mean_loss"] ** 0.5)


def run_python(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )


def heavy_packages_of(*words: str) -> tuple[list[str], str]:
    """What the manager says, and its exit code with the heavy packages that it imported."""
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['experiments_manager.py', *{words!r}]\n"
        "try:\n"
        "    runpy.run_path('experiments_manager.py', run_name='__main__')\n"
        "except SystemExit as stop:\n"
        f"    print('EXIT', stop.code, sorted({HEAVY_PACKAGES!r} & set(sys.modules)))\n"
    )
    done = run_python("-c", program)
    *said, last = done.stdout.rstrip().split("\n")
    return said, last


def test_list_does_not_wait_for_heavy_packages() -> None:
    table, last = heavy_packages_of("--list")
    assert last == "EXIT 0 []"
    assert {line.split()[0] for line in table[1:]} >= {"5", "28", "108"}


def test_check_does_not_wait_for_heavy_packages(suite: "Suite") -> None:
    """Of experiments that need all there is: matrices, extractors, another one's results."""
    prepare(suite)
    folder = suite.settings().extractor_folder("noisyspeech")
    (folder / "training_audio.txt").write_text("audio of clip001\n")
    suite.write_experiment(31, {"at_pretraining": "noisyspeech"})
    suite.write_experiment(32, {**AGAINST_NOISE, "at_pretraining": "experiment 31"})
    said, last = heavy_packages_of(*suite.arguments, "--check", "[31,32]", "-1")
    assert said[-1] == "everything is there for 2 instances"
    assert "test clips of tiny_spectrum_fast" in "".join(said)
    assert last == "EXIT 0 []"


def test_results_of_baselines_are_summed_up_without_heavy_packages(
    finished: tuple["Suite", str, int],
) -> None:
    suite, _, _ = finished
    said, last = heavy_packages_of(*suite.arguments, "--summary", "[5]")
    assert "baseline" in "".join(said)
    assert last == "EXIT 0 []"


def test_check_reads_each_file_once_however_many_instances_need_it(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(suite).write_experiment(28, AGAINST_NOISE, {"repeat": 30})
    read: list[str] = []
    original = Path.read_text

    def noting(path: Path, *arguments: Any, **options: Any) -> str:
        read.append(path.name)
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", noting)
    assert manage(suite, "--check", "[28]") == 0
    assert 1 <= read.count("tiny_spectrum_fast_info.json") <= 2
    assert 1 <= read.count("extractor.json") <= 2


def test_from_a_shell_in_another_folder(suite: "Suite") -> None:
    script = str(ROOT / "experiments_manager.py")
    empty = ["--set", f"output_folder={suite.folder}"]
    done = run_python(script, "[5,28,108]", "-1", *empty, "--check", folder=suite.folder)
    assert done.returncode == 2
    assert "python preprocessing/preprocessing_GSC_randsplit.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_from_ipython_as_the_readme_says(suite: "Suite") -> None:
    line = f"run experiments_manager [5, 28,108] -1 1 3 --check --set output_folder={suite.folder}"
    done = run_python("-m", "IPython", "--no-banner", "--colors=NoColor", "-c", line)
    text = done.stdout + done.stderr
    assert "python preprocessing/preprocessing_GSC_randsplit.py" in text
    assert "SystemExit: 2" in text


def test_check_counts_test_clips_that_the_extractor_was_trained_on(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the six test clips, two are among what the extractor heard."""
    prepare(suite)
    splits = json.loads((suite.matrices / "tiny_spectrum_fast_splits.json").read_text())
    test_groups = splits["folds"][0]["test"]
    heard = [f"audio of {group}" for group in [*test_groups[:2], "another"]]
    folder = suite.settings().extractor_folder("noisyspeech")
    (folder / "training_audio.txt").write_text("\n".join(heard) + "\n")
    suite.write_experiment(28, AGAINST_NOISE)
    manage(suite, "--check", "[28]")
    said = capsys.readouterr().out
    assert f"trained on 2 of the {len(test_groups)} test clips of tiny_spectrum_fast" in said


@pytest.mark.parametrize("text", ["clip,group\n", "", "group,content\nTESTED\n"])
def test_a_broken_index_is_named(suite: "Suite", text: str) -> None:
    prepare(suite)
    folder = suite.settings().extractor_folder("noisyspeech")
    (folder / "training_audio.txt").write_text("audio of clip001\n")
    suite.write_experiment(28, AGAINST_NOISE)
    splits = json.loads((suite.matrices / "tiny_spectrum_fast_splits.json").read_text())
    tested = splits["folds"][0]["test"][0]
    (suite.matrices / "tiny_spectrum_fast_index.csv").write_text(text.replace("TESTED", tested))
    with pytest.raises(UserError, match=r"tiny_spectrum_fast_index\.csv: is no usable index: "):
        manage(suite, "--check", "[28]")


def test_matrices_of_other_features_are_refused(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(suite)
    suite.write_experiment(5)
    path = suite.matrices / "tiny_spectrum_fast_info.json"
    info = json.loads(path.read_text())
    info["feature_extraction"] = {"normalization": True, "sequence_length": 3.0}
    path.write_text(json.dumps(info))
    assert manage(suite, "--check", "[5]") == 2
    error = capsys.readouterr().err
    assert "was made with normalization = True, this run has False" in error
    assert "sequence_length" not in error
    assert manage(suite, "--check", "[5]", "--set", "normalization=True") == 0


def test_an_extractor_of_other_features_is_refused(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(suite)
    suite.write_extractor(plan={"features_type": "mel"})
    suite.write_experiment(28, AGAINST_NOISE)
    assert manage(suite, "--check", "[28]") == 2
    assert "was trained on mel, this run has spectrum_fast" in capsys.readouterr().err
