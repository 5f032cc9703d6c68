"""An Accelerator for a training by itself, whatever an environment says of other processes."""

import os
from pathlib import Path

import pytest
import torch

from training.engine.devices import build_accelerator
from training.engine.distributed import is_distributed, is_main


@pytest.mark.parametrize(
    "variables",
    [
        {"LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        {"PMI_SIZE": "4", "PMI_RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"WORLD_SIZE": "4", "RANK": "3"},
    ],
)
def test_a_run_by_itself_joins_nobody(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main()
    assert not is_distributed()
    accelerator = build_accelerator(torch.device("cpu"), "fp32", "none", Path("unused"))
    assert accelerator.num_processes == 1
    assert not torch.distributed.is_initialized()
    assert {name: os.environ[name] for name in variables} == variables
