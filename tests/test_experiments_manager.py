"""The manager from its command line: checks, results, what runs again, failures, the table."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pandas as pd
import pytest

import experiments_manager
from config.errors import UserError
from config.experiments import load_experiments
from tests.conftest import band_examples, loudness_examples, run_python
from training.sweep.runs import in_order

if TYPE_CHECKING:
    from tests.conftest import Suite

ROOT = Path(experiments_manager.__file__).parent
SPLIT = "random by clip: speakers shared"
HEAVY_PACKAGES = {
    *("accelerate", "essentia", "librosa", "matplotlib", "optuna", "pandas"),
    *("scipy", "sklearn", "torch", "xlsxwriter"),
}
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}


def result_of(suite: "Suite", identifier: int, number: int = 1) -> Any:
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
    monkeypatch.setattr("training.sweep.schedule.update_spreadsheet", lambda *_: None)
    return started


def test_experiments_come_after_those_they_start_from(suite: "Suite") -> None:
    suite.write_experiment(33, {"at_pretraining": "experiment 32"})
    suite.write_experiment(32, {"at_pretraining": "experiment 31"})
    suite.write_experiment(31)
    suite.write_experiment(30)
    experiments = load_experiments(suite.experiments, [suite.config])

    def order(*identifiers: int) -> list[int]:
        return [each.id for each in in_order([experiments[number] for number in identifiers])]

    assert order(33, 32, 31) == [31, 32, 33]
    assert order(30, 31, 32, 33) == [30, 31, 32, 33]
    assert order(33, 31) == [33, 31]
    suite.write_experiment(31, {"at_pretraining": "experiment 32"})
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
    assert suite.manage("[28,32]", "-1", "--check", *options) == 2
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
        f"python pretraining/pretrain.py noisyspeech -1 {given_options}",
        f"python experiments_manager.py [31] -1 --experiments {suite.experiments} {given_options}",
    ]


def test_check_counts_test_clips_that_the_extractor_was_trained_on(
    suite: "Suite", capsys: pytest.CaptureFixture[str], no_training: list[Any]
) -> None:
    """Of the six test clips, two are among what the extractor heard."""
    prepare(suite)
    splits = json.loads((suite.matrices / "tiny_spectrum_fast_splits.json").read_text())
    test_groups = splits["folds"][0]["test"]
    heard = [f"audio of {group}" for group in [*test_groups[:2], "another"]]
    suite.write_experiment(28, AGAINST_NOISE, {"repeat": 3})
    assert suite.manage("--check", "[28]") == 0
    assert "what it was trained on is not known" in capsys.readouterr().out
    folder = suite.settings().extractor_folder("noisyspeech")
    (folder / "training_audio.txt").write_text("\n".join(heard) + "\n")
    assert suite.manage("--check", "[28]", "-1", "1", "2") == 0
    said = capsys.readouterr().out
    assert "data tiny_spectrum_fast: 60 examples, split random by clip" in said
    assert "extractor noisyspeech: test accuracy 90.0%, chance 10.0%" in said
    assert f"trained on 2 of the {len(test_groups)} test clips of tiny_spectrum_fast" in said
    assert said.endswith("everything is there for 2 instances\n")
    assert no_training == []


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ({"preprocessing": {"confounding": 0.5}}, "confounding = 0.5, this run has 0.9"),
        (
            {"feature_extraction": {"normalization": True, "sequence_length": 3.0}},
            "was made with normalization = True, this run has False\n",
        ),
        (
            {"feature_extraction": {"power_law_compression": True}},
            "was made with compression = power, this run has none\n",
        ),
        (
            {"feature_extraction": {"compression": "log", "log_floor": 1e-3}},
            "compression = log, this run has none; log_floor = 0.001, this run has 1e-05\n",
        ),
        ({"classes": ["a", "b"]}, "2 classes, output_classes = 3"),
    ],
)
def test_matrices_that_do_not_fit_are_missing(
    suite: "Suite", stored: dict[str, Any], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    info = suite.write_matrices() / "tiny_spectrum_fast_info.json"
    suite.write_experiment(5)
    info.write_text(json.dumps(json.loads(info.read_text()) | stored))
    assert suite.manage("[5]", "--check") == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("described", "problem"),
    [
        ({"width": 0.0625}, "has width 0.0625, this run has 0.03125"),
        ({"plan": {"features_type": "mel"}}, "was trained on mel, this run has spectrum_fast"),
        (
            {"feature_extraction": {"compression": "log"}},
            "was trained with compression = log, this run has none",
        ),
        (
            {"test_accuracy": 0.15},
            "is at chance level (test accuracy 15.0%, chance 10.0%); --force uses it",
        ),
    ],
)
def test_extractors_that_do_not_fit_are_missing(
    suite: "Suite",
    described: dict[str, Any],
    problem: str,
    capsys: pytest.CaptureFixture[str],
    no_training: list[Any],
) -> None:
    suite.write_matrices()
    suite.write_extractor(**described)
    suite.write_experiment(28, AGAINST_NOISE)
    suite.write_experiment(108, {"at_pretraining": "noisyspeech"})
    for identifier in (28, 108):
        assert suite.manage(f"[{identifier}]", "-1") == 2
        assert problem in capsys.readouterr().err
    if "--force" in problem:
        assert suite.manage("[28,108]", "-1", "--force") == 0
        assert no_training == [(28, 1), (108, 1)]


def test_a_disk_that_is_too_small(
    suite: "Suite", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full width, two folds: 134,275,780 * 4 bytes * 2 = 1.07 GB for each instance."""
    suite.write_matrices()
    suite.write_experiment(5, instances={"repeat": 3})
    full = ["--set", "width=1", "--set", "num_folds=2"]
    usage = type("Usage", (), {"free": 3.2e9})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    assert suite.manage("[5]", "--check", *full) == 2
    assert "3,223 MB are needed for models, 3,200 MB are free" in capsys.readouterr().err


