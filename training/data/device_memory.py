"""Whether examples and frozen features fit where a training runs, to lie there for speed alone."""

import psutil
import torch

# Of what is free now; the rest is the training's own, and that of others beside it.
FRACTION = 0.4


def has_room(device: torch.device, num_bytes: int) -> bool:
    """Tell whether so many bytes are a small part of what is free on a device."""
    return num_bytes < FRACTION * free_bytes(device)


def free_bytes(device: torch.device) -> int:
    """Return the bytes that this process can still use on a device."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    # What torch's allocator holds without using it is free to this process.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
