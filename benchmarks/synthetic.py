"""Synthetic matrices, extractors and experiment files of any size, for runs that are timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.files import write_json, write_text
from preprocessing.pipeline.matrices import matrices_name, part_path
from preprocessing.pipeline.matrix_writer import MatrixWriter
from preprocessing.pipeline.splits import split_groups
from pretraining.pretrain import TRAINING_AUDIO

FEATURES = "spectrum_fast"
CHUNK_EXAMPLES = 256
LOUDER = 0.5


@dataclass(frozen=True)
class Workplace:
    """A folder with everything that experiments read and write, and a configuration of it.

    Attributes:
        dataset: of all experiments.
        num_classes: of the dataset.
        fractions: train, validation, test.
    """

    folder: Path
    dataset: str
    num_classes: int
    fractions: tuple[float, float, float] = (0.7, 0.2, 0.1)

    @property
    def config(self) -> list[str]:
        """Arguments that every command needs."""
        return ["--config", str(self.folder / "synthetic.ini")]

    def words(self, number: int, gpu: int) -> list[str]:
        """What experiments_manager.py is given to run one experiment."""
        return [f"[{number}]", str(gpu), *self.config, "--experiments", str(self._files(number))]

    def _files(self, number: int) -> Path:
        return self.folder / f"experiments_{number}"

    def write_config(self, training: Mapping[str, Any]) -> None:
        """What is not as in config.ini.

        Args:
            training: values of [training_defaults].
        """
        lines = ["[preprocessing]", f"output_folder = {self.folder / 'matrices'}", "[results]"]
        for key in ("results", "figures", "pretraining", "cache"):
            lines.append(f"{key}_folder = {self.folder / key}")
        lines.append("[training_defaults]")
        for key, fraction in zip(("train", "validation", "test"), self.fractions, strict=True):
            lines.append(f"{key}_split = {fraction}")
        lines += [f"{key} = {value}" for key, value in training.items()]
        write_text(self.folder / "synthetic.ini", "\n".join(lines) + "\n")

    def write_matrices(self, num_examples: int, num_frames: int, num_bins: int) -> None:
        """Noise, in each class louder in a part of the bins; a group is an example.

        They are written some at a time, as preprocessing does.
        """
        folder, name = self.folder / "matrices", matrices_name(self.dataset, FEATURES)
        target = np.arange(num_examples, dtype=np.int64) % self.num_classes
        louder = np.arange(num_bins) * self.num_classes // num_bins
        generator = np.random.default_rng(0)
        writer = MatrixWriter(part_path(folder, name, "predictors"), (num_frames, num_bins))
        for first in range(0, num_examples, CHUNK_EXAMPLES):
            labels = target[first : first + CHUNK_EXAMPLES]
            chunk = generator.random((len(labels), num_frames, num_bins), dtype=np.float32)
            chunk += LOUDER * (louder == labels[:, None])[:, None].astype(np.float32)
            writer.append(chunk)
        writer.finish()
        np.save(part_path(folder, name, "target"), target)
        groups = [f"clip{number:06}" for number in range(num_examples)]
        lines = ["clip,label,class_name,group,first_frame,num_frames,augmented,content"]
        for group, label in zip(groups, target, strict=True):
            lines.append(f"{group}.wav,{label},class{label},{group},0,{num_frames},0,audio{group}")
        write_text(part_path(folder, name, "index"), "\n".join(lines) + "\n")
        write_text(part_path(folder, name, "left_out"), "clip,file,reason\n")
        self._write_splits(folder, name, groups)
        info = {
            "dataset": self.dataset,
            "split_type": "random by clip",
            "split": "random by clip: none shared",
            "classes": [f"class{label}" for label in range(self.num_classes)],
            "num_examples": num_examples,
            "fingerprint": f"noise of {num_examples} x {num_frames} x {num_bins}",
        }
        write_json(part_path(folder, name, "info"), info)

    def _write_splits(self, folder: Path, name: str, groups: list[str]) -> None:
        split = split_groups(groups, self.fractions)[0]
        splits = {
            "type": "random by clip",
            "seed": 0,
            "fractions": self.fractions,
            "num_folds": 1,
            "order": groups,
            "folds": [{"train": split.train, "validation": split.validation, "test": split.test}],
        }
        write_json(part_path(folder, name, "splits"), splits)

    def write_extractor(self, name: str, width: float, num_classes: int, num_clips: int) -> None:
        """A network with random weights that claims to have learnt its task.

        Args:
            num_clips: on how many clips it claims to have been trained.
        """
        import torch

        from training.models.vgg import VGG16
        from training.models.weights import save_extractor

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = VGG16(num_classes, width=width)
        folder = self.folder / "pretraining" / name
        heard = [f"other{number:06}" for number in range(num_clips)]
        write_text(folder / TRAINING_AUDIO, "\n".join(heard) + "\n")
        description = {
            "name": name,
            "architecture": model.architecture,
            "test_accuracy": 0.9,
            "chance_level": 0.1,
            "num_test_examples": 100,
        }
        save_extractor(folder, model.state_dict(), description)

    def write_experiment(
        self, number: int, training: Mapping[str, Any], instances: Mapping[str, Any]
    ) -> None:
        """The only experiment file of a folder of its own.

        Args:
            training: its [training_defaults].
            instances: what changes among its instances.
        """
        lines = ["# How long?", "[experiment]", f"description = timed {number}"]
        lines += [f"dataset = {self.dataset}", f"output_classes = {self.num_classes}"]
        lines += ["family = timed", "[training_defaults]"]
        lines += [f"{key} = {value}" for key, value in training.items()]
        lines += ["[instances]", *(f"{key} = {value}" for key, value in instances.items())]
        write_text(self._files(number) / f"{number}_timed.ini", "\n".join(lines) + "\n")
