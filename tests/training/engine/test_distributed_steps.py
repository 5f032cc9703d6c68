"""Steps of a training in two processes and in one, the network in double precision."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from preprocessing.pipeline.matrices import open_matrices
from tests.training.in_processes import run_in_processes
from training.engine.devices import build_accelerator
from training.engine.distributed import is_main, join_processes, leave_processes, own_share
from training.engine.dropout import share_dropout
from training.engine.fit import Streams
from training.engine.folds import load_fold
from training.engine.step import Learner, build_optimizer, training_step
from training.models.networks import build_network

if TYPE_CHECKING:
    from tests.conftest import Suite

CPU = -1
# 42 training examples: batches of 11, 11, 11 and 9, none of which two processes can halve equally.
BATCH_SIZE, NUM_EPOCHS = 11, 3


def train(folder: str) -> None:
    """Some epochs as pre-training has them: dropout, random offsets, a short last batch."""
    device = join_processes([CPU])
    matrices = open_matrices(Path(folder) / "matrices", "tiny")
    split = matrices.folds((0.7, 0.2, 0.1), 1)[0]
    fold = load_fold(matrices, split, device, random_offset=True)
    streams = Streams.from_seed(0, 0)
    model = build_network(3, 1 / 32, streams).double()
    accelerator = build_accelerator(device, "fp32", "none", Path(folder))
    optimizer = build_optimizer("sgd", model.parameters(), 0.05, 0.0)
    share_dropout(model)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    learner = Learner(prepared, optimizer, [], accelerator, "classification")
    torch.manual_seed(streams.dropout)
    prepared.train()
    for _ in range(NUM_EPOCHS):
        batches = fold.sets["training"].training_batches(
            BATCH_SIZE, True, streams.shuffling, own_share()
        )
        for batch in batches:
            training_step(learner, replace(batch, inputs=batch.inputs.double()))
    if is_main():
        name = "together" if own_share().num_processes > 1 else "alone"
        torch.save(model.state_dict(), Path(folder) / f"{name}.pt")
    leave_processes()


def test_epochs_of_steps_are_those_of_one_process(make_suite: "Callable[[], Suite]") -> None:
    suite = make_suite()
    suite.write_matrices()
    ended = run_in_processes(__file__, "train", suite.folder)
    assert [each.code for each in ended] == [0, 0], ended[0].errors + ended[1].errors
    train(str(suite.folder))
    together, alone = (
        torch.load(suite.folder / f"{name}.pt", weights_only=True) for name in ("together", "alone")
    )
    start = build_network(3, 1 / 32, Streams.from_seed(0, 0)).double().state_dict()
    for name in alone:
        assert not torch.equal(alone[name], start[name])
        # The loss itself is in single precision: its last digit is all that may differ.
        assert together[name].numpy() == pytest.approx(alone[name].numpy(), abs=1e-8)
