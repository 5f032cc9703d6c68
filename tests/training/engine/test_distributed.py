"""Two processes that train one network together, over gloo on the CPU."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from config.errors import UserError
from config.selection import CPU
from tests.training.in_processes import NUM_PROCESSES, run_in_processes
from training.data.batches import shard
from training.engine import folds
from training.engine.checks import TrainingError
from training.engine.distributed import (
    SET_BY_LAUNCHERS,
    broadcast,
    gather,
    join_processes,
    leave_processes,
    only_main_speaks,
    rank,
)

if TYPE_CHECKING:
    from tests.conftest import Suite

TRAINING = {
    "anti_transfer": True,
    "at_dataset": "noisyspeech",
    "at_layer": 3,
    "gradient_reversal_label": "class_name",
    "gradient_reversal_layer": 2,
    "num_epochs": 3,
}


def train_together(path: str) -> None:
    """One of the processes: train an instance, and note what it ends with."""
    from tests.conftest import Suite

    suite = Suite(Path(path), is_new=False)
    only_main_speaks()
    assert join_processes([CPU]) == torch.device("cpu")
    print("trains")
    found: dict[str, Any] = {
        "rank": rank(),
        "broadcast": broadcast(rank()),
        "gather": gather(rank()),
        "diverged": "",
        "result": suite.run(1),
    }
    with pytest.raises(TrainingError, match="cannot be divided among 2 processes"):
        suite.run(1, batch_size=5, results_folder=suite.folder / "other")
    try:
        suite.run(1, learning_rate=1000, results_folder=suite.folder / "other")
    except TrainingError as error:
        found["diverged"] = str(error)
    leave_processes()
    (suite.folder / f"found_{rank()}.json").write_text(json.dumps(found))


def train_and_note_weights(path: str) -> None:
    """One of the processes."""

    def train_fold(*arguments: Any) -> Any:
        trained = folds.train_fold(*arguments)
        torch.save(trained.state, Path(path) / f"weights_{rank()}.pt")
        return trained

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.sweep.instance.train_fold", train_fold)
        train_together(path)


def test_two_processes_train_one_network(suite: "Suite") -> None:
    """They end with the same weights, one writes, and metrics are of the whole sets."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, TRAINING)
    ended = run_in_processes(__file__, "train_and_note_weights", suite.folder)
    assert [each.returncode for each in ended] == [0, 0], ended
    assert "trains" in ended[0].stdout
    assert ended[1].stdout == ""
    first, second = (
        json.loads((suite.folder / f"found_{each}.json").read_text())
        for each in range(NUM_PROCESSES)
    )
    assert (first.pop("rank"), second.pop("rank")) == (0, 1)
    assert first == second
    assert first["broadcast"] == 0
    assert first["gather"] == [0, 1]
    assert "became" in first["diverged"] or "exploded" in first["diverged"]
    fold = first["result"]["0"]
    assert json.loads(suite.files(1).json_path.read_text()) == first["result"]
    assert fold["train_loss_hist"][-1] < fold["train_loss_hist"][0]
    assert fold["train_examples"] == 42
    assert sum(map(sum, fold["test_confusion"])) == fold["test_examples"] == 6
    weights = [
        torch.load(suite.folder / f"weights_{each}.pt", weights_only=True) for each in range(2)
    ]
    written = torch.load(suite.files(1).model(0), weights_only=True)
    for name, values in weights[0].items():
        assert torch.equal(values, weights[1][name])
        assert torch.equal(values, written[name])


@pytest.mark.parametrize("total", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shards_are_of_one_size_and_hold_every_example(total: int, processes: int) -> None:
    order = torch.randperm(total)
    shards = [shard(order, each, processes) for each in range(processes)]
    assert {len(each) for each in shards} == {-(-total // processes)}
    joined = torch.stack(shards, dim=1).flatten()
    assert torch.equal(joined[:total], order)


@pytest.mark.parametrize("gpus", [[0], [0, 0], [0, CPU], [0, 1, 2]])
def test_each_process_takes_a_gpu_of_its_own(
    gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SET_BY_LAUNCHERS | {"LOCAL_WORLD_SIZE"}:
        monkeypatch.setitem(os.environ, name, "2")
    with pytest.raises(UserError, match="for 2 processes: each takes one; name 2 of them"):
        join_processes(gpus)
