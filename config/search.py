"""The search of an experiment file: [search] becomes trials, and runs of the settings they choose.

Every trial is an instance whose values are drawn when the file is read, the same ones everywhere.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GridSampler, RandomSampler
from pydantic import Field

from config.errors import ConfigError
from config.fields import EMPTY_IS_NONE, Section, Seed
from config.ini_files import Entry, checked
from config.instances import MOST_INSTANCES, Plan, sweep_values
from config.released import replacement
from config.settings import TrainingDefaults
from config.text import counted

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\s*\.\.\s*({NUMBER})(\s+log)?")
# With more digits than this a value could differ in its last one between machines.
SIGNIFICANT_DIGITS = 4
# A file is about one method, and its trials are compared on the same examples.
NOT_SEARCHED = {
    *("anti_transfer", "num_folds", "train_split", "validation_split", "test_split"),
    *("confounder", "confounder_strength"),
}
# Settings of which a range holds every number; of others only the whole ones.
CONTINUOUS = {
    "at_beta",
    *(key for key, field in TrainingDefaults.model_fields.items() if field.annotation is float),
}
NumTrials = Annotated[int, Field(ge=1, le=MOST_INSTANCES)]


class Search(Section):
    """The keys of [search] that are no searched settings.

    trials: how many are drawn; of a grid, how many of its points run, None: all.
    seed: of the drawing.
    repeat: runs of the chosen settings, each with a seed that no trial had.
    """

    method: Literal["random", "grid"] = "random"
    trials: Annotated[NumTrials | None, EMPTY_IS_NONE] = None
    seed: Seed = 0
    repeat: NumTrials = 5


def plan_search(
    name: str,
    sections: Mapping[str, Mapping[str, str]],
    overrides: Mapping[str, Any],
    has_indices: bool,
) -> list[Plan]:
    """Return what each instance has that [search] describes: the trials, then the chosen runs.

    Those have the values of the first trial until all trials are over.

    Args:
        name: of the file, for messages.
        sections: [search], and others that may not stand beside it.
        has_indices: whether a layer may be an index of the released code, as in its network.
    """
    place = f"{name} [search]"
    others = [section for section in sections if section != "search"]
    if others:
        raise ConfigError(f"{place}: takes the place of [{others[0]}]; leave one of them out")
    written = sections["search"]
    search = checked(
        Search,
        "search",
        {key: Entry(written[key], name) for key in written if key in Search.model_fields},
    )
    ranges = {key: text for key, text in written.items() if key not in Search.model_fields}
    _check_keys(place, ranges, overrides)
    distributions = {
        key: _distribution(place, key, text, has_indices) for key, text in ranges.items()
    }
    draw = _draw_grid if search.method == "grid" else _draw_random
    drawn = draw(place, search, distributions)
    words = f"{search.method}, {counted(len(drawn), 'trial')}: {', '.join(ranges)}"
    trials = [
        Plan(
            {"search": {**values, "comment_2": f"trial{number}"}},
            search={"search": words, "search_trial": number},
        )
        for number, values in enumerate(drawn, start=1)
    ]
    chosen = [
        Plan(
            {"search": {**drawn[0], "comment_2": f"chosen_repetition{repetition}"}},
            repetition,
            {"search": words, "search_trial": 0},
        )
        for repetition in range(1, search.repeat + 1)
    ]
    return trials + chosen


def _check_keys(place: str, ranges: Mapping[str, str], overrides: Mapping[str, Any]) -> None:
    if not ranges:
        raise ConfigError(f"{place}: names no setting to search, such as learning_rate")
    for key in ranges:
        if key in NOT_SEARCHED:
            raise ConfigError(f"{place} {key}: cannot be searched; give it in [training_defaults]")
        if key not in TrainingDefaults.model_fields:
            near = replacement(key, [*Search.model_fields, *TrainingDefaults.model_fields])
            raise ConfigError(f"{place} {key}: no such key{near}")
    for override in overrides:
        if override.rpartition(".")[2] in ranges:
            raise ConfigError(f"--set {override}: is searched by {place}; leave one of them out")


def _distribution(place: str, key: str, text: str, has_indices: bool) -> BaseDistribution:
    """Return what a searched key's value is drawn from: 'a .. b', 'a .. b log' or 'a, b, c'."""
    match = RANGE.fullmatch(text)
    if not match:
        values = sweep_values(place, key, text, has_indices)
        if len(values) == 1:
            reason = "must be a range (1e-5 .. 1e-3 log, 1 .. 13) or a list (0.1, 1, 10)"
            raise ConfigError(f"{place} {key} = {text}: {reason}")
        return CategoricalDistribution(values)
    low, high, is_log = float(match[1]), float(match[2]), bool(match[3])
    if low >= high or (is_log and low <= 0):
        reason = "a range goes up, a .. b, and a logarithmic one starts above 0"
        raise ConfigError(f"{place} {key} = {text}: {reason}")
    if key not in CONTINUOUS and match[1].isdecimal() and match[2].isdecimal():
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(low, high, log=is_log)


def _draw_random(
    place: str, search: Search, distributions: Mapping[str, BaseDistribution]
) -> list[dict[str, str]]:
    """Return the values of each trial.

    A key's values depend on its name, its range and the seed alone, so that two methods that
    search the same learning rates meet the same ones, whatever else they search.
    """
    if search.trials is None:
        raise ConfigError(f"{place} trials: must be given, as method = random")
    columns = {}
    for key, distribution in distributions.items():
        sampler = RandomSampler(zlib.crc32(f"{search.seed} {key}".encode()))
        columns[key] = _ask(sampler, {key: distribution}, search.trials)
    return [
        {key: values[key] for values in trial for key in values}
        for trial in zip(*columns.values(), strict=True)
    ]


def _draw_grid(
    place: str, search: Search, distributions: Mapping[str, BaseDistribution]
) -> list[dict[str, str]]:
    """Return the points of a grid in an order that is drawn, or so many of them as are wanted."""
    space = {key: _grid_values(place, key, each) for key, each in distributions.items()}
    size = math.prod(map(len, space.values()))
    if size > MOST_INSTANCES:
        raise ConfigError(f"{place}: the grid has {size} points, must be at most {MOST_INSTANCES}")
    num_trials = search.trials or size
    if num_trials > size:
        raise ConfigError(f"{place} trials = {num_trials}: the grid has {counted(size, 'point')}")
    choices = {key: CategoricalDistribution(values) for key, values in space.items()}
    return _ask(GridSampler(space, search.seed), choices, num_trials)


def _grid_values(place: str, key: str, distribution: BaseDistribution) -> Sequence[str]:
    if isinstance(distribution, CategoricalDistribution):
        return [str(choice) for choice in distribution.choices]
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return [str(value) for value in range(distribution.low, distribution.high + 1)]
    reason = "a grid takes a list (0.1, 1, 10) or whole numbers (1 .. 13)"
    raise ConfigError(f"{place} {key}: {reason}; or set method = random")


def _ask(
    sampler: BaseSampler, distributions: Mapping[str, BaseDistribution], num_trials: int
) -> list[dict[str, str]]:
    """Return what Optuna suggests for so many trials, as an experiment file would say it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask(dict(distributions)).params for _ in range(num_trials)]
    return [{key: _text(trial[key]) for key in distributions} for trial in trials]


def _text(value: Any) -> str:
    return f"{value:.{SIGNIFICANT_DIGITS}g}" if isinstance(value, float) else str(value)