@pytest.fixture(scope="module")
def finished(make_suite: Callable[[], "Suite"]) -> tuple["Suite", str]:
    """Experiments 5 (three repetitions) and 28 (two), and what their run said."""
    suite = prepare(make_suite())
    suite.write_experiment(5, instances={"repeat": 3, "comment_2": "repetition{repetition}"})
    suite.write_experiment(28, AGAINST_NOISE, {"repeat": 2, "comment_1": "antitransfer"})
    with redirect_stdout(StringIO()) as said:
        assert suite.manage("[5,28]", "-1", "--set", "num_epochs=4") == 0
    return suite, said.getvalue()


def test_a_run_leaves_what_it_promises(finished: tuple["Suite", str]) -> None:
    suite, said = finished
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
                f"models/model_{stem}_fold0.safetensors",
                f"models/model_{stem}_fold0.json",
                f"results/results_{stem}.npy",
                f"results/results_{stem}.json",
                f"results/parameters/parameters_{stem}.txt",
                f"results/predictions/predictions_{stem}.csv",
            }
        assert names == expected
        text = (folder / "description.txt").read_text()
        assert text == f"description {identifier}\nQuestion {identifier}?\n"
    assert "0 of 5 instances are finished, 5 to run" in said
    runs = pd.read_csv(suite.results / "runs.csv")
    assert set(zip(runs.experiment, runs.run, strict=True)) == {
        *((5, number) for number in (1, 2, 3)),
        *((28, number) for number in (1, 2)),
    }


