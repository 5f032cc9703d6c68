"""Results as the experiments leave them, small enough to be computed by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.files import require_fields
from training.results.result import Result

# Test accuracies of eight seeds.
BASELINE = (0.50, 0.70, 0.60, 0.55, 0.65, 0.62, 0.58, 0.66)
SETS = ("training", "validation", "test")
AGAINST_NOISE: dict[str, Any] = {
    "kind": "anti_transfer",
    "anti_transfer": True,
    "at_dataset": "noisyspeech",
}
AGAINST_RANDOM: dict[str, Any] = {**AGAINST_NOISE, "at_dataset": "random"}
HISTORY: dict[str, Any] = {
    "train_loss_hist": [2.0, 1.1, 0.7],
    "val_loss_hist": [2.1, 1.4, 1.6],
    "train_acc_hist": [0.3, 0.55, 0.8],
    "val_acc_hist": [0.25, 0.5, 0.45],
    "best_epoch": 1,
}
TRANSFER_HISTORY: dict[str, Any] = {
    **HISTORY,
    "train_feature_loss_hist": [0.5, 0.05, 0.02],
    "val_feature_loss_hist": [0.6, 0.06, 0.03],
    "train_task_loss_hist": [1.5, 1.05, 0.68],
    "val_task_loss_hist": [1.5, 1.34, 1.57],
}


def make_result(
    test: float,
    seed: int,
    experiment: int,
    task: str = "classification",
    validation: float = 0.5,
    train: float = 0.9,
    **parameters: Any,
) -> dict[str, Any]:
    """Return a result; accuracies are 0-1, of a regression it is the RMSE."""
    key = "acc" if task == "classification" else "RMSE"
    fold: dict[str, Any] = {"test_examples": 90, "numeric_precision": "fp32"}
    if task == "classification":
        fold |= {"test_chance": 0.25, "collapsed": False}
    values = dict(zip(SETS, (train, validation, test), strict=True))
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
            "at_layer": 13 if parameters.get("anti_transfer") else "",
            "at_beta": 1.0,
            "at_tap": "output",
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


def series(gains: Sequence[float], experiment: int = 28, **parameters: Any) -> list[dict[str, Any]]:
    """Return runs with given gains, in points, over BASELINE."""
    return [
        make_result(BASELINE[seed] + gain / 100, seed, experiment, **parameters)
        for seed, gain in enumerate(gains)
    ]


def baselines(number: int = len(BASELINE)) -> list[dict[str, Any]]:
    """Return the baseline's runs."""
    return series((0.0,) * number, 5)


