"""Two processes with a part of the batch each have the gradient of one process with all of it."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from config.errors import UserError
from config.settings import POOL, WITHIN_CLASS
from config.words import CPU
from tests.training.in_processes import NUM_PROCESSES, run_in_processes
from training.data.batches import ExampleSet, Normalization
from training.engine import step as learner
from training.engine.devices import build_accelerator
from training.engine.distributed import (
    Part,
    Share,
    all_agree,
    alone,
    average_gradients,
    from_main,
    gather_with_gradient,
    is_distributed,
    is_main,
    join_processes,
    leave_processes,
    mean_over_processes,
    num_local_processes,
    num_processes,
    only_main_speaks,
    own_share,
    sum_over_processes,
    total_over_processes,
)
from training.engine.dropout import SharedDropout, share_dropout, tell_dropout
from training.engine.step import Learner, task_loss_of
from training.methods import gradient_reversal
from training.methods.anti_transfer import AntiTransferLoss
from training.methods.gradient_reversal import UNKNOWN, GradientReversal
from training.similarity import measures as similarity
from training.similarity.measures import AGGREGATIONS, DISTANCES, FUSED_MEASURES

COMBINATIONS = [
    *itertools.product([name for name in AGGREGATIONS if name != POOL], DISTANCES),
    (POOL, WITHIN_CLASS),
]
# Examples of a batch: as many each, one more for the first, and none for the second.
TOTALS = (6, 5, 1)
DOMAINS = torch.tensor([0, 1, UNKNOWN, 2, 1, UNKNOWN])


def network(seed: int) -> nn.Sequential:
    """Two convolutions; in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(32, 3),
        ]
        return nn.Sequential(*layers).double()


