"""How much memory is free for a training: on the GPU, or here within the control group's limit."""

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from training.engine.distributed import num_local_processes

if TYPE_CHECKING:
    import torch

CGROUP_FOLDER = Path("/sys/fs/cgroup")
CGROUP_MEMBERSHIP = Path("/proc/self/cgroup")


_SHARE = {"runs at a time": 1}


def share_device(runs_at_a_time: int) -> None:
    """From now on so many processes, this one included, use the device, each an equal part."""
    _SHARE["runs at a time"] = runs_at_a_time


def free_bytes(device: "torch.device") -> int:
    """Bytes that this process can still use on a device."""
    if device.type == "cuda":
        import torch

        # What torch's allocator holds without using it is free to this process.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        own_part = total // _SHARE["runs at a time"] - torch.cuda.memory_allocated(device)
        return max(0, min(free + unused, own_part))
    # What others of these processes will take, they may not have taken yet.
    own_part = psutil.virtual_memory().total // _SHARE["runs at a time"]
    return max(0, min(free_machine_bytes(), own_part - psutil.Process().memory_info().rss))


def free_machine_bytes() -> int:
    """Bytes that this process can still use of the machine's memory.

    Processes that train one network together have equal shares of what is free.
    """
    available = int(psutil.virtual_memory().available)
    limited = cgroup_free_bytes(CGROUP_FOLDER, CGROUP_MEMBERSHIP)
    free = available if limited is None else min(available, limited)
    return free // num_local_processes()


def cgroup_free_bytes(folder: Path, membership: Path) -> int | None:
    """Bytes left below the memory limits of this process's control groups; None: no limit found.

    Containers and batch systems limit memory through control groups, which the machine's own
    figure of available memory does not show. Cached files count as free: they give way.

    Args:
        folder: where control groups are mounted, version 1 or 2.
        membership: /proc/self/cgroup, lines of number:controllers:path.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = []
    for _number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if not controllers:
            group, names = folder, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            group = folder / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        own = group / path.lstrip("/")
        # A container may see only its own part of the tree, so not every level exists.
        for level in (own, *own.parents):
            found.append(_free_bytes_of(level, *names))
            if level == group:
                break
    return min((free for free in found if free is not None), default=None)


def _free_bytes_of(group: Path, limit_name: str, usage_name: str, prefix: str) -> int | None:
    try:
        limit = int((group / limit_name).read_text(encoding="ascii"))
        usage = int((group / usage_name).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        statistics = {name: int(value) for name, value in map(str.split, lines)}
    except (OSError, ValueError):
        return None
    cached = ("active_file", "inactive_file")
    return max(limit - usage + sum(statistics.get(prefix + name, 0) for name in cached), 0)
