"""Results as the experiments leave them, small enough to be written by hand."""

import json
from collections.abc import Callable, Sequence
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


@pytest.fixture
def make_result() -> Callable[..., dict[str, Any]]:
    """A result as the report reads it; accuracies are 0-1, of a regression it is the RMSE."""

    def make(
        test: float,
        seed: int,
        experiment: int,
        task: str = "classification",
        validation: float = 0.5,
        **parameters: Any,
    ) -> dict[str, Any]:
        key = "acc" if task == "classification" else "RMSE"
        values = dict(zip(SETS, (0.9, validation, test), strict=True))
        fold: dict[str, Any] = {"test_examples": 90, "numeric_precision": "fp32"}
        if task == "classification":
            fold |= {"test_chance": 0.25, "collapsed": False}
        layer = 13 if parameters.get("anti_transfer") else ""
        return {
            "0": fold,
            "model": {"split": "random by clip: speakers shared"},
            "summary": {
                name: {f"mean_{key}": value, f"{key}_std": 0.0} for name, value in values.items()
            },
            "parameters": {
                "dataset": "gsc_randsplit",
                "features_type": "spectrum_fast",
                "task": task,
                "kind": "baseline",
                "repetition": seed,
                "seed": seed,
                "learning_rate": 0.001,
                "batch_size": 30,
                "width": 1.0,
                "anti_transfer": False,
                "at_dataset": "",
                "at_layer": layer,
                "at_beta": 1.0,
                "at_pretraining": None,
                "at_aggregation": "gram",
                "at_distance": "cos_squared",
                "comment_1": "a comment",
                "comment_2": f"repetition{seed}",
                "tracker": "none",
                **parameters,
            },
            "inputs": {"data": "0123"},
            "fingerprint": f"{experiment} {seed} {parameters}",
            "experiment": experiment,
            "number": seed + 1,
        }

    return make


RICH_DATASET = "gsc_confounded_speakersplit"
RICH_LABEL = "noise_type"
RICH_CLASSES = ["zero", "one", "two", "three"]


def _rich_ini(identifier: int, name: str, description: str, extra: str = "") -> tuple[str, str]:
    text = (
        f"# Does {name} help?\n[experiment]\ndescription = {description}\n"
        f"dataset = {RICH_DATASET}\noutput_classes = 4\nfamily = {name}\n"
        f"[training_defaults]\n{extra}\n[instances]\nrepeat = 2\n"
    )
    return f"{identifier}_{name}.ini", text


def _rich_history(random: np.random.Generator, anti_transfer: bool) -> dict[str, Any]:
    epochs = int(random.integers(9, 13))
    fall = np.exp(-np.arange(epochs) / 4)
    history: dict[str, Any] = {"best_epoch": epochs - 2}
    for set_name, level in (("train", 0.1), ("val", 0.5)):
        loss = level + 1.5 * fall + 0.03 * random.standard_normal(epochs)
        similarity = 0.3 * fall**2 + 0.001
        history[f"{set_name}_task_loss_hist"] = loss.tolist()
        history[f"{set_name}_loss_hist"] = (loss + similarity * anti_transfer).tolist()
        history[f"{set_name}_acc_hist"] = (0.9 - level / 2 - 0.6 * fall).tolist()
        if anti_transfer:
            history[f"{set_name}_feature_loss_hist"] = similarity.tolist()
    return history


def _rich_invariance(
    random: np.random.Generator, fingerprint: str, layers: int, probe: float
) -> dict[str, Any]:
    def entry(layer: str, depth: float) -> dict[str, Any]:
        noise = 0.01 * float(random.standard_normal())
        return {
            "layer": layer,
            "activation_norm": 2.0 * 0.7 ** (8 * depth) + abs(noise),
            "probes": {
                RICH_LABEL: {"accuracy": 0.3 + (probe - 0.3) * depth + noise, "shuffled": 0.11},
                "class_name": {"accuracy": 0.3 + 0.4 * depth + noise, "shuffled": 0.24},
            },
            "frozen": {
                "noisyspeech": {"linear_cka": 0.8 - 0.6 * depth, "gram_cosine": 0.95 - 0.1 * depth}
            },
        }

    names = [*map(str, range(1, layers + 1)), "penultimate"]
    return {
        "fingerprint": fingerprint,
        "experiment": 1,
        "number": 1,
        "set": "test",
        "num_examples": 160,
        "labels": {
            RICH_LABEL: {"role": "orthogonal", "num_classes": 11, "chance": 0.12},
            "class_name": {"role": "target", "num_classes": 4, "chance": 0.25},
        },
        "left_out_labels": {"speaker": "every speaker has too few clips"},
        "layers": [entry(name, i / len(names)) for i, name in enumerate(names, start=1)],
    }