def test_finished_instances_are_skipped_and_new_ones_run(
    finished: tuple["Suite", str], no_training: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    suite, _ = finished
    same = ["--set", "num_epochs=4"]
    assert suite.manage("[28,5]", "-1", *same) == 0
    assert no_training == []
    said = capsys.readouterr().out
    assert "5 of 5 instances are finished, 0 to run" in said
    assert said.count("\nbaseline ") == 1 and "±" in said
    assert suite.manage("[5]", "-1", "2", "3", "--overwrite", *same) == 0
    assert no_training == [(5, 2), (5, 3)]
    no_training.clear()
    file = suite.experiments / "5_tiny.ini"
    text = file.read_text()
    file.write_text(text.replace("repeat = 3", "repeat = 5"))
    try:
        assert suite.manage("[5]", "-1", *same) == 0
        assert no_training == [(5, 4), (5, 5)]
    finally:
        file.write_text(text)


def test_list_shows_what_is_done(
    finished: tuple["Suite", str], capsys: pytest.CaptureFixture[str]
) -> None:
    suite, _ = finished
    reversal = {"gradient_reversal_label": "class_name", "gradient_reversal_layer": 3}
    suite.write_experiment(6, reversal, {"repeat": 4})
    suite.files(6).failure.parent.mkdir(parents=True)
    suite.files(6).failure.write_text("{}")
    assert suite.manage("--list", "--set", "num_epochs=4") == 0
    (suite.experiments / "6_tiny.ini").unlink()
    header, *rows = [line.split("  ") for line in capsys.readouterr().out.rstrip().split("\n")]
    assert [cell for cell in map(str.strip, header) if cell] == [
        *("ID", "done", "dataset", "split", "orthogonal task", "question"),
    ]
    assert [[cell for cell in map(str.strip, row) if cell] for row in rows] == [
        ["5", "3/3", "tiny", SPLIT, "-", "Question 5?"],
        ["6", "0/4, 1 failed", "tiny", SPLIT, "class_name (gradient reversal)", "Question 6?"],
        ["28", "2/2", "tiny", SPLIT, "noise type (noisyspeech)", "Question 28?"],
    ]


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
    assert suite.manage("[5,28]", "-1", "--set", "num_epochs=4") == 1
    captured = capsys.readouterr()
    nan, tap = [line for line in captured.err.split("\n") if line.startswith("failed: ")]
    assert nan.startswith("failed: experiment 5 run 1 rate1000.0: ")
    assert "loss became " in nan and "learning_rate" in nan
    assert tap.startswith("failed: experiment 28 run 1 ")
    assert "no gradient arrives" in tap
    assert not suite.files(5, 1).json_path.exists()
    assert suite.files(5, 1).failure.exists()
    assert result_of(suite, 5, 2)["parameters"]["learning_rate"] == 0.001
    assert result_of(suite, 28, 2)["parameters"]["at_layer"] == 13
    sheet, _data = openpyxl.load_workbook(suite.files(5).spreadsheet).worksheets
    assert [cell.value for cell in sheet["A"][4:]] == [2]
    assert "Traceback" not in captured.err


METHODS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "weight_initialization": {"at_pretraining": "librispeech"},
    "anti_transfer": {**AGAINST_NOISE, "at_layer": 5},
    "random control": {**AGAINST_NOISE, "at_dataset": "random", "at_layer": 5},
    "several frozen networks": {
        **AGAINST_NOISE,
        "at_dataset": "noisyspeech, random, librispeech",
        "at_layer": "3, 5; 13; 7",
        "at_beta": "1; 0.5; 0.1",
    },
    "dual_anti_transfer": {**AGAINST_NOISE, "at_pretraining": "experiment 1"},
    "gradient_reversal": {"gradient_reversal_label": "class_name", "gradient_reversal_layer": 3},
    "within-class similarity": {
        **AGAINST_NOISE,
        "at_layer": 5,
        "at_aggregation": "pool",
        "at_distance": "cka_within_class",
    },
}
DATASETS: dict[str, dict[str, Any]] = {
    "bands": {"examples": band_examples(), "num_classes": 3},
    "loudness": {"examples": loudness_examples(), "num_classes": 5},
}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_method_runs_on_every_dataset(
    dataset: str, suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    is_regression = dataset == "loudness"
    suite.write_matrices(**DATASETS[dataset])
    suite.write_extractor("noisyspeech")
    suite.write_extractor("librispeech", seed=78)
    head: dict[str, Any] = {"task": "regression", "output_classes": 1} if is_regression else {}
    for identifier, values in enumerate(METHODS.values(), start=1):
        suite.write_experiment(identifier, {**values, "num_epochs": 1}, **head)
    assert suite.manage(str([*range(1, len(METHODS) + 1)]), "-1") == 0
    losses = {}
    for identifier, name in enumerate(METHODS, start=1):
        result = result_of(suite, identifier)
        losses[name] = result["0"]["train_task_loss_hist"]
        kind = "anti_transfer" if " " in name else name
        assert result["parameters"]["kind"] == kind
        sheet = openpyxl.load_workbook(suite.files(identifier).spreadsheet).worksheets[0]
        title = "RMSE" if is_regression else "ACCURACY"
        assert sheet.cell(2, 8).value == title
        loss = result["summary"]["training"]["mean_loss"]
        assert sheet.cell(5, 5).value == pytest.approx(loss, rel=1e-12)
    assert len({tuple(each) for each in losses.values()}) == len(METHODS)
    best = result_of(suite, 1)["fingerprint"]
    dual = 1 + list(METHODS).index("dual_anti_transfer")
    assert result_of(suite, dual)["inputs"]["experiment 1"] == best
    assert "failed" not in capsys.readouterr().err


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


def test_list_and_check_do_not_wait_for_heavy_packages(suite: "Suite") -> None:
    """Of experiments that need matrices, extractors, another one's results, but no expert."""
    table, last = heavy_packages_of("--list")
    assert last == "EXIT 0 ['optuna']"  # for those files that search
    assert {line.split()[0] for line in table[1:]} >= {"5", "28", "108"}
    prepare(suite)
    folder = suite.settings().extractor_folder("noisyspeech")
    (folder / "training_audio.txt").write_text("audio of clip001\n")
    suite.write_experiment(31, {"at_pretraining": "noisyspeech"})
    suite.write_experiment(32, {"at_pretraining": "experiment 31"})
    said, last = heavy_packages_of(*suite.arguments, "--check", "[31,32]", "-1")
    assert said[-1] == "everything is there for 2 instances"
    assert "test clips of tiny_spectrum_fast" in "".join(said)
    assert last == "EXIT 0 []"


def test_from_a_shell_in_another_folder_and_from_ipython(suite: "Suite") -> None:
    options = ["--check", "--set", f"output_folder={suite.folder}"]
    script = str(ROOT / "experiments_manager.py")
    done = run_python(script, "[5,28,108]", "-1", *options, folder=suite.folder)
    assert done.returncode == 2
    assert f"python {ROOT}/preprocessing/preprocessing_GSC_randsplit.py" in done.stderr
    assert "Traceback" not in done.stderr
    line = f"run experiments_manager [5, 28,108] -1 1 3 {' '.join(options)}"
    done = run_python("-m", "IPython", "--no-banner", "--colors=NoColor", "-c", line)
    text = done.stdout + done.stderr
    assert "python preprocessing/preprocessing_GSC_randsplit.py" in text
    assert "SystemExit" not in text
    assert "An exception" not in text
