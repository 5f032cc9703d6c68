"""benchmarks/gpu.py in miniature on the CPU, without audio libraries, and against hand counts."""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import gpu, measuring
from benchmarks.synthetic import Workplace
from benchmarks.training_step import Bench
from config.errors import UserError
from config.settings import PROJECT_FOLDER

CPU, CPU_NUMBER = torch.device("cpu"), -1
WIDTH, FRAMES, BINS, BATCH, LAYERS = 1 / 32, 40, 33, 3, (1, 13)
# At this width: channels of the convolutions, and after which of them (from 1) a pooling follows.
CHANNELS = (2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16)
POOLED_AFTER = (2, 4, 7, 10, 13)
NOT_INSTALLED = (
    *("librosa", "essentia", "soundfile", "soxr", "pooch", "espeakng_loader"),
    *("matplotlib", "IPython", "openpyxl", "torchaudio", "hypothesis"),
)
OPTIONS = (
    f"--device cpu --width {WIDTH} --bins {BINS} --batch-size {BATCH} --repetitions 1 --steps 2 "
    f"--sizes 32 64 --seconds 0.001 --frames {FRAMES} --layers 1 13 --precisions bf16 fp32 "
    f"--examples 30 --experiment-frames {FRAMES} --epochs 2"
)


def parsed(*options: str) -> argparse.Namespace:
    return gpu.build_parser().parse_args([*OPTIONS.split(), *options])


def convolution_operations() -> list[int]:
    """Of each convolution's forward pass over a batch: a multiplication and an addition each."""
    counts, frames, bins, in_channels = [], FRAMES, BINS, 1
    for number, channels in enumerate(CHANNELS, start=1):
        counts.append(2 * 9 * in_channels * channels * frames * bins * BATCH)
        in_channels = channels
        if number in POOLED_AFTER:
            frames, bins = frames // 2, bins // 2
    return counts


def plain_operations() -> int:
    """The backward pass costs twice the forward pass; only the spectrum needs no gradient."""
    convolutions = convolution_operations()
    linear = 2 * BATCH * (7 * 7 * 16 * 128 + 128 * 128 + 128 * 10)
    return 3 * sum(convolutions) - convolutions[0] + 3 * linear


