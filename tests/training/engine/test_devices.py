"""An Accelerator for a training by itself, and torch_compile."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from config.errors import UserError
from config.fields import Task
from training.engine import devices
from training.engine.devices import build_accelerator, choose_precision

if TYPE_CHECKING:
    from tests.conftest import Suite


# One batch size: each other one is compiled anew.
QUICK = {"num_epochs": 1, "batch_size": 6}
AGAINST_NOISE = {**QUICK, "anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": "3"}


@pytest.fixture
def quick_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are captured and differentiated as by default, but no C++ is written."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.mark.usefixtures("quick_backend")
def test_a_compiled_training_is_the_same_training(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, QUICK)
    suite.write_experiment(2, AGAINST_NOISE)
    # The baseline comes first: its graph, which has no taps, must not serve the second run.
    for identifier in (1, 2):
        compiled = suite.run(identifier, torch_compile=True)["0"]
        plain = suite.run(identifier)["0"]
        histories = [name for name in plain if name.endswith("_hist")]
        assert ("train_feature_loss_hist" in histories) == (identifier == 2)
        for name in (*histories, "test_loss", "test_acc"):
            assert compiled[name] == pytest.approx(plain[name], rel=1e-4)
        (model,) = (suite.results / f"experiment_{identifier}" / "models").glob("*.safetensors")
        assert "features.0.weight" in load_file(model)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_DYNAMO_BACKEND", "nonsense"),
        ("ACCELERATE_MIXED_PRECISION", "fp16"),
        ("OMPI_COMM_WORLD_SIZE", "4"),
    ],
)
def test_only_settings_decide_how_a_network_is_trained(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    accelerator = build_accelerator(torch.device("cpu"), "fp32", "none", Path("unused"))
    assert accelerator.gradient_accumulation_steps == 1
    assert str(accelerator.distributed_type) == "DistributedType.NO"
    assert accelerator.mixed_precision == "no"
    assert os.environ[variable] == value


def test_without_a_compiler_it_is_refused(suite: "Suite", monkeypatch: pytest.MonkeyPatch) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(UserError, match=r"torch_compile = True: needs a C\+\+ compiler"):
        suite.run(1, torch_compile=True)


@pytest.mark.parametrize(("task", "chosen"), [("classification", "bf16"), ("regression", "fp32")])
def test_values_are_not_rounded_to_bf16(
    monkeypatch: pytest.MonkeyPatch, task: Task, chosen: str
) -> None:
    monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda: True)
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu, task) == chosen
    assert choose_precision("bf16", cpu, task) == "bf16"
