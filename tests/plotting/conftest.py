"""Results as the experiments leave them, small enough to be written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

Curve = tuple[list[float], list[float]]
SETS = ("training", "validation", "test")


def _fold(anti_transfer: bool) -> dict[str, Any]:
    """One fold with three epochs, the second of which was the best."""
    fold: dict[str, Any] = {
        "train_loss": 1.1,
        "train_loss_hist": [2.0, 1.1, 0.7],
        "val_loss_hist": [2.1, 1.4, 1.6],
        "train_acc_hist": [0.3, 0.55, 0.8],
        "val_acc_hist": [0.25, 0.5, 0.45],
        "best_epoch": 1,
    }
    if anti_transfer:
        fold["train_feature_loss_hist"] = [0.5, 0.05, 0.02]
        fold["val_feature_loss_hist"] = [0.6, 0.06, 0.03]
        fold["train_task_loss_hist"] = [1.5, 1.05, 0.68]
        fold["val_task_loss_hist"] = [1.5, 1.34, 1.57]
    return fold


@pytest.fixture
def content() -> dict[str, Any]:
    """The result of an anti-transfer instance with one fold."""
    return {
        "0": _fold(anti_transfer=True),
        "summary": {name: {"mean_loss": 1.0, "mean_acc": 0.5, "acc_std": 0.0} for name in SETS},
        "parameters": {
            "at_layer": 5,
            "repetition": 0,
            "dataset": "gsc_randsplit",
            "at_tap": "output",
        },
        "fingerprint": "a further key",
    }


@pytest.fixture
def write_instance(tmp_path: Path) -> Callable[..., Path]:
    """Writes an instance's result where the experiments would, below tmp_path / 'results'."""

    def write(
        experiment: int,
        run: int,
        layer: Any,
        accuracies: tuple[float, float, float],
        dataset: str = "gsc_randsplit",
    ) -> Path:
        content = {
            "0": _fold(anti_transfer=layer is not None),
            "summary": {
                name: {"mean_acc": accuracy}
                for name, accuracy in zip(SETS, accuracies, strict=True)
            },
            "parameters": {"at_layer": layer, "dataset": dataset, "at_tap": "output"},
        }
        folder = tmp_path / "results" / f"experiment_{experiment}" / "results"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"results_{dataset}_spectrum_fast_exp{experiment}_run{run}.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The arguments that keep a script's input and output below tmp_path."""
    results, figures = tmp_path / "results", tmp_path / "figures"
    return ["--set", f"results_folder={results}", "--set", f"figures_folder={figures}"]


@pytest.fixture
def figure_names(tmp_path: Path) -> Callable[[], set[str]]:
    """Names of the written figures, each of which must be there as a real PNG and a real PDF."""

    def names() -> set[str]:
        found = set()
        for path in (tmp_path / "figures").iterdir():
            start = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-"}[path.suffix]
            assert path.read_bytes().startswith(start)
            found.add(path.stem)
            assert path.with_suffix(".png").exists()
            assert path.with_suffix(".pdf").exists()
        return found

    return names


@pytest.fixture
def curves_of() -> Callable[[Axes], list[Curve]]:
    """x and y of each curve in a panel, straight lines of two points left out."""

    def curves(panel: Axes) -> list[Curve]:
        points = [np.asarray(line.get_xydata(), dtype=float) for line in panel.get_lines()]
        return [(xy[:, 0].tolist(), xy[:, 1].tolist()) for xy in points if len(xy) > 2]

    return curves