def examples(total: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(total)
    inputs = torch.randn(6, 1, 9, 7, generator=generator, dtype=torch.float64)
    return inputs[:total], torch.tensor([0, 1, 0, 1, 0, 1])[:total]


def gradients(pair: tuple[str, str], total: int, share: Share) -> dict[str, Any]:
    """Task loss and penalty of a share of a batch, and their gradient by the parameters."""
    model = network(0)
    part = share.of(total)
    inputs, labels = (values[part.places] for values in examples(total))
    aggregation, distance = pair
    with AntiTransferLoss(model, network(1), [1, 2], aggregation, distance, 3) as penalty:
        torch.manual_seed(11)
        parallel = in_parallel(model, share, total)
        task_loss = task_loss_of(parallel(inputs), labels, "classification", part.count)
        loss = torch.stack([task_loss, penalty(inputs, labels, count=part.count)]).sum()
    torch.autograd.backward(loss)
    return {"loss": loss.detach(), "gradients": gradients_of(model)}


def reversed_gradients(total: int, share: Share) -> dict[str, Any]:
    """The same with an adversary instead of the penalty, which computes in float32."""
    model = network(0).float()
    part = share.of(total)
    inputs, labels = (values[part.places] for values in examples(total))
    rows = torch.arange(total)
    with GradientReversal(model, 1, DOMAINS, "speaker", 0.5, seed=3) as adversary:
        torch.manual_seed(11)
        parallel = in_parallel(model, share, total)
        task_loss = task_loss_of(parallel(inputs.float()), labels, "classification", part.count)
        loss = adversary(rows[part.places], 0.4, all_rows=rows, count=part.count)
    torch.autograd.backward(task_loss + loss)
    average_gradients(adversary.head.parameters())
    found = [*gradients_of(model), *gradients_of(adversary.head)]
    return {"loss": loss.detach(), "gradients": found, "terms": dict(adversary.terms)}


def in_parallel(model: nn.Module, share: Share, total: int) -> nn.Module:
    if share.num_processes == 1:
        return model
    share_dropout(model)
    tell_dropout(model, share.of(total))
    return DistributedDataParallel(model)


def gradients_of(model: nn.Module) -> list[Tensor]:
    return [each.grad for each in model.parameters() if each.grad is not None]


def compute_gradients(folder: str) -> None:
    """One of the processes."""
    join_processes([CPU])
    found = {
        f"{pair} {total}": gradients(pair, total, own_share())
        for pair in COMBINATIONS
        for total in TOTALS
    }
    found |= {f"reversal {total}": reversed_gradients(total, own_share()) for total in TOTALS}
    torch.save({**found, **library_use(), **small_things()}, Path(folder) / f"{_rank()}.pt")
    if _rank() == 1:
        raise UserError("an error that the others know nothing of")
    leave_processes()


def library_use() -> dict[str, Any]:
    """Somebody else's loop, whose parts are of 4 and of 1 examples."""
    part = slice(0, 4) if _rank() == 0 else slice(4, 5)
    inputs = examples(5)[0][part]
    found = {}
    for kept in (False, True):
        model = DistributedDataParallel(network(0).eval())
        with AntiTransferLoss(model, network(1), [2], "gram_batch", beta=3) as penalty:
            # DistributedDataParallel waits for the gradients of all layers.
            nothing = 0 * model(inputs).sum()
            frozen = penalty.frozen_aggregates(inputs)
            loss = penalty.penalty(frozen) if kept else penalty(inputs)
            torch.autograd.backward(loss + nothing)
        found[f"library {kept}"] = gradients_of(model)
    return found


def small_things() -> dict[str, Any]:
    """Each of the functions by itself."""
    rank = _rank()
    with alone():
        solitary = num_processes(), from_main(rank), all_agree(rank == 0)
    nothing = mean_over_processes(torch.ones(()), 0)
    # A third in float32 is another one when it is put together from parts.
    mean = mean_over_processes(torch.tensor(1 / 3 + rank / 7), 2 + rank)
    value = torch.tensor([float("nan")]) if rank == 1 else torch.zeros(1)
    return {
        "alone": solitary,
        "from_main": from_main({"rank": rank}),
        "all_agree": [all_agree(True), all_agree(rank == 0), all_agree(False)],
        "nothing": nothing,
        "mean": mean,
        "nan": mean_over_processes(value.mean(), 1),
        "sum": sum_over_processes(torch.tensor([1.0, rank])),
        "total": total_over_processes(3 - 2 * rank, torch.device("cpu")),
        "gathered": gather_with_gradient(torch.full((2, 2), float(rank)), 2 - rank),
        "processes": (num_processes(), is_main(), is_distributed(), num_local_processes()),
        "share": (own_share().rank, own_share().num_processes),
    }


def _rank() -> int:
    return int(os.environ["RANK"])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes computes."""
    folder = tmp_path_factory.mktemp("gradients")
    ended = run_in_processes(__file__, "compute_gradients", folder)
    assert "know nothing of" in ended[1].errors, ended
    # Nobody waits for a process that is no more.
    assert all(each.code != 0 for each in ended)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(NUM_PROCESSES)]


def assert_same(first: Sequence[Tensor], second: Sequence[Tensor], tolerance: float = 1e-9) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert other.isfinite().all()
        largest = float(other.abs().max())
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("pair", COMBINATIONS, ids="-".join)
def test_gradients_are_those_of_one_process(
    pair: tuple[str, str], total: int, found: list[dict[str, Any]]
) -> None:
    """Of task loss with dropout and penalty at once."""
    expected = gradients(pair, total, Share())
    for own in found:
        of_pair = own[f"{pair} {total}"]
        assert float(of_pair["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-9)
        assert_same(of_pair["gradients"], expected["gradients"])
    assert torch.equal(found[0][f"{pair} {total}"]["loss"], found[1][f"{pair} {total}"]["loss"])


@pytest.mark.parametrize("total", TOTALS)
def test_an_adversary_is_that_of_one_process(total: int, found: list[dict[str, Any]]) -> None:
    expected = reversed_gradients(total, Share())
    assert len(expected["gradients"]) == 6 + 4
    for own in (each[f"reversal {total}"] for each in found):
        assert_same(own["gradients"], expected["gradients"], 1e-5)
        assert own["terms"].keys() == expected["terms"].keys()
        for name, term in own["terms"].items():
            assert float(term) == pytest.approx(float(expected["terms"][name]), rel=1e-6)


def test_the_penalty_of_a_pair_matters() -> None:
    """Else the comparison above would be of the task loss alone."""
    found = {pair: gradients(pair, 6, Share())["gradients"][0] for pair in COMBINATIONS}
    for one, other in itertools.combinations(COMBINATIONS, 2):
        # A cosine has no scale, and small errors nearly the same gradient whatever their sigmoid.
        if one[1] == other[1] == "cos_squared" and {one[0], other[0]} != {"mean", "sum"}:
            assert not torch.allclose(found[one], found[other], rtol=1e-6, atol=0), (one, other)
    assert FUSED_MEASURES.keys() < set(COMBINATIONS)


@pytest.mark.parametrize("kept", [False, True])
def test_a_loop_of_somebody_else_needs_to_say_nothing(
    kept: bool, found: list[dict[str, Any]]
) -> None:
    model = network(0).eval()
    inputs = examples(5)[0]
    with AntiTransferLoss(model, network(1), [2], "gram_batch", beta=3) as penalty:
        nothing = 0 * model(inputs).sum()
        torch.autograd.backward(penalty(inputs) + nothing)
    for own in found:
        assert_same(own[f"library {kept}"], gradients_of(model))


def test_what_processes_tell_each_other(found: list[dict[str, Any]]) -> None:
    first, second = found
    assert (first["alone"], second["alone"]) == ((1, 0, True), (1, 1, False))
    for own in found:
        assert own["from_main"] == {"rank": 0}
        assert own["all_agree"] == [True, False, False]
        assert own["nothing"] == 0
        assert own["mean"] == pytest.approx((2 * (1 / 3) + 3 * (1 / 3 + 1 / 7)) / 5, rel=1e-6)
        assert own["nan"].isnan()
        assert own["sum"].tolist() == [2, 1]
        assert own["total"] == 4
        assert own["gathered"].tolist() == [[0, 0], [0, 0], [1, 1]]
    assert torch.equal(first["mean"], second["mean"])
    assert (first["processes"], second["processes"]) == ((2, True, True, 2), (2, False, True, 2))
    assert (first["share"], second["share"]) == ((0, 2), (1, 2))


def test_alone_everything_is_as_it_was() -> None:
    value = torch.ones(3)
    assert mean_over_processes(value, 0) is value
    assert gather_with_gradient(value, 1) is value
    assert sum_over_processes(value) is value
    assert from_main(value) is value
    assert (num_processes(), is_main(), is_distributed()) == (1, True, False)
    assert join_processes([CPU]) == torch.device("cpu")
    assert not torch.distributed.is_initialized()
    leave_processes()


def test_an_example_that_keeps_step_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one of the batch's own, so that of two processes no figure would show it."""
    predictors = np.random.default_rng(0).standard_normal((1, 9, 7)).astype(np.float32)
    examples = ExampleSet(
        predictors, np.zeros(1, int), np.arange(1), Normalization(0, 1), torch.device("cpu")
    )
    (batch,) = examples.batches(4, Share(1, 2))
    assert (batch.part, len(batch.labels)) == (Part(1, 0, 1), 1)
    model = network(0).float()
    adversary = GradientReversal(model, 1, DOMAINS, "speaker", 0.5, seed=3)
    penalty = AntiTransferLoss(model, network(1).float(), [2], "mean")
    counts: list[int] = []

    def note(value: Tensor, count: int) -> Tensor:
        counts.append(count)
        return value

    for module in (learner, similarity, gradient_reversal):
        monkeypatch.setattr(module, "mean_over_processes", note)
    accelerator = build_accelerator(torch.device("cpu"), "fp32", "none", Path("unused"))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    works = Learner(model, optimizer, [penalty], accelerator, "classification", adversary=adversary)
    with penalty, adversary:
        works.losses(batch)
        (loss,) = works.adversary_losses(batch)
    assert counts == [0, 0, 0]
    assert loss == 0
    assert adversary.terms  # the only example's label is known, if to another process


@pytest.mark.parametrize(("total", "processes"), [(10, 2), (7, 3), (1, 2), (2, 5), (64, 8)])
def test_shares_put_together_are_the_batch(total: int, processes: int) -> None:
    parts = [Share(rank, processes).of(total) for rank in range(processes)]
    numbers = list(range(total))
    together = [number for part in parts if part.count for number in numbers[part.places]]
    assert together == numbers
    assert sum(part.count for part in parts) == total
    assert max(part.count for part in parts) - min(part.count for part in parts) <= 1
    assert all(numbers[part.places] == [0] for part in parts if not part.count)


@pytest.mark.parametrize("total", [5, 1])
def test_a_process_drops_what_one_process_drops(total: int) -> None:
    inputs = torch.randn(total, 40)
    torch.manual_seed(3)
    expected = nn.Dropout(0.3)(inputs)
    after = torch.rand(1)
    rows = []
    for rank in range(2):
        part = Share(rank, 2).of(total)
        dropout = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.3))
        names = list(dropout.state_dict())
        share_dropout(dropout)
        assert list(dropout.state_dict()) == names
        tell_dropout(dropout, part)
        torch.manual_seed(3)
        found = dropout[1](inputs[part.places])
        assert torch.equal(torch.rand(1), after)
        rows.append(found[: part.count])
    assert torch.equal(torch.cat(rows), expected)
    assert (expected == 0).any()


