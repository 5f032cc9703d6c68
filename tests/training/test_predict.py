"""Models elsewhere: predict.py, ONNX, and docs/models.md's program with torch alone."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from packaging.requirements import Requirement
from safetensors.torch import load_file
from torch import nn

from config.command_line import EXIT_FAILED_RUNS
from config.text import PROJECT_FOLDER
from preprocessing.corpora import find_dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import open_matrices
from pretraining.pretrain import pretrain
from tests.conftest import WIDTH, message_of
from training import predict
from training.models.small_cnn import SmallCNN

if TYPE_CHECKING:
    from tests.conftest import Suite

RATE = 8000
QUARTER = 0.25
SECTIONS = """num_folds = 1
[sampling]
sr_target = 8000
[dataset tiny]
manifest = tiny.csv
label = word
sequence_length = 1
licence = nobody's
[dataset pitch]
manifest = tiny.csv
label = pitch
task = regression
sequence_length = 1
[extractor tiny]
dataset = tiny
num_epochs = 20
"""
MODEL = "model_tiny_spectrum_fast_exp1_run1_fold0.safetensors"
# Nothing is found but torch, numpy, the standard library, and what torch is installed with.
GUARDED = """
import runpy, sys
allowed = set(sys.argv.pop(1).split(","))
class Guard:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        top = name.partition(".")[0]
        if top in allowed or top.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, *rest)
sys.meta_path = [Guard(finder) for finder in sys.meta_path]
program, *pairs = sys.argv[1:]
for pair in pairs:
    sys.argv = [program, *pair.split(",")]
    runpy.run_path(program)
