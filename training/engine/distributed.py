"""Several processes that train one network together; nothing else talks to torch.distributed.

Each works on its share of every batch, and all compute what one process does with the whole batch.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from config.errors import UserError
from config.words import CPU

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Value = TypeVar("Value")

# One process may wait while another fills a cache; a process that dies ends the others anyhow.
TIMEOUT = timedelta(days=30)
# By torchrun, and by accelerate launch --multi_gpu.
SET_BY_LAUNCHERS = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


@dataclass(frozen=True)
class Part:
    """The examples of a batch that one process works on.

    Attributes:
        first: place of the first of them in the batch.
        count: how many; 0 if the batch has fewer examples than there are processes.
        total: examples of the whole batch.
    """

    first: int
    count: int
    total: int

    @property
    def places(self) -> slice:
        """Where they stand in the batch; without any, the batch's first one, which counts nothing.

        A process without examples goes through the same motions, for the others wait for it.
        """
        return slice(self.first, self.first + self.count) if self.count else slice(0, 1)


@dataclass(frozen=True)
class Share:
    """Which of several processes this is; each takes a contiguous part of every batch."""

    rank: int = 0
    num_processes: int = 1

    def of(self, total: int) -> Part:
        """This process's part of a batch; the sizes of two parts differ by 1 at most."""
        size, larger = divmod(total, self.num_processes)
        first = self.rank * size + min(self.rank, larger)
        return Part(first, size + (self.rank < larger), total)


WHOLE = Share()


class _Solitude:
    """Whether this process computes for itself at the moment."""

    depth = 0


def is_distributed() -> bool:
    """Whether torchrun or accelerate launch started this process as one of several."""
    # A cluster's or notebook's own WORLD_SIZE, or one that is left over, starts no others.
    return os.environ.keys() >= SET_BY_LAUNCHERS and _number("WORLD_SIZE", 1) > 1


def is_main() -> bool:
    """Whether this process is the one that writes and prints; True when it is alone."""
    return not is_distributed() or _number("RANK", 0) == 0


def num_local_processes() -> int:
    """How many of the processes share this machine."""
    return _number("LOCAL_WORLD_SIZE", _number("WORLD_SIZE", 1)) if is_distributed() else 1


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else default


def num_processes() -> int:
    """How many processes compute together at the moment; 1 when alone."""
    from torch import distributed

    if _Solitude.depth or not distributed.is_available() or not distributed.is_initialized():
        return 1
    return distributed.get_world_size()


