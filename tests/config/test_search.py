"""[search]: which trials are drawn, which runs follow, and what may not be searched."""

import itertools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from config.errors import ConfigError
from config.experiments import Experiment, load_experiments

HEAD = """# Does it?
[experiment]
description = a test
dataset = gsc_randsplit
output_classes = 10
"""
AGAINST_NOISE = "[training_defaults]\nanti_transfer = True\nat_dataset = noisyspeech\n"
GRID = "[search]\nmethod = grid\nwidth = 0.5, 1\nbatch_size = 8..10\nrepeat = 1\n"

Load = Callable[..., Experiment]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write one experiment file with the given text after the head, and load it."""

    def write_and_load(text: str, **arguments: Any) -> Experiment:
        (tmp_path / "330_test.ini").write_text(HEAD + text)
        return load_experiments(tmp_path, **arguments)[330]

    return write_and_load


def tried(experiment: Experiment, *keys: str) -> list[tuple[Any, ...]]:
    """The values of each trial."""
    parameters = [each.parameters for each in experiment.instances]
    return [tuple(each[key] for key in keys) for each in parameters if each["search_trial"]]


def suggested(seed: int, key: str, suggest: Callable[[optuna.Trial], Any]) -> list[Any]:
    """What Optuna's own loop tries of one key, floats with four significant digits."""
    values = []

    def objective(trial: optuna.Trial) -> float:
        values.append(suggest(trial))
        return 0.0

    sampler = optuna.samplers.RandomSampler(seed=zlib.crc32(f"{seed} {key}".encode()))
    optuna.create_study(sampler=sampler).optimize(objective, n_trials=12)
    return [float(f"{value:.3e}") if isinstance(value, float) else value for value in values]


def test_random_trials_are_those_that_optuna_suggests(load: Load) -> None:
    experiment = load(
        f"{AGAINST_NOISE}[search]\ntrials = 12\nseed = 4\nlearning_rate = 1e-5 .. 1e-3 log\n"
        "regularization_lambda = 0..1\nbatch_size = 8 .. 64 log\nat_layer = 1..13\n"
        "at_beta = 0.1, 1, 10\n"
    )
    rate = suggested(4, "learning_rate", lambda t: t.suggest_float("x", 1e-5, 1e-3, log=True))
    decay = suggested(4, "regularization_lambda", lambda t: t.suggest_float("x", 0, 1))
    batch = suggested(4, "batch_size", lambda t: t.suggest_int("x", 8, 64, log=True))
    layer = suggested(4, "at_layer", lambda t: t.suggest_int("x", 1, 13))
    beta = suggested(4, "at_beta", lambda t: t.suggest_categorical("x", [0.1, 1.0, 10.0]))
    keys = ("learning_rate", "regularization_lambda", "batch_size", "at_layer", "at_beta")
    assert tried(experiment, *keys) == list(zip(rate, decay, batch, layer, beta, strict=True))
    settings = [each.settings.training_defaults for each in experiment.instances[:12]]
    assert [(each.learning_rate, each.at_layer[0][0]) for each in settings] == [
        *zip(rate, layer, strict=True)
    ]


def test_methods_meet_the_same_values_and_more_trials_keep_the_first_ones(load: Load) -> None:
    ranges = "learning_rate = 1e-5 .. 1e-3 log\n"
    few = load(f"[search]\ntrials = 5\n{ranges}")
    many = load(f"{AGAINST_NOISE}[search]\ntrials = 9\nat_layer = 1..13\n{ranges}")
    other = load(f"[search]\ntrials = 5\nseed = 1\n{ranges}")
    assert tried(many, "learning_rate")[:5] == tried(few, "learning_rate")
    assert not {*tried(other, "learning_rate")} & {*tried(few, "learning_rate")}


def test_a_grid_is_the_cartesian_product_or_some_of_it(load: Load) -> None:
    points = set(itertools.product([0.5, 1.0], [8, 9, 10]))
    everything = tried(load(GRID), "width", "batch_size")
    assert (len(everything), set(everything)) == (6, points)
    some = tried(load(f"{GRID}trials = 4\n"), "width", "batch_size")
    assert some == everything[:4]
    assert len(load(GRID).instances) == 7


def test_trials_are_instances_with_the_seed_of_the_run_and_others_follow(load: Load) -> None:
    text = "[search]\ntrials = 3\nrepeat = 2\nlearning_rate = 0.1, 0.2\nwidth = 1, 2\n"
    experiment = load(text, overrides=["seed=40"])
    expected = [(1, 1, 40, 0), (2, 2, 40, 0), (3, 3, 40, 0), (4, 0, 41, 1), (5, 0, 42, 2)]
    names = ("search_trial", "seed", "repetition")
    assert expected == [
        (each.number, *(each.parameters[name] for name in names)) for each in experiment.instances
    ]
    seeds = [each.settings.training_defaults.seed for each in experiment.instances]
    assert seeds == [40, 40, 40, 41, 42]
    words = {each.parameters["search"] for each in experiment.instances}
    assert words == {"random, 3 trials: learning_rate, width"}
    assert "search" not in load("").instances[0].parameters


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[search]\ntrials = 3\n", "[search]: names no setting to search"),
        ("[search]\nwidth = 1, 2\n", "trials: must be given, as method = random"),
        ("[search]\ntrials = 0\nwidth = 1, 2\n", "[search] trials = 0: must be greater than"),
        ("[search]\nmethod = tpe\nwidth = 1, 2\n", "method = tpe: must be 'random' or 'grid'"),
        ("[search]\ntrails = 3\nwidth = 1, 2\n", "trails: no such key; did you mean trials?"),
        ("[search]\ntrials = 3\nwidth = 1\n", "width = 1: must be a range (1e-5 .. 1e-3 log"),
        ("[search]\ntrials = 3\nwidth = 2 .. 1\n", "width = 2 .. 1: a range goes up"),
        ("[search]\ntrials = 3\nwidth = 0 .. 1 log\n", "a logarithmic one starts above 0"),
        ("[search]\ntrials = 3\nwidth = 90 .. 99.\n", "width = 9"),
        ("[search]\ntrials = 3\nseed = 0\nnum_folds = 1, 5\n", "num_folds: cannot be searched"),
        ("[search]\nmethod = grid\nwidth = 0.1 .. 1\n", "width: a grid takes a list"),
        ("[search]\nmethod = grid\nwidth = 1 .. 2\n", "width: a grid takes a list"),
        (f"{GRID}trials = 7\n", "trials = 7: the grid has 6 points"),
        (f"{GRID}patience = 1 .. 9999\n", "the grid has 59994 points, must be at most 10000"),
        (f"{GRID}[instances]\nrepeat = 3\n", "takes the place of [instances]"),
        (f"{GRID}[instance 2]\npatience = 3\n", "takes the place of [instance 2]"),
    ],
)
def test_what_cannot_be_searched(load: Load, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert words in str(caught.value)
    assert "330_test.ini" in str(caught.value)


def test_what_is_searched_cannot_be_set(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"--set training_defaults.width: is searched by .*330"):
        load(GRID, overrides=["training_defaults.width=2"])