def loaded(results: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Return results as they are after loading."""
    return [require_fields(result, Result, "file") for result in results]


def write_result(results_folder: Path, result: Mapping[str, Any]) -> Path:
    """Write a result where the experiments would; return its path."""
    given, experiment = result["parameters"], result["experiment"]
    stem = f"{given['dataset']}_{given['features_type']}_exp{experiment}_run{result['number']}"
    path = results_folder / f"experiment_{experiment}" / "results" / f"results_{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return path


def write_analysis(results_folder: Path, result: Mapping[str, Any], **changes: Any) -> Path:
    """Write what training/invariance.py would of a result; return its path.

    Args:
        changes: of the file's keys.
    """
    path = write_result(results_folder, result)
    content = {
        "fingerprint": result["fingerprint"],
        "experiment": result["experiment"],
        "labels": {
            "class_name": {"role": "target", "num_examples": 160, "chance": 0.25},
            "noise_type": {"role": "orthogonal", "num_examples": 160, "chance": 0.12},
        },
        "left_out_labels": {"speaker": "too few clips"},
        "settings": {"labels": {}, "frozen": {}},
        **changes,
    }
    name = path.name.replace("results_", "invariance_", 1)
    written = path.parents[1] / "invariance" / name
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps(content))
    return written


def probed_layer(layer: str, probe: float) -> dict[str, Any]:
    """Return the entry of a layer from which a probe reads the type of noise."""
    return {
        "layer": layer,
        "activation_norm": 0.5,
        "probes": {
            "noise_type": {"accuracy": probe, "shuffled": 0.11},
            "class_name": {"accuracy": 0.6, "shuffled": 0.1},
        },
        "frozen": {"noisyspeech": {"linear_cka": 0.4, "gram_cosine": 0.9}},
    }


RICH_DATASET = "gsc_confounded_speakersplit"
RICH_CLASSES = ["zero", "one", "two", "three"]
# ID, family, parameters, what is swept, gain over the baseline, what a probe reads at the end.
RICH_METHODS: tuple[tuple[int, str, dict[str, Any], str, float, float], ...] = (
    (200, "baseline", {}, "", 0.0, 0.55),
    (201, "weight_initialization", {"at_pretraining": "noisyspeech"}, "", -0.08, 0.73),
    (202, "anti_transfer", AGAINST_NOISE, "at_layer", 0.05, 0.53),
    (203, "random", AGAINST_RANDOM, "at_layer", 0.05, 0.54),
    (204, "other", {**AGAINST_NOISE, "at_dataset": "iemocap_1sec"}, "", 0.0, 0.5),
    (205, "beta", {**AGAINST_NOISE, "at_layer": 3}, "at_beta", 0.02, 0.4),
    (
        206,
        "gradient_reversal",
        {
            "gradient_reversal_label": "noise_type",
            "gradient_reversal_layer": 5,
            "gradient_reversal_weight": 1.0,
        },
        "",
        0.01,
        0.5,
    ),
)


def write_rich_results(
    folder: Path, layers: Sequence[int], seeds: int, drawn: Sequence[int]
) -> list[str]:
    """Write experiments and results of every kind of method; return the report's arguments.

    Args:
        drawn: experiments with histories and confusions; each of their figures takes a second.
    """
    random = np.random.default_rng(7)
    experiments, results = folder / "experiments", folder / "results"
    experiments.mkdir(parents=True)
    for identifier, family, own, swept, gain, probe in RICH_METHODS:
        is_transfer = "at_dataset" in own
        ini = "anti_transfer = True\nat_dataset = noisyspeech\nat_layer = 3" if is_transfer else ""
        (experiments / f"{identifier}_{family}.ini").write_text(
            f"# Does {family} help?\n[experiment]\ndescription = Synthetic: {family}\n"
            f"dataset = {RICH_DATASET}\noutput_classes = 4\nfamily = {family}\n"
            f"[training_defaults]\n{ini}\n[instances]\nrepeat = 2\n"
        )
        middle = {"at_layer": layers[len(layers) // 2]} if is_transfer else {}
        sweeps: dict[str, Sequence[Any]] = {"at_layer": layers, "at_beta": (0.1, 3.0, 10.0)}
        choices = [{swept: value} for value in sweeps.get(swept, ())] or [{**middle, **own}]
        parameters = {"kind": family, "dataset": RICH_DATASET, **own}
        runs = [(choice, seed) for choice in choices for seed in range(seeds)]
        for number, (choice, seed) in enumerate(runs, start=1):
            collapsed = choice.get("at_beta") == 10.0
            level = 0.25 if collapsed else 0.62 + gain + 0.03 * np.sin(3 * seed)
            test, validation = level + 0.012 * random.standard_normal(2)
            result = make_result(
                float(test),
                seed,
                identifier,
                validation=float(validation),
                **{**parameters, **choice},
            )
            counts = np.rint(40 * np.where(np.eye(4), test, (1 - test) / 3)).astype(int)
            result["0"] |= {"collapsed": collapsed, "test_examples": 160}
            if identifier in drawn:
                result["0"] |= TRANSFER_HISTORY if is_transfer else HISTORY
                result["0"]["test_confusion"] = counts.tolist()
            result["model"] = {"split": "by speaker: no speakers shared", "classes": RICH_CLASSES}
            result["number"] = number
            read = probe + 0.01 * float(random.standard_normal())
            layer_names = [*map(str, range(1, max(layers) + 1)), "penultimate"]
            write_analysis(
                results, result, layers=[probed_layer(name, read) for name in layer_names]
            )
    return [
        *("--experiments", str(experiments)),
        *("--set", f"results_folder={results}"),
    ]
