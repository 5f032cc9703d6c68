"""What a process sets for itself: memory that is kept, and the same results with it."""

import json
import platform
import subprocess
import sys
from typing import Any

import pytest

STEPS = """
import json, resource, sys
import torch
from config.process import keep_freed_memory
is_kept = keep_freed_memory() if sys.argv[1] == "kept" else False
torch.manual_seed(0)
layers = [torch.nn.Conv2d(1, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3)]
model = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
optimizer = torch.optim.Adam(model.parameters(), fused=True)
inputs, labels = torch.randn(8, 1, 64, 65), torch.arange(8) % 3
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
weights = [float(each.double().sum()).hex() for each in model.parameters()]
print(json.dumps({"is_kept": is_kept, "faults": faults[-1], "weights": weights}))
"""


def steps(memory: str) -> dict[str, Any]:
    """Train in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, memory],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_steps_reuse_their_memory_and_compute_the_same() -> None:
    default, kept = steps("default"), steps("kept")
    assert kept["is_kept"]
    assert kept["faults"] < 0.5 * default["faults"]
    assert kept["weights"] == default["weights"]