def write_rich_results(folder: Path, layers: Sequence[int], seeds: int) -> list[str]:
    """Experiments and results of every kind of method; returns the script's arguments."""
    random = np.random.default_rng(7)
    (folder / "experiments").mkdir(parents=True)
    against = "anti_transfer = True\nat_dataset = noisyspeech\nat_layer = 3"
    methods: list[tuple[int, str, str, dict[str, Any], str, Any]] = [
        (200, "baseline", "", {}, "", (0.0, 0.55)),
        (
            201,
            "weight_initialization",
            "at_pretraining = noisyspeech",
            {"at_pretraining": "noisyspeech"},
            "",
            (-0.08, 0.73),
        ),
        (202, "anti_transfer", against, {"at_dataset": "noisyspeech"}, "layers", (0.05, 0.53)),
        (203, "random", against, {"at_dataset": "random"}, "layers", (0.05, 0.54)),
        (204, "other", against, {"at_dataset": "iemocap_1sec"}, "", (0.0, 0.5)),
        (205, "beta", against, {"at_dataset": "noisyspeech", "at_layer": 3}, "beta", (0.02, 0.4)),
        (
            206,
            "gradient_reversal",
            "",
            {
                "gradient_reversal_label": RICH_LABEL,
                "gradient_reversal_layer": 5,
                "gradient_reversal_weight": 1.0,
            },
            "",
            (0.01, 0.5),
        ),
    ]
    for identifier, name, ini, parameters, sweep, (gain, probe) in methods:
        file, text = _rich_ini(identifier, name, f"Synthetic: {name.replace('_', ' ')}", ini)
        (folder / "experiments" / file).write_text(text)
        kind = "anti_transfer" if "at_dataset" in parameters else name
        choices: list[dict[str, Any]] = [{}]
        if sweep == "layers":
            choices = [{"at_layer": layer} for layer in layers]
        elif sweep == "beta":
            choices = [{"at_beta": beta} for beta in (0.1, 3.0, 10.0)]
        elif kind == "anti_transfer":
            choices = [{"at_layer": layers[len(layers) // 2]}]
        number = 0
        for choice in choices:
            for seed in range(seeds):
                number += 1
                own = {"kind": kind, "anti_transfer": kind == "anti_transfer", **parameters}
                collapsed = own.get("at_beta", choice.get("at_beta")) == 10.0
                peak = gain * np.exp(-(((choice.get("at_layer", 5) - 5) / 4) ** 2))
                _write_rich_run(
                    folder / "results",
                    identifier,
                    number,
                    seed,
                    {**own, **choice},
                    0.25 if collapsed else 0.62 + peak,
                    probe,
                    collapsed,
                    random,
                    max(layers),
                )
    return [
        *("--experiments", str(folder / "experiments")),
        *("--set", f"results_folder={folder / 'results'}"),
    ]


def _write_rich_run(
    results: Path,
    identifier: int,
    number: int,
    seed: int,
    parameters: dict[str, Any],
    level: float,
    probe: float,
    collapsed: bool,
    random: np.random.Generator,
    layers: int,
) -> None:
    base = 0.03 * np.sin(3 * seed)
    test, validation = (level + base + 0.012 * random.standard_normal() for _ in range(2))
    counts = [[int(40 * (test if i == j else (1 - test) / 3)) for j in range(4)] for i in range(4)]
    fold = {
        **_rich_history(random, parameters["kind"] == "anti_transfer"),
        "test_chance": 0.25,
        "test_examples": 160,
        "numeric_precision": "fp32",
        "test_confusion": counts,
        "collapsed": collapsed,
    }
    fingerprint = f"{identifier}-{number}"
    stem = f"{RICH_DATASET}_spectrum_fast_exp{identifier}_run{number}"
    figures = zip(SETS, (0.95, validation, test), strict=True)
    content = {
        "0": fold,
        "summary": {name: {"mean_acc": float(value)} for name, value in figures},
        "parameters": {
            "dataset": RICH_DATASET,
            "features_type": "spectrum_fast",
            "task": "classification",
            "seed": seed,
            "width": 0.125,
            "learning_rate": 0.0005,
            "batch_size": 30,
            "num_epochs": 12,
            "at_beta": 1.0,
            "at_tap": "output",
            "at_aggregation": "gram",
            "at_distance": "cos_squared",
            **parameters,
        },
        "model": {"split": "by speaker: no speakers shared", "classes": RICH_CLASSES},
        "inputs": {"data": "0123"},
        "fingerprint": fingerprint,
        "experiment": identifier,
        "number": number,
    }
    folder = results / f"experiment_{identifier}"
    for name in ("results", "invariance"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "results" / f"results_{stem}.json").write_text(json.dumps(content))
    measured = _rich_invariance(random, fingerprint, layers, probe)
    (folder / "invariance" / f"invariance_{stem}.json").write_text(json.dumps(measured))


@pytest.fixture(scope="session")
def write_rich() -> Callable[[Path, list[int], int], list[str]]:
    """Writes results of every kind of method, for (folder, layers, number of seeds)."""
    return write_rich_results
