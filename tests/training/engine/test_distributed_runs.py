"""Whole trainings of two processes: the history, figures and files of one process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from config.errors import UserError
from config.experiments import load_experiments
from config.extractors import EXTRACTORS
from config.settings import PROJECT_FOLDER
from config.words import CPU
from pretraining.pretrain import pretrain
from tests.training.in_processes import NUM_PROCESSES, run_in_processes
from training.engine import fit as fitting
from training.engine.checks import TrainingError
from training.engine.distributed import join_processes, leave_processes, only_main_speaks
from training.engine.step import Learner
from training.results.dictionary import InstanceFiles
from training.sweep.instance import Workshop, run_instance

if TYPE_CHECKING:
    from tests.conftest import Suite

PENALTY = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 3}
# The sets have 42, 12 and 6 examples: the last batches have 2, 2 and 1 of them.
EXPERIMENTS: dict[int, dict[str, Any]] = {
    1: {
        **PENALTY,
        "at_cache": "disk",
        "gradient_reversal_label": "class_name",
        "gradient_reversal_layer": 2,
        "tracker": "tensorboard",
    },
    2: {
        **PENALTY,
        "at_aggregation": "gram_batch",
        "train_metrics": "running",
        "num_folds": 2,
        "num_epochs": 1,
    },
    3: {"num_epochs": 8, "patience": 1, "learning_rate": 0.05},
    4: {"num_epochs": 3, "choose_optimizer": "adam", "learning_rate": 0.0005},
    5: {"num_epochs": 3, "learning_rate": 1000},
}
COMMON = {"batch_size": 5, "num_epochs": 2, "choose_optimizer": "sgd", "learning_rate": 0.02}
INTERRUPTED = 4
DIVERGES = 5


def run(folder: Path, results: str, identifier: int) -> dict[str, Any]:
    """Train an instance of the suite in a folder; returns its JSON twin's content."""
    overrides = {"results_folder": folder / results, "cache_folder": folder / results / "cache"}
    experiments = load_experiments(folder / "experiments", [folder / "suite.ini"], overrides)
    instance = experiments[identifier].instances[0]
    files = InstanceFiles(folder / results, identifier, 1, "tiny", "spectrum_fast")
    return run_instance(instance, files, Workshop(torch.device("cpu")), f"run {identifier}")


@contextmanager
def interrupted_in_epoch(number: int) -> Iterator[None]:
    """In all processes."""
    original = fitting._run_epoch

    def run_epoch(*arguments: Any) -> None:
        if arguments[-1].num_epochs == number:
            raise KeyboardInterrupt
        original(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "_run_epoch", run_epoch)
        yield


@contextmanager
def counting(epochs: list[int], examples: list[int]) -> Iterator[None]:
    """Notes each epoch's number, and how many examples this process takes at a time."""
    run_original, losses_original = fitting._run_epoch, Learner.losses

    def run_epoch(*arguments: Any) -> None:
        epochs.append(arguments[-1].num_epochs)
        run_original(*arguments)

    def losses(learner: Learner, batch: Any) -> Any:
        examples.append(len(batch.inputs))
        return losses_original(learner, batch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "_run_epoch", run_epoch)
        patched.setattr(Learner, "losses", losses)
        yield


def train_together(path: str) -> None:
    """One of the processes."""
    folder = Path(path)
    rank = int(os.environ["RANK"])
    written: list[str] = []
    sys.addaudithook(lambda event, arguments: _note(event, arguments, path, written))
    only_main_speaks()
    assert join_processes([CPU]) == torch.device("cpu")
    print("trains")
    found: dict[str, Any] = {}
    with pytest.raises(TrainingError) as caught:
        run(folder, "together", DIVERGES)
    found["diverged"] = str(caught.value)
    for identifier in EXPERIMENTS:
        epochs: list[int] = []
        examples: list[int] = []
        if identifier == DIVERGES:
            continue
        if identifier == INTERRUPTED:
            with interrupted_in_epoch(1), pytest.raises(KeyboardInterrupt):
                run(folder, "together", identifier)
        with counting(epochs, examples):
            found[str(identifier)] = run(folder, "together", identifier)
        found[f"epochs of {identifier}"] = epochs
        found[f"examples of {identifier}"] = sorted(set(examples))
    leave_processes()
    assert not torch.distributed.is_initialized()
    found["written"] = list(written)
    (folder / f"found_{rank}.json").write_text(json.dumps(found))