@pytest.fixture
def without_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes started from here cannot import what a GPU machine may lack."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    text = f"import sys\nsys.modules.update(dict.fromkeys({NOT_INSTALLED}))\n"
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(PROJECT_FOLDER)]))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where --write writes."""
    folder = tmp_path / "written"
    monkeypatch.setattr(measuring, "RESULTS_FOLDER", folder)
    return folder


def rows_of(results: Path, name: str) -> list[dict[str, Any]]:
    (path,) = results.glob(f"{name}_*.json")
    content = json.loads(path.read_text())
    assert {"processor", "cores", "torch"} <= content["hardware"].keys()
    rows: list[dict[str, Any]] = content["rows"]
    return rows


def test_steps_and_products_on_the_cpu(results: Path) -> None:
    gpu.main([*OPTIONS.split(), "--parts", "steps", "--write"])
    products = rows_of(results, "cpu_products")
    assert [row["numbers"] for row in products] == ["float32", "bfloat16"]
    rates = {row["numbers"]: row["TFLOP/s"] for row in products}
    for row in products:
        assert row["TFLOP/s"] == max(row["at 32"], row["at 64"]) == row[f"at {row['best size']}"]
    rows = rows_of(results, f"cpu_steps_width{WIDTH:g}_batch{BATCH}")
    assert [(row["precision"], row["layer"]) for row in rows] == [
        (precision, layer) for precision in ("bf16", "fp32") for layer in LAYERS
    ]
    for row in rows:
        assert row["frames"] == FRAMES
        assert row["share of"] == {"bf16": "bfloat16", "fp32": "float32"}[row["precision"]]
        for kind in gpu.KINDS:
            speed = row[f"{kind} examples/s"]
            ratio = row["plain examples/s"] / speed
            assert kind == "plain" or row[f"{kind}/plain"] == pytest.approx(ratio)
            reached = row[f"{kind} TFLOP"] * speed / BATCH
            assert row[f"{kind} share"] == pytest.approx(reached / rates[row["share of"]])


def test_operations_are_those_counted_by_hand() -> None:
    options = {**vars(parsed()), "frames": FRAMES, "compile": False}
    bench = Bench(argparse.Namespace(**options), "fp32")
    forward = convolution_operations()
    # A Gram matrix, and the product that carries its gradient on to the activation.
    one_gram = {1: 2 * 2**2 * FRAMES * BINS * BATCH, 13: 2 * 16**2 * (2 * 2) * BATCH}
    for layer in LAYERS:
        row = gpu.measure_layer(bench, layer, num_steps=1, repetitions=1)
        found = {kind: round(row[f"{kind} TFLOP"] * 1e12) for kind in gpu.KINDS}
        assert found["plain"] == plain_operations()
        # Layer 13 has fewer positions than channels: its Gram matrix is made from what is kept.
        grams = {1: 2, 13: 3}[layer]
        assert found["cached"] == plain_operations() + grams * one_gram[layer]
        frozen = sum(forward[:layer]) + 3 * one_gram[layer]
        assert found["anti_transfer"] == plain_operations() + frozen


class Clock:
    """Stands in for benchmarks.measuring.interleaved: runs each subject once, at given speeds."""

    def __init__(self, seconds: Callable[[str], list[float]]) -> None:
        self.seconds = seconds

    def __call__(
        self, subjects: Mapping[str, Callable[[], object]], *_: int, **__: int
    ) -> dict[str, list[float]]:
        for run in subjects.values():
            run()
        return {name: self.seconds(name) for name in subjects}


def test_the_rate_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = 0.02
    counts: dict[tuple[int, str], int] = {}

    def product(size: int, numbers: str, device: torch.device) -> Callable[[], None]:
        def run() -> None:
            counts[size, numbers] = counts.get((size, numbers), 0) + 1

        return run

    monkeypatch.setattr(gpu, "product", product)
    monkeypatch.setattr(gpu, "interleaved", Clock(lambda _: [timed, 9.0, 0.001]))
    rows = gpu.measure_products(CPU, [100, 200], 3, seconds=0.07)
    # The first run says how many follow for the given seconds.
    assert counts == {(size, name): 1 + 4 for size in (100, 200) for name in rates_of(rows)}
    for row in rows:
        assert row["at 100"] == pytest.approx(4 * 2e6 / timed / 1e12)
        assert row["TFLOP/s"] == row["at 200"] == pytest.approx(4 * 16e6 / timed / 1e12)
        assert row["best size"] == 200


def rates_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["numbers"]: row["TFLOP/s"] for row in rows}


def test_too_large_matrices_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "free_bytes", lambda _: 1_000_000)
    rows = gpu.measure_products(CPU, [32, 10_000], 1, seconds=0.0001)
    assert "at 32" in rows[0] and "at 10000" not in rows[0]
    assert "10000 x 10000" in capsys.readouterr().out
    with pytest.raises(UserError, match="--sizes"):
        gpu.measure_products(CPU, [10_000], 1, seconds=0.0001)


def test_several_steps_are_timed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"plain": [1.0, 2.0, 50.0], "anti_transfer": [3.0], "cached": [2.5]}
    calls = dict.fromkeys(gpu.KINDS, 0)

    class CountingBench:
        batch_size = BATCH
        frozen = nn.Identity()

        def __init__(self) -> None:
            self.tapped = argparse.Namespace(model=nn.Identity())

        def steps(self, *_: object) -> dict[str, Callable[[], object]]:
            def step(kind: str) -> Callable[[], None]:
                def run() -> None:
                    calls[kind] += 1

                return run

            return {**{kind: step(kind) for kind in gpu.KINDS}, "released": lambda: math.sqrt(-1)}

    class NoPenalty:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> "NoPenalty":
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(gpu, "AntiTransferLoss", NoPenalty)
    monkeypatch.setattr(gpu, "interleaved", Clock(lambda name: seconds[name]))
    row = gpu.measure_layer(CountingBench(), 1, num_steps=4, repetitions=3)  # type: ignore[arg-type]
    # One of them is counted, four are timed.
    assert calls == dict.fromkeys(gpu.KINDS, 5)
    assert row["plain examples/s"] == 4 * BATCH / 2.0
    assert row["anti_transfer/plain"] == 1.5
    assert row["cached/plain"] == 1.25


@pytest.mark.parametrize(
    ("capability", "convolutions", "precision", "numbers"),
    [
        ((9, 0), "tf32", "fp32", "tf32"),
        ((9, 0), "ieee", "fp32", "float32"),
        ((9, 0), "tf32", "bf16", "bfloat16"),
        ((7, 5), "tf32", "fp32", "float32"),
    ],
)
def test_a_step_is_compared_with_products_of_its_own_kind(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    convolutions: str,
    precision: str,
    numbers: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert gpu.precision_of_convolutions() in ("tf32", "ieee", "none")
    monkeypatch.setattr(gpu, "precision_of_convolutions", lambda: convolutions)
    device = torch.device("cuda")
    assert gpu.numbers_of_step(precision, device) == numbers
    assert numbers in gpu.kinds_of_numbers(device)
    assert gpu.numbers_of_step("fp32", CPU) == "float32"


def test_tf32_ends_with_its_block() -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), gpu.products_in("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
        raise KeyError
    assert torch.get_float32_matmul_precision() == before
    with gpu.products_in("float32"):
        assert torch.get_float32_matmul_precision() == "highest"


def test_what_does_not_fit_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(_arguments: object, num_frames: int, precision: str, _rates: object) -> list[Any]:
        if num_frames > 100:
            raise torch.OutOfMemoryError
        return [{"frames": num_frames, "precision": precision}]

    monkeypatch.setattr(gpu, "_rows_of_steps", rows)
    found = gpu.measure_steps(parsed("--frames", "50", "200"), {})
    assert [row["frames"] for row in found] == [50, 50]
    assert "200 frames in bf16" in capsys.readouterr().err
    with pytest.raises(UserError, match="--batch-size 3"):
        gpu.measure_steps(parsed("--frames", "200"), {})


def test_an_experiment_is_run_as_by_a_user(tmp_path: Path, without_audio: None) -> None:
    place = gpu.prepared_workplace(tmp_path / "work", parsed())
    figures = gpu.run_experiment(place, 2, CPU_NUMBER)
    (twin,) = (tmp_path / "work" / "results" / "experiment_2" / "results").glob("*.json")
    result = json.loads(twin.read_text())
    parameters = result["parameters"]
    assert parameters["anti_transfer"] and parameters["at_layer"] == 13
    assert parameters["width"] == WIDTH and parameters["batch_size"] == BATCH
    defaults = {"at_cache": "auto", "train_metrics": "full", "precision": "auto"}
    assert {key: parameters[key] for key in defaults} == defaults
    assert len(result["0"]["train_feature_loss_hist"]) == 2
    epochs = [figures["epoch 1 s"], figures["epoch 2 s"]]
    assert figures["epoch s"] == pytest.approx(sum(epochs) / 2)
    assert 0 < figures["start-up s"] < figures["first batch s"]
    assert 0 < figures["frozen features s"] < figures["first batch s"] - figures["start-up s"]
    parts = [figures["first batch s"], *epochs, figures["final figures s"], figures["files s"]]
    assert min(parts) > 0
    # The first batch is a part of the first epoch, too.
    assert sum(parts) - epochs[0] < figures["command s"]
    assert figures["GPU GB"] is None
    assert 0.1 < figures["process GB"] < 5


def test_the_imports_without_audio_libraries(without_audio: None) -> None:
    text = """