def test_dropout_in_evaluation_changes_nothing() -> None:
    dropout = SharedDropout(0.5).eval()
    tell_dropout(dropout, Share(1, 2).of(4))
    values = torch.randn(2, 3)
    assert torch.equal(dropout(values), values)


Setter = Callable[..., None]


@pytest.fixture
def as_process(monkeypatch: pytest.MonkeyPatch) -> Setter:
    """Sets what torchrun tells a process."""

    def set_all(rank: int, world_size: int) -> None:
        names = {"RANK": rank, "LOCAL_RANK": rank}
        sizes = {"WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500}
        for name, number in {**names, **sizes, **meeting}.items():
            monkeypatch.setenv(name, str(number))

    return set_all


@pytest.mark.parametrize("gpus", [[0], [0, 1, 2], [1, 1], [0, -1]])
def test_each_process_needs_a_gpu_of_its_own(gpus: list[int], as_process: Setter) -> None:
    as_process(1, 2)
    with pytest.raises(UserError, match=r"for 2 processes: .* \[20\] 0,1"):
        join_processes(gpus)


def test_only_the_main_process_speaks(
    as_process: Setter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0")
    for rank in (0, 1):
        as_process(rank, 2)
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout", __import__("sys").stdout)
            only_main_speaks()
            print(f"rank {rank}")
        assert os.environ["TQDM_DISABLE"] == str(rank)
    assert capsys.readouterr().out == "rank 0\n"
