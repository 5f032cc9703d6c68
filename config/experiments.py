"""Experiment files: a short INI of differences becomes an Experiment and its resolved Instances.

The file name starts with the ID; the first comment line is the question that the experiment asks.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.settings import (
    Layers,
    Settings,
    base_layers,
    display_path,
    hint,
    parse_overrides,
    printable,
    read_ini,
)

EXPERIMENT_KEYS = ("description", "dataset", "output_classes", "family", "task")
SETTINGS_SECTIONS = ("feature_extraction", "training_defaults")
COMMENT_KEYS = ("comment_1", "comment_2")
TASKS = ("classification", "regression")
MOST_INSTANCES = 10_000


@dataclass(frozen=True)
class Instance:
    """One training: its number (from 1), all its parameters, and the settings it runs with."""

    number: int
    parameters: dict[str, Any]
    settings: Settings = field(repr=False)


@dataclass(frozen=True)
class Experiment:
    """An experiment file."""

    id: int
    family: str
    description: str
    dataset: str
    instances: tuple[Instance, ...]
    question: str
    file: Path = field(repr=False)

    @property
    def kind(self) -> str:
        """baseline, weight_initialization, [dual_]anti_transfer or gradient_reversal."""
        return str(self.instances[0].parameters["kind"])


@dataclass(frozen=True)
class _Plan:
    """What is known of one instance before its settings are resolved."""

    number: int
    repetition: int
    values: dict[str, str]


def load_experiments(
    folder: str | Path,
    files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | Iterable[str] | None = None,
) -> dict[int, Experiment]:
    """All experiment files of a folder, by ID.

    Args:
        folder: where `<ID>_<name>.ini` files lie.
        files: INI files between config.ini and the experiment files (--config).
        overrides: values over everything else (--set).

    Raises:
        ConfigError: a file, section, key or value is not allowed, or two files have the same ID.
    """
    folder = Path(folder)
    base = base_layers(*files)
    checked_overrides = parse_overrides(overrides)
    base = base.with_overrides(checked_overrides)
    base.settings()
    paths = sorted(folder.glob("*.ini")) if folder.is_dir() else []
    if not paths:
        raise ConfigError(f"{display_path(folder)}: holds no experiment files (<ID>_<name>.ini)")
    experiments: dict[int, Experiment] = {}
    for path in paths:
        experiment = _load_experiment(path, base, checked_overrides)
        if experiment.id in experiments:
            other = display_path(experiments[experiment.id].file)
            raise ConfigError(f"{display_path(path)}: ID {experiment.id} is also that of {other}")
        experiments[experiment.id] = experiment
    return dict(sorted(experiments.items()))


def select_experiments(
    experiments: Mapping[int, Experiment], wanted: Iterable[int | str]
) -> list[Experiment]:
    """The experiments with the given IDs or families, in the given order, each once.

    Raises:
        ConfigError: an entry is neither.
    """
    chosen: dict[int, Experiment] = {}
    for entry in wanted:
        matches = [e for e in experiments.values() if e.family == str(entry)]
        if isinstance(entry, int) and entry in experiments:
            matches = [experiments[entry]]
        if not matches:
            known = ", ".join(str(identifier) for identifier in experiments)
            families = ", ".join(sorted({e.family for e in experiments.values()}))
            raise ConfigError(
                f"no experiment or family {entry}; experiments: {known}; families: {families}"
            )
        chosen.update((experiment.id, experiment) for experiment in matches)
    return list(chosen.values())


def _load_experiment(path: Path, base: Layers, overrides: Mapping[str, Any]) -> Experiment:
    name = display_path(path)
    match = re.match(r"(\d{1,9})_", path.name)
    if not match:
        raise ConfigError(f"{name}: the file name must start with the experiment's ID: 20_name.ini")
    sections = read_ini(path)
    head = _experiment_section(name, sections.pop("experiment", {}))
    sweep = sections.pop("instances", {})
    own = {key: sections.pop(key) for key in list(sections) if key.startswith("instance ")}
    layers = base
    for section, values in sections.items():
        if section not in SETTINGS_SECTIONS:
            known = ["experiment", "instances", "instance <number>", *SETTINGS_SECTIONS]
            raise ConfigError(f"{name} [{section}]: no such section{hint(section, known)}")
        layers = layers.with_section(name, section, values)
    # The instances then share all sections that none of them changes, checked once.
    layers = layers.with_overrides(overrides)
    plans = _plan_instances(name, sweep)
    exceptions = _instance_sections(name, own, len(plans))
    identifier = int(match[1])
    instances = tuple(
        _resolve(name, plan, head, layers, exceptions.get(plan.number, {}), overrides)
        for plan in plans
    )
    if any(i.settings.training_defaults.source_experiment == identifier for i in instances):
        raise ConfigError(
            f"{name} [training_defaults] at_pretraining = experiment {identifier}: "
            "an experiment cannot start from itself"
        )
    return Experiment(
        id=identifier,
        family=head["family"],
        description=head["description"],
        dataset=head["dataset"],
        instances=instances,
        question=_question(path, head["description"]),
        file=path,
    )


def _question(path: Path, otherwise: str) -> str:
    """The comment that the file opens with, up to its question mark."""
    question = ""
    for line in path.read_text(encoding="utf-8-sig").lstrip().splitlines():
        if not line.startswith("#") or question.endswith("?"):
            break
        question = f"{question} {line.lstrip('#').strip()}".strip()
    return question or otherwise


def _experiment_section(name: str, head: dict[str, str]) -> dict[str, str]:
    for key in head:
        if key not in EXPERIMENT_KEYS:
            raise ConfigError(f"{name} [experiment] {key}: no such key{hint(key, EXPERIMENT_KEYS)}")
    head = {"task": "classification", **head}
    for key in EXPERIMENT_KEYS:
        if not head.get(key):
            raise ConfigError(f"{name} [experiment] {key}: must be given")
    if head["task"] not in TASKS:
        raise ConfigError(
            f"{name} [experiment] task = {head['task']}: must be one of {', '.join(TASKS)}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", head["dataset"]):
        raise ConfigError(
            f"{name} [experiment] dataset = {printable(head['dataset'])}: "
            "must be a name of letters, digits, - and _"
        )
    least = 1 if head["task"] == "regression" else 2
    classes = _whole_number(name, "experiment", "output_classes", head["output_classes"], least)
    if head["task"] == "regression" and classes != 1:
        raise ConfigError(f"{name} [experiment] output_classes = {classes}: regression has one")
    return head


def _whole_number(name: str, section: str, key: str, text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
        raise ConfigError(
            f"{name} [{section}] {key} = {printable(text)}: must be a whole number from {least} up"
        )
    return int(text)


def _sweep_values(name: str, key: str, text: str) -> list[str]:
    """'1..13' or '3, 5' or '3, 5 | 13': the values that a key takes one after the other."""
    span = re.fullmatch(r"\s*(\d{1,6})\s*\.\.\s*(\d{1,6})\s*", text)
    if span:
        first, last = int(span[1]), int(span[2])
        if last < first or last - first >= MOST_INSTANCES:
            raise ConfigError(
                f"{name} [instances] {key} = {text}: a range goes up, a..b, "
                f"over at most {MOST_INSTANCES} values"
            )
        return [str(value) for value in range(first, last + 1)]
    values = [part.strip() for part in text.split("|" if "|" in text else ",")]
    if not all(values):
        raise ConfigError(f"{name} [instances] {key} = {text}: holds an empty value")
    return values


def _plan_instances(name: str, sweep: Mapping[str, str]) -> list[_Plan]:
    sweep = dict(sweep)
    repeat = _whole_number(name, "instances", "repeat", sweep.pop("repeat", "1"), 1)
    comments = {key: sweep.pop(key) for key in COMMENT_KEYS if key in sweep}
    swept = {key: _sweep_values(name, key, text) for key, text in sweep.items()}
    combinations = [dict(zip(swept, values, strict=True)) for values in _product(swept)]
    if len(combinations) * repeat > MOST_INSTANCES:
        keys = ", ".join([*swept, *(["repeat"] if repeat > 1 else [])])
        raise ConfigError(f"{name} [instances] {keys}: gives more than {MOST_INSTANCES} instances")
    return [
        _Plan(number, repetition, {**values, **comments})
        for number, (values, repetition) in enumerate(
            itertools.product(combinations, range(repeat)), start=1
        )
    ]


def _product(swept: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    size = 1
    for values in swept.values():
        size *= len(values)
    return itertools.islice(itertools.product(*swept.values()), min(size, MOST_INSTANCES + 1))


def _instance_sections(
    name: str, own: Mapping[str, dict[str, str]], num_instances: int
) -> dict[int, dict[str, str]]:
    exceptions = {}
    for section, values in own.items():
        text = section.removeprefix("instance ").strip()
        if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= num_instances:
            raise ConfigError(
                f"{name} [{printable(section)}]: there are instances 1 to {num_instances}"
            )
        if int(text) in exceptions:
            raise ConfigError(f"{name} [{printable(section)}]: this instance stands twice")
        exceptions[int(text)] = values
    return exceptions


def _resolve(
    name: str,
    plan: _Plan,
    head: Mapping[str, str],
    layers: Layers,
    exceptions: Mapping[str, str],
    overrides: Mapping[str, Any],
) -> Instance:
    comments: dict[str, tuple[str, str]] = {}
    for section, values in (("instances", plan.values), (f"instance {plan.number}", exceptions)):
        source = f"{name} [{section}]"
        own = {key: value for key, value in values.items() if key not in COMMENT_KEYS}
        layers = layers.with_section(source, "training_defaults", own)
        comments |= {key: (source, values[key]) for key in COMMENT_KEYS if key in values}
    layers = layers.with_overrides(overrides)
    settings = layers.settings()
    training = settings.training_defaults
    seed = training.seed + plan.repetition
    training = training.model_copy(update={"seed": seed})
    settings = settings.model_copy(update={"training_defaults": training})
    parameters: dict[str, Any] = {
        "dataset": head["dataset"],
        "features_type": settings.feature_extraction.features_type,
        "task": head["task"],
        "output_classes": int(head["output_classes"]),
        "kind": _kind(settings),
        "repetition": plan.repetition,
        **_training_parameters(settings),
    }
    for key in COMMENT_KEYS:
        source, template = comments.get(key, (name, ""))
        parameters[key] = _fill_comment(source, key, template, parameters)
    parameters["comment_1"] = parameters["comment_1"] or parameters["kind"]
    return Instance(plan.number, parameters, settings)


def _kind(settings: Settings) -> str:
    training = settings.training_defaults
    if training.anti_transfer:
        return "dual_anti_transfer" if training.at_pretraining else "anti_transfer"
    if training.gradient_reversal_label:
        return "gradient_reversal"
    return "weight_initialization" if training.at_pretraining else "baseline"


def _training_parameters(settings: Settings) -> dict[str, Any]:
    """[training_defaults] as plain values: a single layer is a number, several are a text."""
    values: dict[str, Any] = settings.training_defaults.model_dump(exclude={"extractor_paths"})
    values["at_dataset"] = ", ".join(values["at_dataset"])
    for key in ("at_layer", "at_beta"):
        values[key] = _plain(values[key])
    return values


def _plain(groups: Sequence[Any]) -> Any:
    """((13,),) -> 13; ((3, 5), (13,)) -> '3, 5; 13'; () -> ''."""
    lists = [group if isinstance(group, tuple) else (group,) for group in groups]
    if len(lists) == 1 and len(lists[0]) == 1:
        return lists[0][0]
    return "; ".join(", ".join(str(value) for value in values) for values in lists)


def _fill_comment(source: str, key: str, template: str, parameters: Mapping[str, Any]) -> str:
    """Put parameters into {name} fields; nothing else of str.format is understood."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in parameters:
            raise ConfigError(
                f"{source} {key} = {printable(template)}: no parameter "
                f"{printable(match[1])}{hint(match[1], parameters)}"
            )
        return str(parameters[match[1]])

    return re.sub(r"\{([^{}]*)\}", value_of, template)