def own_share() -> Share:
    """Which of the processes that compute together this is."""
    if num_processes() == 1:
        return WHOLE
    from torch import distributed

    return Share(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this process computes for itself, with whole batches, and waits for none."""
    _Solitude.depth += 1
    try:
        yield
    finally:
        _Solitude.depth -= 1


def join_processes(gpus: Sequence[int]) -> "torch.device":
    """Meet the other processes, if there are any; returns the device of this one.

    Args:
        gpus: one for each process of this machine, or -1 alone: all work on the CPU.

    Raises:
        UserError: there are more or fewer GPUs than processes, or there is no such GPU.
    """
    from training.engine.devices import choose_device

    if not is_distributed():
        return choose_device(gpus[0])
    device = choose_device(_own_gpu(gpus))
    import torch
    from accelerate.state import PartialState

    if device.type == "cuda":
        torch.cuda.set_device(device)
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    # Accelerate would take the GPU of the process's number, whichever GPUs were asked for.
    os.environ["ACCELERATE_BYPASS_DEVICE_MAP"] = "true"
    PartialState(cpu=device.type == "cpu", timeout=TIMEOUT)
    return device


def _own_gpu(gpus: Sequence[int]) -> int:
    if set(gpus) == {CPU}:
        return CPU
    num_here = num_local_processes()
    if len(set(gpus)) != num_here or len(gpus) != num_here or CPU in gpus:
        raise UserError(
            f"{len(set(gpus))} GPUs ({','.join(map(str, gpus))}) for {num_here} processes: each "
            f"takes one; name {num_here} of them, as in {','.join(map(str, range(num_here)))} "
            f"(of the manager: [20] {','.join(map(str, range(num_here)))}), or -1, the CPU"
        )
    return gpus[_number("LOCAL_RANK", 0)]


def leave_processes() -> None:
    """Take leave of the other processes, once all work is done; nothing to do when alone."""
    if "torch" not in sys.modules:
        return
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        wait_for_all()
        distributed.destroy_process_group()


def only_main_speaks() -> None:
    """What the other processes print is not seen; their errors are."""
    if is_main():
        return
    os.environ["TQDM_DISABLE"] = "1"
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def bars_disabled(shown: bool | None = False) -> bool | None:
    """What tqdm's disable must be: True in all processes but the main one, and where it is off."""
    return shown if is_main() and not os.environ.get("TQDM_DISABLE") else True


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    if num_processes() > 1:
        all_agree(True)


def from_main(value: Value) -> Value:
    """The main process's value, in all processes; small, and plain data."""
    if num_processes() == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def all_agree(answer: bool) -> bool:
    """Whether the answer is yes in all processes."""
    if num_processes() == 1:
        return answer
    import torch

    return bool(_sum(torch.full((), float(not answer), device=_device())) == 0)


def sum_over_processes(values: "Tensor") -> "Tensor":
    """The sum of all processes' values, without gradient; the same bits everywhere."""
    return values if num_processes() == 1 else _sum(values.detach().clone())


def mean_over_processes(value: "Tensor", count: int) -> "Tensor":
    """The mean over all processes' examples, given the mean over this one's.

    Its value is the same everywhere. Its gradient, averaged over the processes as
    DistributedDataParallel does, is that of the mean over all examples.

    Args:
        value: a scalar, the mean over this process's examples.
        count: how many they are; with 0 the value counts nothing. 0 everywhere: the mean is 0.
    """
    world_size = num_processes()
    if world_size == 1:
        return value
    import torch

    own_sum = value.detach().double() * count if count else value.new_zeros((), dtype=torch.float64)
    total_sum, total = _sum(torch.stack([own_sum, torch.full_like(own_sum, count)]))
    total = total.clamp(min=1)
    mean = (total_sum / total).to(value.dtype)
    own = value * (world_size * count / total).to(value.dtype)
    # The difference is 0, whatever is rounded, so that the value is the same in all processes.
    joint: Tensor = mean + (own - own.detach())
    return joint


def gather_with_gradient(values: "Tensor", count: int) -> "Tensor":
    """The rows of all processes, in the order of the processes.

    What all processes compute of it alike has a gradient that, averaged over the processes as
    DistributedDataParallel does, is the one of a single process.

    Args:
        values: `(rows, ...)`, of this process.
        count: how many of the rows count: all, or 0.

    Returns:
        `(rows of all, ...)`; those of this process keep their graph.
    """
    world_size = num_processes()
    if world_size == 1:
        return values
    import torch

    counts = _counts(count, values.device)
    first = sum(counts[: own_share().rank])
    rows = torch.zeros((sum(counts), *values.shape[1:]), dtype=values.dtype, device=values.device)
    rows[first : first + count] = values.detach()[:count]
    rows = _sum(rows)
    own = values[:count]
    # As each process has the gradient of its own rows alone, the average would be too small. The
    # difference is 0, so that rows are not rounded.
    if own.requires_grad:
        own = own + (world_size - 1) * (own - own.detach())
    return torch.cat([rows[:first], own, rows[first + count :]])


def total_over_processes(count: int, device: "torch.device") -> int:
    """The sum of all processes' counts."""
    return count if num_processes() == 1 else sum(_counts(count, device))


def average_gradients(parameters: "Iterable[Tensor]") -> None:
    """Do what DistributedDataParallel does, for parameters that it does not know."""
    world_size = num_processes()
    if world_size == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            _sum(parameter.grad).div_(world_size)


def _counts(count: int, device: "torch.device") -> list[int]:
    import torch

    share = own_share()
    counts = torch.zeros(share.num_processes, dtype=torch.int64, device=device)
    counts[share.rank] = count
    return [int(each) for each in _sum(counts).tolist()]


def _sum(values: "Tensor") -> "Tensor":
    """Add the other processes' values in place."""
    import torch

    torch.distributed.all_reduce(values)
    return values


def _device() -> "torch.device":
    """Where the process group expects tensors."""
    import torch

    if torch.distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