import benchmarks.gpu
print("imported")
import soundfile
"""
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.stdout == "imported\n", done.stderr
    assert "import of soundfile halted" in done.stderr


def test_rounds_take_turns_and_their_medians_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    order: list[int] = []
    seconds = {1: iter([10.0, 30.0, 11.0]), 2: iter([22.0, 12.0, 90.0])}

    def run_experiment(place: Workplace, number: int, device: int) -> dict[str, Any]:
        assert device == -1
        order.append(number)
        each = next(seconds[number])
        return {"command s": each, "epoch s": each / number, "GPU GB": None}

    monkeypatch.setattr(gpu, "run_experiment", run_experiment)
    options = [*OPTIONS.split(), "--parts", "experiment", "--rounds", "3", "--write"]
    gpu.main([*options, "--folder", str(tmp_path)])
    assert order == [1, 2, 1, 2, 1, 2]
    baseline, anti_transfer = rows_of(results, f"cpu_experiment_width{WIDTH:g}_30x{FRAMES}x{BINS}")
    assert baseline["experiment"] == "baseline" and baseline["command s"] == 11.0
    assert baseline["command s / baseline"] == 1.0 and baseline["GPU GB"] == "-"
    assert anti_transfer["command s / baseline"] == 2.0
    assert anti_transfer["epoch s / baseline"] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["written"]


def test_a_failed_experiment_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "frozen layer13\nerror: no space\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="exit code 2: error: no space"):
        gpu.run_experiment(Workplace(tmp_path, "any", 2), 1, CPU_NUMBER)


def test_settings_of_the_environment_are_not_those_of_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], env: Mapping[str, str], **_: object) -> None:
        assert "ANTI_TRANSFER_CONFIG" not in env and env["HOME"] == "/somewhere"
        raise KeyError(command[2])

    monkeypatch.setenv("ANTI_TRANSFER_CONFIG", "mine.ini")
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(KeyError, match=r"benchmarks\.stopwatch"):
        gpu.run_experiment(Workplace(tmp_path, "any", 2), 1, CPU_NUMBER)


def test_no_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cpu"):
        gpu.main([])
