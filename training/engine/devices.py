"""Where a training runs and in which precision, through Accelerate."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from config.errors import UserError
from config.fields import Task
from config.selection import CPU
from config.text import counted
from training.engine.distributed import num_processes

BF16_GPU_CAPABILITY = (8, 0)
SET_FOR_ACCELERATE = {"ACCELERATE_TORCH_DEVICE", "ACCELERATE_BYPASS_DEVICE_MAP"}
# By these Accelerate knows that it is one of several processes.
READ_BY_ACCELERATE = {
    "LOCAL_RANK",
    "WORLD_SIZE",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
}


def choose_device(gpu: int) -> torch.device:
    """Return the CPU for -1, else the GPU of that number.

    Raises:
        UserError: there is no such GPU.
    """
    if gpu == CPU:
        return torch.device("cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not 0 <= gpu < found:
        raise UserError(f"GPU {gpu}: torch sees {counted(found, 'GPU')} here; -1 is the CPU")
    return torch.device("cuda", gpu)


def choose_precision(
    precision: Literal["auto", "fp32", "bf16"], device: torch.device, task: Task
) -> str:
    """Return fp32 or bf16; auto takes bf16 where the hardware computes it.

    Not of a regression, whose outputs would be rounded to two or three digits.
    """
    if precision != "auto":
        return precision
    if task == "regression":
        return "fp32"
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= BF16_GPU_CAPABILITY
    else:
        capable = _cpu_computes_bf16()
    return "bf16" if capable else "fp32"


def _cpu_computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def build_accelerator(
    device: torch.device, precision: str, tracker: str, log_folder: Path
) -> Accelerator:
    """Build the Accelerator of one training; it replaces those of earlier ones in this process."""
    # Accelerate keeps device and precision in process-wide singletons, one training at a time. The
    # process group is torch's, and stays.
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    with _settings_alone():
        PartialState(cpu=device.type == "cpu")
        return Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="bf16" if precision == "bf16" else "no",
            log_with=None if tracker == "none" else tracker,
            project_dir=str(log_folder),
            # Gradients would else be there twice.
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )


@contextmanager
def _settings_alone() -> Iterator[None]:
    """Hide from Accelerate, within the block, what a shell still says, and srun and mpirun."""
    names = {name for name in os.environ if name.startswith("ACCELERATE_")} - SET_FOR_ACCELERATE
    if num_processes() == 1:
        names |= os.environ.keys() & READ_BY_ACCELERATE
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """Compile a network with torch.compile; methods must be open before its first forward pass.

    Raises:
        UserError: the CPU is to run it, and there is no C++ compiler.
    """
    if device.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise UserError(
            "[training_defaults] torch_compile = True: needs a C++ compiler for training on the "
            "CPU; install g++, or set torch_compile = False"
        )
    # Graphs of an earlier network of the same architecture would be taken without its hooks.
    torch.compiler.reset()
    return cast(nn.Module, torch.compile(model))


def default_gpu() -> int:
    """Return GPU 0 if torch sees one, else the CPU."""
    return 0 if torch.cuda.is_available() else CPU