def _note(event: str, arguments: Any, folder: str, written: list[str]) -> None:
    """What a process changes in a folder."""
    is_change = event in {"os.rename", "os.remove", "os.mkdir"}
    if event == "open" and isinstance(arguments[0], str | bytes):
        is_change = any(letter in str(arguments[1] or "") for letter in "wax+")
    if is_change and str(arguments[0]).startswith(folder):
        written.append(f"{event} {arguments[0]} {arguments[1]}")


@pytest.fixture(scope="module")
def folder(make_suite: Callable[[], "Suite"]) -> Path:
    """A suite whose experiments were run by one process and by two."""
    suite = make_suite()
    suite.write_matrices()
    suite.write_extractor()
    for identifier, training in EXPERIMENTS.items():
        suite.write_experiment(identifier, {**COMMON, **training})
    for identifier in EXPERIMENTS:
        if identifier != DIVERGES:
            run(suite.folder, "alone", identifier)
    ended = run_in_processes(__file__, "train_together", suite.folder)
    assert [each.code for each in ended] == [0, 0], ended
    assert "trains" in ended[0].output
    assert ended[1].output == ""
    return suite.folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What each of the two processes returned."""
    texts = [(folder / f"found_{rank}.json").read_text() for rank in range(NUM_PROCESSES)]
    return [json.loads(text) for text in texts]


def twin(folder: Path, results: str, identifier: int) -> dict[str, Any]:
    path = InstanceFiles(folder / results, identifier, 1, "tiny", "spectrum_fast").json_path
    content: dict[str, Any] = json.loads(path.read_text())
    return content


FINISHED = [identifier for identifier in EXPERIMENTS if identifier != DIVERGES]


@pytest.mark.parametrize("identifier", FINISHED)
def test_two_processes_find_what_one_finds(
    identifier: int, folder: Path, found: list[dict[str, Any]]
) -> None:
    alone, together = (twin(folder, results, identifier) for results in ("alone", "together"))
    assert found[0][str(identifier)] == together
    assert found[1][str(identifier)] == together
    assert alone["fingerprint"] == together["fingerprint"]
    for fold in (key for key in alone if key.isdecimal()):
        assert alone[fold].keys() == together[fold].keys()
        for name, value in alone[fold].items():
            if name.endswith(("loss", "loss_hist")):
                assert together[fold][name] == pytest.approx(value, rel=2e-4, abs=1e-6), name
            else:  # accuracies, confusion, examples, epochs: predictions are the same
                assert together[fold][name] == value, name


@pytest.mark.parametrize("identifier", FINISHED)
def test_they_divide_the_work(identifier: int, found: list[dict[str, Any]]) -> None:
    """Of batches of 5, 2 and 1, in training and in evaluation."""
    assert [own[f"examples of {identifier}"] for own in found] == [[1, 3], [1, 2]]


def test_they_end_early_together(folder: Path) -> None:
    epochs = len(twin(folder, "together", 3)["0"]["val_loss_hist"])
    assert epochs < EXPERIMENTS[3]["num_epochs"]


def test_they_go_on_together_where_they_were_interrupted(found: list[dict[str, Any]]) -> None:
    for own in found:
        assert own[f"epochs of {INTERRUPTED}"] == [1, 2]


def test_they_diverge_together(found: list[dict[str, Any]]) -> None:
    assert "became" in found[0]["diverged"] or "exploded" in found[0]["diverged"]
    assert found[0]["diverged"] == found[1]["diverged"]


def test_the_main_process_alone_writes(folder: Path, found: list[dict[str, Any]]) -> None:
    first, second = (own["written"] for own in found)
    assert second == []
    assert any("cache/frozen_" in entry for entry in first)
    assert any("model_tiny_spectrum_fast_exp2_run1_fold1.pt" in entry for entry in first)
    names = [
        sorted(path.name for path in (folder / each).rglob("*_exp*"))
        for each in ("alone", "together")
    ]
    assert names[0] == names[1]


def scalars(folder: Path) -> dict[str, list[float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (path for path in folder.rglob("events.out.tfevents.*") if _has_scalars(path))
    events = EventAccumulator(str(file)).Reload()
    return {
        name: [each.value for each in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


def _has_scalars(path: Path) -> bool:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return bool(EventAccumulator(str(path)).Reload().Tags()["scalars"])


def test_a_tracker_is_told_the_same(folder: Path) -> None:
    alone, together = (scalars(folder / results / "tracking") for results in ("alone", "together"))
    assert alone.keys() == together.keys()
    for name in alone:
        if name != "examples_per_second":
            assert together[name] == pytest.approx(alone[name], rel=1e-3), name
    assert alone["gradient_norm/penalty_noisyspeech_layer3"][0] > 0


@pytest.mark.parametrize(
    ("module", "key", "said"),
    [
        ("instance", None, "reads other data or extractors than the main process"),
        ("fitting", None, "all must share the results folder"),
        ("frozen_features", "cache", "all must share .results. cache_folder"),
    ],
)
def test_processes_that_do_not_share_their_folders_say_so(
    module: str, key: str | None, said: str, suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process is another one, and knows other things than this one."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, {**COMMON, **PENALTY, "at_cache": "disk"})
    if key is None:
        monkeypatch.setattr(f"training.{module}.from_main", lambda value: (value, "another"))
    else:
        monkeypatch.setattr(f"training.{module}.is_main", lambda: False)
    with pytest.raises(UserError, match=said):
        run(suite.folder, "results", 1)


def pretraining_command(suite: "Suite", *words: str) -> list[str]:
    script = str(PROJECT_FOLDER / "pretraining" / "pretrain_vgg_noisyspeech.py")
    values = [f"--set={key}={value}" for key, value in PRETRAINING.items()]
    return [script, *words, "--config", str(suite.config), *values]


PRETRAINING = {
    "extractor_num_epochs": 2,
    "extractor_batch_size": 5,
    "choose_optimizer": "sgd",
    "learning_rate": 0.05,
}


def test_an_extractor_is_trained_under_torchrun(make_suite: "Callable[[], Suite]") -> None:
    """With examples at random offsets."""
    alone, together = make_suite(), make_suite()
    for suite in (alone, together):
        suite.write_matrices("noisyspeech_randsplit")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    started = subprocess.Popen(
        [*torchrun, "--nproc-per-node", "2", *pretraining_command(together, "-1")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pretrain(EXTRACTORS["noisyspeech"], alone.settings(**PRETRAINING), CPU)
    output, errors = started.communicate(timeout=240)
    assert started.returncode == 0, errors
    assert output.count("written to") == 1
    files = [
        {path.name for path in (suite.extractors / "noisyspeech").iterdir()}
        for suite in (alone, together)
    ]
    assert files[0] == files[1]
    values, others = (
        json.loads((suite.extractors / "noisyspeech" / "results.json").read_text())
        for suite in (alone, together)
    )
    for name, value in values.items():
        if name.endswith(("loss", "loss_hist")):
            assert others[name] == pytest.approx(value, rel=2e-4), name
        else:
            assert others[name] == value, name


def test_several_gpus_need_torchrun(suite: "Suite") -> None:
    suite.write_matrices("noisyspeech_randsplit")
    command = "torchrun --nproc-per-node 2 pretraining/pretrain_vgg_noisyspeech.py 0,1"
    with pytest.raises(UserError, match=f"2 GPUs need as many processes: {command}"):
        pretrain(EXTRACTORS["noisyspeech"], suite.settings(), (0, 1))
    done = subprocess.run(
        [sys.executable, *pretraining_command(suite, "0;1")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "'0;1' is no GPU number" in done.stderr
