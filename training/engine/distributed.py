"""Several processes that train one network together; nothing else talks to torch.distributed.

Each works on its own shard of the examples with its own penalty, and DistributedDataParallel
averages the gradients. What is decided is decided alike: one process tells the others.
"""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from config.errors import UserError
from config.log import logger
from config.selection import CPU
from config.text import counted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Value = TypeVar("Value")

# One process may wait while another writes; a process that dies ends the others anyhow.
TIMEOUT = timedelta(days=30)
# By torchrun, and by accelerate launch --multi_gpu.
SET_BY_LAUNCHERS = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def is_distributed() -> bool:
    """Tell whether torchrun or accelerate launch started this process as one of several."""
    # A cluster's or notebook's own WORLD_SIZE, or one that is left over, starts no others.
    return os.environ.keys() >= SET_BY_LAUNCHERS and int(os.environ["WORLD_SIZE"]) > 1


def num_processes() -> int:
    """Return how many processes train together; 1 when alone."""
    return int(os.environ["WORLD_SIZE"]) if is_distributed() else 1


def num_local_processes() -> int:
    """Return how many of the processes share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", num_processes())) if is_distributed() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ["RANK"]) if is_distributed() else 0


def is_main() -> bool:
    """Tell whether this process is the one that writes and prints; True when it is alone."""
    return rank() == 0


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
            f"{counted(len(set(gpus)), 'GPU')} ({','.join(map(str, gpus))}) for "
            f"{counted(num_here, 'process')}: each takes one; name {num_here} of them, "
            f"as in {','.join(map(str, range(num_here)))} "
            f"(of the manager: [20] {','.join(map(str, range(num_here)))}), or -1, the CPU"
        )
    return gpus[int(os.environ["LOCAL_RANK"])]


def leave_processes() -> None:
    """Take leave of the other processes, once all work is done; nothing to do when alone."""
    if is_distributed():
        from torch import distributed

        distributed.barrier()
        distributed.destroy_process_group()


def only_main_speaks() -> None:
    """Silence the other processes; their errors are still seen."""
    if not is_main():
        os.environ["TQDM_DISABLE"] = "1"
        logger.setLevel(logging.ERROR)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def shows_progress() -> bool:
    """Tell whether this process says how far it is: the main one, unless that is turned off."""
    return is_main() and not os.environ.get("TQDM_DISABLE")


def broadcast(value: Value) -> Value:
    """Return the main process's value in all processes; it must be small plain data."""
    if not is_distributed():
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gather(value: Value) -> list[Value]:
    """Return all processes' values, in the order of their ranks, in all of them."""
    if not is_distributed():
        return [value]
    from torch import distributed

    values = [value] * num_processes()
    distributed.all_gather_object(values, value)
    return values


def average_gradients(parameters: "Iterable[Tensor]") -> None:
    """Do what DistributedDataParallel does, for parameters that are not its network's."""
    if not is_distributed():
        return
    from torch import distributed

    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= num_processes()
