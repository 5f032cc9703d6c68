"""A suite in miniature: matrices, extractors and experiment files, made in milliseconds."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from config import advice
from config.errors import UserError
from config.experiments import Experiment, Instance, load_experiments
from config.ini_files import load_settings
from config.settings import Settings
from config.text import PROJECT_FOLDER
from plotting import drawing
from preprocessing.pipeline.splits import split_groups

NUM_FRAMES, NUM_BINS, NUM_EXAMPLES = 40, 33, 60
WIDTH = 1 / 32
FRACTIONS = (0.7, 0.2, 0.1)


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each worker (torch reads this at its first import); nobody's own settings.

    Figures are coarse, and have fonts that are quickly written.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("ANTI_TRANSFER_CONFIG", None)
    drawing.STYLE |= {"savefig.dpi": 40, "pdf.fonttype": 3}


@dataclass(frozen=True)
class Examples:
    """What is written as matrices; num_frames: of each example, before its padding."""

    predictors: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64]
    num_frames: npt.NDArray[np.int64]


def band_examples(seed: int = 0, num_examples: int = NUM_EXAMPLES) -> Examples:
    """Three classes, each loud in its own third of the bins; a third of the examples is padded."""
    generator = np.random.default_rng(seed)
    target = np.arange(num_examples, dtype=np.int64) % 3
    predictors = 0.1 * np.abs(generator.standard_normal((num_examples, NUM_FRAMES, NUM_BINS)))
    num_frames = np.where(np.arange(num_examples) % 9 < 3, 30, NUM_FRAMES)
    for number, label in enumerate(target):
        predictors[number, :, 11 * label : 11 * label + 11] += 0.3
        predictors[number, num_frames[number] :] = 0
    return Examples(predictors.astype(np.float32), target, num_frames.astype(np.int64))


def loudness_examples(seed: int = 0, num_examples: int = NUM_EXAMPLES) -> Examples:
    """For regression: the target is how loud the example is, 0 to 4."""
    generator = np.random.default_rng(seed)
    target = np.arange(num_examples, dtype=np.int64) % 5
    noise = np.abs(generator.standard_normal((num_examples, NUM_FRAMES, NUM_BINS)))
    predictors = (0.1 * noise + target[:, None, None] / 4).astype(np.float32)
    return Examples(predictors, target, np.full(num_examples, NUM_FRAMES, dtype=np.int64))


def run_script(*words: str) -> int:
    """Run a script as a shell does, but in this process: no library is imported twice.

    Returns its exit code.
    """
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", list(words))
        runpy.run_path(str(PROJECT_FOLDER / words[0]), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def run_python(
    *words: str, folder: Path = PROJECT_FOLDER, encoding: str = "utf-8", **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own: a script with its words, or -c with code."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        encoding=encoding,
        check=False,
        timeout=240,
    )


def message_of(action: Callable[..., object], *arguments: Any) -> str:
    """Return the one line that a person is told where something cannot be done."""
    with pytest.raises(UserError) as caught:
        action(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


class Suite:
    """A folder with everything that experiments read and write, and settings that point there."""

    def __init__(self, folder: Path, is_new: bool = True) -> None:
        self.folder = folder
        self.experiments = folder / "experiments"
        self.matrices = folder / "matrices"
        self.results = folder / "results"
        self.extractors = folder / "pretraining_vgg"
        self.config = folder / "suite.ini"
        if not is_new:
            return
        self.experiments.mkdir()
        self.config.write_text(
            f"[preprocessing]\noutput_folder = {self.matrices}\n"
            f"[results]\nresults_folder = {self.results}\n"
            f"figures_folder = {folder / 'figures'}\npretraining_folder = {self.extractors}\n"
            f"[training_defaults]\nwidth = {WIDTH}\nprecision = fp32\nnum_epochs = 2\n"
            "batch_size = 10\nlearning_rate = 0.001\n"
        )

    @property
    def arguments(self) -> list[str]:
        """What experiments_manager.py needs to work in this folder."""
        return ["--config", str(self.config), "--experiments", str(self.experiments)]

    def settings(self, **overrides: Any) -> Settings:
        """The suite's settings with further values."""
        return load_settings(self.config, overrides=overrides)

    def write_matrices(
        self, dataset: str = "tiny", examples: Examples | None = None, num_classes: int = 3
    ) -> Path:
        """Matrices in the format of preprocessing/pipeline/matrices.py; a group is an example."""
        examples = examples or band_examples()
        self.matrices.mkdir(exist_ok=True)
        start = self.matrices / f"{dataset}_spectrum_fast"
        groups = [f"clip{number:03}" for number in range(len(examples.target))]
        order = [str(group) for group in np.random.default_rng(5).permutation(groups)]
        split = split_groups(order, FRACTIONS)[0]
        np.save(f"{start}_predictors.npy", examples.predictors)
        np.save(f"{start}_target.npy", examples.target)
        rows = ["clip,label,class_name,group,first_frame,num_frames,augmented,content"]
        rows += [
            f"{group}.wav,{label},class{label},{group},0,{num_frames},0,audio of {group}"
            for group, label, num_frames in zip(
                groups, examples.target, examples.num_frames, strict=True
            )
        ]
        Path(f"{start}_index.csv").write_text("\n".join(rows) + "\n")
        splits = {
            "type": "random by clip",
            "seed": 0,
            "fractions": FRACTIONS,
            "num_folds": 1,
            "order": order,
            "folds": [{"train": split.train, "validation": split.validation, "test": split.test}],
        }
        Path(f"{start}_splits.json").write_text(json.dumps(splits))
        Path(f"{start}_left_out.csv").write_text("clip,file,reason\n")
        info = {
            "dataset": dataset,
            "split_type": "random by clip",
            "split": "random by clip: speakers shared",
            "classes": [f"class{label}" for label in range(num_classes)],
            "num_examples": len(examples.target),
            "fingerprint": f"data of {dataset}",
        }
        Path(f"{start}_info.json").write_text(json.dumps(info))
        return self.matrices

    def write_extractor(
        self,
        name: str = "noisyspeech",
        seed: int = 77,
        width: float = WIDTH,
        **described: Any,
    ) -> Path:
        """A frozen network with random weights that claims to have learnt its task.

        Args:
            described: what its description says otherwise.
        """
        from training.models.registry import architecture_of, build_network
        from training.models.weights import WEIGHTS_FILE, save_model

        architecture = architecture_of(load_settings().networks["vgg16"], 11, width)
        model = build_network(architecture, seed)
        description = {
            "name": name,
            "architecture": architecture.described(),
            "test_accuracy": 0.9,
            "chance_level": 0.1,
            "num_test_examples": 100,
            **described,
        }
        folder = self.extractors / name
        save_model(folder / WEIGHTS_FILE, model.state_dict(), description)
        return folder

    def write_experiment(
        self,
        identifier: int,
        training: Mapping[str, Any] | None = None,
        instances: Mapping[str, Any] | None = None,
        **head: Any,
    ) -> Path:
        """An experiment file; training, instances, head: what its sections hold."""
        sections = {
            "experiment": {
                "description": f"description {identifier}",
                "dataset": "tiny",
                "output_classes": 3,
                "family": f"family{identifier}",
                **head,
            },
            "training_defaults": training or {},
            "instances": instances or {},
        }
        lines = [f"# Question {identifier}?"]
        for section, values in sections.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
        path = self.experiments / f"{identifier}_tiny.ini"
        path.write_text("\n".join(lines) + "\n")
        return path

    def instance(self, identifier: int, number: int = 1, **overrides: Any) -> Instance:
        """An instance of a written experiment."""
        return self.experiment(identifier, **overrides).instances[number - 1]

    def experiment(self, identifier: int, **overrides: Any) -> Experiment:
        """A written experiment."""
        return load_experiments(self.experiments, [self.config], overrides)[identifier]

    def run(self, identifier: int, number: int = 1, **overrides: Any) -> dict[str, Any]:
        """Train an instance on the CPU; returns the content of its JSON file."""
        import torch

        from training.sweep.instance import run_instance
        from training.sweep.run_context import RunContext

        instance = self.instance(identifier, number, **overrides)
        context = RunContext(torch.device("cpu"))
        return run_instance(instance, self.files(identifier, number), context, "test")

    def manage(self, *words: str) -> int:
        """Do what `python experiments_manager.py ...` does in this folder; returns its code."""
        from experiments_manager import build_parser, main

        return main(build_parser().parse_intermixed_args([*self.arguments, *words]))

    def files(self, identifier: int, number: int = 1) -> Any:
        """The names of an instance's files."""
        from training.results.dictionary import InstanceFiles

        return InstanceFiles(self.results, identifier, number, "tiny", "spectrum_fast")


@pytest.fixture(autouse=True)
def no_options() -> None:
    """Commands in messages get no options of a test that ran before."""
    advice.remember(advice.NOTHING)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """An empty suite."""
    return Suite(tmp_path)


@pytest.fixture(scope="session")
def make_suite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Suite]:
    """Makes as many empty suites as a test needs."""
    return lambda: Suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture
def bands() -> Examples:
    """The examples that write_matrices writes."""
    return band_examples()


@pytest.fixture
def loudness() -> Examples:
    """Examples for a regression."""
    return loudness_examples()
