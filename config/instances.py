"""What the instances of an experiment file differ in: its [instances] and [instance <number>]."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.errors import ConfigError
from config.released import convolution_of

COMMENT_KEYS = ("comment_1", "comment_2")
MOST_INSTANCES = 10_000


@dataclass(frozen=True)
class Plan:
    """What one instance has that others of its experiment have not.

    Attributes:
        steps: values by the section that they stand in; later sections win.
        repetition: from 0; is added to the seed.
        search: parameters that say which run of a search it is; {}: of none.
    """

    steps: Mapping[str, Mapping[str, str]]
    repetition: int = 0
    search: dict[str, Any] = field(default_factory=dict)


def plan_instances(
    name: str, sections: Mapping[str, Mapping[str, str]], has_indices: bool
) -> list[Plan]:
    """Return what each instance has that [instances] and [instance <number>] describe.

    Args:
        name: of the file, for messages.
        has_indices: whether a layer may be an index of the released code, as in its network.
    """
    sweep = sections.get("instances", {})
    swept = {
        key: sweep_values(f"{name} [instances]", key, text, has_indices)
        for key, text in sweep.items()
    }
    repeat = swept.pop("repeat", ["1"])[0]
    if not re.fullmatch(r"[1-9]\d{0,5}", repeat):
        raise ConfigError(f"{name} [instances] repeat = {repeat}: must be a whole number from 1 up")
    num_instances = math.prod(map(len, swept.values())) * int(repeat)
    if num_instances > MOST_INSTANCES:
        keys = ", ".join(key for key in sweep if key not in COMMENT_KEYS)
        raise ConfigError(f"{name} [instances] {keys}: gives more than {MOST_INSTANCES} instances")
    for section in sections.keys() - {"instances"}:
        text = section.removeprefix("instance ")
        if not re.fullmatch(r"[1-9]\d{0,5}", text) or int(text) > num_instances:
            raise ConfigError(f"{name} [{section}]: there are instances 1 to {num_instances}")
    combinations = (
        (dict(zip(swept, values, strict=True)), repetition)
        for values in itertools.product(*swept.values())
        for repetition in range(int(repeat))
    )
    plans = []
    for number, (values, repetition) in enumerate(combinations, start=1):
        own = f"instance {number}"
        plans.append(Plan({"instances": values, own: sections.get(own, {})}, repetition))
    return plans


def sweep_values(place: str, key: str, text: str, has_indices: bool) -> list[str]:
    """Return the values a key takes one after the other: '1..13', '3, 5' or '3, 5 | 13'."""
    if key in ("repeat", *COMMENT_KEYS):
        return [text]
    span = re.fullmatch(r"(\d{1,6})\s*\.\.\s*(\d{1,6})", text)
    if span:
        values = [str(value) for value in range(int(span[1]), int(span[2]) + 1)]
    else:
        values = [part.strip() for part in text.split("|" if "|" in text else ",")]
    if not values:
        raise ConfigError(f"{place} {key} = {text}: a range goes up, a..b")
    if not all(values):
        raise ConfigError(f"{place} {key} = {text}: holds an empty value")
    if key == "at_layer" and has_indices:
        _refuse_unclear(f"{place} {key} = {text}", values)
    return values


def _refuse_unclear(place: str, layers: Sequence[str]) -> None:
    """Refuse layers of which some are an index of the released code and others need be none."""
    indices = [layer for layer in layers if convolution_of(layer)]
    if indices and len(indices) < len(layers):
        unclear = next(layer for layer in layers if layer not in indices)
        raise ConfigError(
            f"{place}: {indices[0]} is no convolution, and beside an index of the released code "
            f"{unclear} is not clear; write convolutions, 1 to 13"
        )