"""


@pytest.fixture(scope="module")
def trained(make_suite: Callable[[], "Suite"]) -> "Suite":
    """Recordings shorter and longer than an example, a network, a regression and an extractor."""
    suite = make_suite()
    generator = np.random.default_rng(0)
    rows = ["path,start,end,word,pitch"]
    for number in range(30):
        rate, channels = ((RATE, 1), (11025, 2))[number % 2]
        length = int(rate * (0.62, 1, 2.73)[number % 3])
        tone = np.sin(2 * np.pi * 700 * (number % 3) * np.arange(length) / rate)
        samples = 0.2 * generator.standard_normal((length, channels)) + 0.3 * tone[:, None]
        soundfile.write(suite.folder / f"{number}.wav", samples, rate, subtype="PCM_16")
        end = 1.5 if number == 5 else ""
        rows.append(f"{number}.wav,,{end},{('no', 'maybe', 'yes')[number % 3]},{number % 3}")
    (suite.folder / "tiny.csv").write_text("\n".join(rows) + "\n")
    usual = suite.config.read_text()
    usual = usual.replace(f"width = {WIDTH}", f"network = small_cnn\nwidth = {QUARTER}")
    # Until the probabilities differ from clip to clip.
    usual = usual.replace("num_epochs = 2", "num_epochs = 20\nearly_stopping = False")
    suite.config.write_text(usual.replace("rate = 0.001", "rate = 0.01") + SECTIONS)
    settings = suite.settings()
    for dataset in ("tiny", "pitch"):
        preprocess(find_dataset(dataset, settings), settings)
    suite.write_experiment(1)
    suite.write_experiment(2, dataset="pitch", output_classes=1)
    assert suite.manage("[1,2]", "-1") == 0
    pretrain(settings.extractors["tiny"], settings, [-1])
    return suite


def model_of(suite: "Suite", name: str) -> Path:
    return suite.extractors / "tiny" if name == "extractor" else suite.files(1).model(0)


def run(suite: "Suite", *words: Any) -> int:
    arguments = [*map(str, words), "--config", str(suite.config)]
    return predict.main(predict.build_parser().parse_intermixed_args(arguments))


def predictions(suite: "Suite", *words: Any) -> dict[str, list[float]]:
    """The probabilities of each recording, as predict.py writes them."""
    path = suite.folder / "predictions.csv"
    assert run(suite, *words, "--output", path) == 0
    with path.open(newline="") as file:
        return {
            row["clip"]: [float(value) for key, value in row.items() if key.startswith("p_")]
            for row in csv.DictReader(file)
        }


def network_of(suite: "Suite", name: str) -> nn.Module:
    path = model_of(suite, name)
    network = SmallCNN(3, width=QUARTER)
    network.load_state_dict(load_file(path / "model.safetensors" if path.is_dir() else path))
    return network.eval()


@pytest.mark.parametrize("name", ["experiment", "extractor"])
def test_a_clip_gets_what_its_rows_of_the_matrices_get(name: str, trained: "Suite") -> None:
    """Those of an extractor without its padding, which counts in no statistics and is 0."""
    matrices = open_matrices(trained.matrices, "tiny_spectrum_fast")
    (split,) = matrices.folds((0.7, 0.2, 0.1), 1)
    values, index = np.array(matrices.predictors), matrices.index
    is_sound = np.ones(values.shape[:2], dtype=bool)
    if name == "extractor":
        is_sound = np.arange(values.shape[1]) < index["num_frames"].to_numpy()[:, None]
        assert not is_sound.all()
    training = index["group"].isin(split.train).to_numpy()
    counted = values[training][is_sound[training]].astype(np.float64)
    inputs = np.where(is_sound[:, :, None], (values - counted.mean()) / counted.std(), 0)
    with torch.no_grad():
        logits = network_of(trained, name)(torch.from_numpy(inputs.astype(np.float32))[:, None])
    found = predictions(trained, model_of(trained, name), trained.folder / "tiny.csv")
    assert len(found) == len(set(index["clip"])) == 30
    assert index["clip"].value_counts().max() == 3
    assert np.std([*found.values()], axis=0).min() > 0.01
    for clip, given in found.items():
        rows = np.flatnonzero(index["clip"] == clip)
        assert given == pytest.approx(logits.softmax(1)[rows].mean(0).tolist(), abs=2e-6)


@pytest.fixture(scope="module")
def exported(trained: "Suite") -> Iterator[Path]:
    """A folder with the exports of both models."""
    for name in ("experiment", "extractor"):
        assert run(trained, model_of(trained, name), "--export", "torch") == 0
    assert run(trained, model_of(trained, "experiment"), "--export", "onnx") == 0
    yield trained.results / "exports"


def allowed_modules() -> set[str]:
    """The standard library, numpy, torch, and what torch needs."""
    waiting, found = {"torch"}, {"numpy"}
    while waiting:
        name = waiting.pop()
        found.add(name)
        needed = [Requirement(line) for line in requires(name) or []]
        is_met = [not each.marker or each.marker.evaluate({"extra": ""}) for each in needed]
        names = {each.name for each, met in zip(needed, is_met, strict=True) if met}
        waiting |= names - found
    modules = {name.lower().replace("-", "_") for name in found}
    assert not modules & {"scipy", "training", "safetensors", "pandas", "librosa"}
    return modules | {"functorch", "torchgen"} | set(sys.stdlib_module_names)


def test_the_program_of_the_page_needs_nothing_but_torch(
    trained: "Suite", exported: Path, tmp_path: Path
) -> None:
    """Recording 8 is cut into three examples, 0 is shorter than one."""
    page = (PROJECT_FOLDER / "docs" / "models.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "classify.py").write_text(program)
    recordings = {
        ("experiment", "tiny_spectrum_fast_exp1_run1_fold0"): trained.folder / "8.wav",
        ("extractor", "tiny"): trained.folder / "0.wav",
    }
    pairs = [f"{exported / name}.pt2,{path}" for (_, name), path in recordings.items()]
    done = subprocess.run(
        [sys.executable, "-I", "-c", GUARDED, ",".join(allowed_modules()), "classify.py", *pairs],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for ((kind, name), recording), line in zip(recordings.items(), lines, strict=True):
        said, probability = line.split()
        ((_, expected),) = predictions(trained, model_of(trained, kind), recording).items()
        model = json.loads((exported / f"{name}.json").read_text())
        assert model["licence"] == "nobody's"
        assert said == model["classes"][int(np.argmax(expected))]
        assert float(probability) == pytest.approx(max(expected), abs=1e-4)


def test_onnx_gives_what_the_network_gives(trained: "Suite", exported: Path) -> None:
    path = exported / f"{trained.files(1).stem}_fold0.onnx"
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == ["batch", 1, 64, 129]
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["classes"]) == ["maybe", "no", "yes"]
    network = network_of(trained, "experiment")
    for size in (1, 5):
        inputs = torch.randn(size, 1, 64, 129, generator=torch.Generator().manual_seed(size))
        (found,) = session.run(["outputs"], {"inputs": inputs.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, network(inputs), rtol=0, atol=1e-5)


def test_what_cannot_be_used_is_counted_and_the_others_are_classified(
    trained: "Suite", capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    (tmp_path / "broken.wav").write_text("no audio")
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "sub" / "good.WAV").write_bytes((trained.folder / "3.wav").read_bytes())
    (model,) = (trained.results / "experiment_2" / "models").glob("*.safetensors")
    code = run(trained, model, tmp_path, tmp_path / "none.wav", "-1")
    assert code == EXIT_FAILED_RUNS
    said = capsys.readouterr()
    assert "1 file with an extension of no audio left out: notes.txt" in said.out
    for reason in ("silent.wav: left out: silent", "broken.wav: left out: unreadable"):
        assert reason in said.err
    assert "none.wav: left out: missing" in said.err
    path = trained.results / "predictions" / "pitch_spectrum_fast_exp2_run1_fold0.csv"
    assert f"wrote 1 recording to {path}; 3 recordings left out" in said.out
    (row,) = csv.DictReader(path.open())
    assert row.keys() == {"clip", "segments", "prediction"}
    assert float(row["prediction"])


def test_a_model_of_an_earlier_version_says_what_trains_it_again(
    trained: "Suite", tmp_path: Path
) -> None:
    earlier = tmp_path / MODEL.replace(".safetensors", ".pt")
    torch.save(load_file(trained.files(1).model(0)), earlier)
    message = message_of(predict.load_model, earlier, trained.settings())
    assert "[1] 0 1 1 --overwrite" in message or "[1] -1 1 1 --overwrite" in message
