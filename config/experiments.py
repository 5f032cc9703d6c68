"""Experiment files: a short INI of differences becomes an Experiment and its resolved Instances.

The file name starts with the ID; the first comment line is the question that the experiment asks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from config.declarations import DECLARATIONS
from config.errors import ConfigError
from config.fields import ContradictionError, Name, OptionalCount, Section, Task
from config.ini_files import (
    Entry,
    Layers,
    Overrides,
    base_layers,
    checked,
    parse_overrides,
    read_ini,
)
from config.instances import COMMENT_KEYS, Plan, plan_instances
from config.listing import files_in
from config.networks import PUBLISHED_NETWORK
from config.released import replacement
from config.settings import Settings
from config.text import display_path, hint, nearest
from training.methods.kinds import SIMILARITY

SETTINGS_SECTIONS = ("feature_extraction", "training_defaults")
# Sections of what the instances of an experiment differ in.
OF_INSTANCES = re.compile("instances|instance .*|search")


class Head(Section):
    """[experiment].

    family: a name by which several experiments can be chosen, else their kind.
    task, output_classes: if not given, those of the dataset's matrices.
    """

    description: str
    dataset: Name
    output_classes: OptionalCount = None
    family: Name | None = None
    task: Task | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.task == "regression" and self.output_classes not in (None, 1):
            raise ContradictionError("output_classes", "must be 1, as task = regression")
        return self


@dataclass(frozen=True)
class Instance:
    """One training: its number (from 1), all its parameters, and the settings it runs with.

    The parameter output_classes is None while there are no matrices to count them in.
    """

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
        """baseline, weight_initialization, [dual_]anti_transfer, gradient_reversal or at_method."""
        return str(self.instances[0].parameters["kind"])


def load_experiments(
    folder: str | Path,
    files: Iterable[str | Path] = (),
    overrides: Overrides = None,
    wanted: Iterable[int | str] | None = None,
) -> dict[int, Experiment]:
    """Return experiment files of a folder, by ID; those that are not wanted are not checked.

    Args:
        folder: where `<ID>_<name>.ini` files lie.
        files: INI files between config.ini and the experiment files (--config).
        overrides: values over everything else (--set).
        wanted: IDs and families, which decide the order; None: all, by ID.

    Raises:
        ConfigError: a file, section, key or value is not allowed, two files have the same ID, or
            an entry of wanted is neither an ID nor a family.
    """
    parsed = parse_overrides(overrides)
    plain = base_layers(*files)
    paths = _experiment_files(Path(folder))
    chosen = list(paths) if wanted is None else _choose(wanted, paths, plain)
    base = plain.with_overrides(parsed)
    return {identifier: _load_experiment(paths[identifier], base, parsed) for identifier in chosen}


def _experiment_files(folder: Path) -> dict[int, Path]:
    """Return the experiment files of a folder by ID, in its order."""
    paths: dict[int, Path] = {}
    for path in files_in(folder, ".ini"):
        match = re.match(r"(\d{1,9})_", path.name)
        if not match:
            raise ConfigError(
                f"{display_path(path)}: the file name must start with the experiment's ID: "
                "20_name.ini"
            )
        other = paths.setdefault(int(match[1]), path)
        if other != path:
            raise ConfigError(
                f"{display_path(path)}: ID {int(match[1])} is also that of {display_path(other)}"
            )
    if not paths:
        raise ConfigError(f"{display_path(folder)}: holds no experiment files (<ID>_<name>.ini)")
    return dict(sorted(paths.items()))


def _choose(wanted: Iterable[int | str], paths: Mapping[int, Path], base: Layers) -> list[int]:
    """Return the wanted IDs and those of the wanted families, each once."""
    chosen: dict[int, None] = {}
    families: dict[int, str] = {}
    for entry in wanted:
        if entry in paths:
            chosen[int(entry)] = None
            continue
        families = families or {
            identifier: _load_experiment(path, base, {}).family
            for identifier, path in paths.items()
        }
        members = [identifier for identifier, name in families.items() if name == str(entry)]
        if not members:
            raise ConfigError(
                f"no experiment or family {entry}{nearest(str(entry), families.values())}; "
                f"experiments: {', '.join(map(str, paths))}; "
                f"families: {', '.join(sorted(set(families.values())))}"
            )
        chosen |= dict.fromkeys(members)
    return list(chosen)


def _load_experiment(path: Path, base: Layers, overrides: Mapping[str, Any]) -> Experiment:
    name, identifier = display_path(path), int(path.name.partition("_")[0])
    sections = read_ini(path)
    entries = {key: Entry(text, name) for key, text in sections.pop("experiment", {}).items()}
    if not entries:
        raise ConfigError(f"{name}: holds no [experiment] section")
    head = checked(Head, "experiment", entries)
    own = {key: sections.pop(key) for key in list(sections) if OF_INSTANCES.fullmatch(key)}
    layers = base
    for section, values in sections.items():
        if section not in SETTINGS_SECTIONS:
            if section.partition(" ")[0] in DECLARATIONS:
                raise ConfigError(f"{name} [{section}]: belongs into a file given with --config")
            known = ["experiment", "instances", "instance <number>", "search", *SETTINGS_SECTIONS]
            raise ConfigError(f"{name} [{section}]: no such section{replacement(section, known)}")
        layers = layers.with_section(name, section, values)
    instances = []
    for number, plan in enumerate(_plans(name, own, layers, overrides), start=1):
        try:
            settings, templates = _resolve(name, layers, plan.steps, overrides, plan.repetition)
        except ConfigError as error:  # of a default that this experiment contradicts
            raise ConfigError(str(error) if name in str(error) else f"{name}: {error}") from None
        if settings.training_defaults.source_experiment == identifier:
            raise ConfigError(
                f"{name} [training_defaults] at_pretraining = experiment {identifier}: "
                "an experiment cannot start from itself"
            )
        if number == 1:
            head = _completed(name, head, settings)
        metric = settings.training_defaults.save_best_model_metric
        if head.task == "regression" and not metric.endswith("loss"):
            raise ConfigError(
                f"{name}: save_best_model_metric = {metric}: a regression has no classes; allowed: "
                "val_loss, val_task_loss"
            )
        parameters = _parameters(name, head, settings, plan.repetition, templates) | plan.search
        instances.append(Instance(number, parameters, settings))
    return Experiment(
        id=identifier,
        family=head.family or instances[0].parameters["kind"],
        description=head.description,
        dataset=head.dataset,
        instances=tuple(instances),
        question=_question(path) or head.description,
        file=path,
    )


def _plans(
    name: str,
    own: Mapping[str, Mapping[str, str]],
    layers: Layers,
    overrides: Mapping[str, Any],
) -> list[Plan]:
    """Return what each instance of a file has of its own; own: the sections that say it."""
    network = layers.with_overrides(overrides).sections["training_defaults"]["network"].text
    swept = own.get("search") or own.get("instances", {})
    has_indices = network == PUBLISHED_NETWORK and "network" not in swept
    if "search" in own:
        from config.search import plan_search  # not at the top: it waits for Optuna

        return plan_search(name, own, overrides, has_indices)
    return plan_instances(name, own, has_indices)


def _completed(name: str, head: Head, settings: Settings) -> Head:
    """Return the section with task and output_classes, as far as the matrices are there to tell.

    Raises:
        ConfigError: one output is given for a classification.
    """
    # Not at the top: config stands before preprocessing.
    from preprocessing.pipeline.matrices import find_task

    folder = settings.preprocessing.output_folder
    found = find_task(folder, head.dataset, settings.feature_extraction.features_type)
    declared = settings.datasets.get(head.dataset)
    known, num_outputs = found or (declared.task if declared else "classification", None)
    task = head.task or known
    if task == "regression":  # class numbers can be its values, too
        num_outputs = 1
    elif head.output_classes == 1:
        raise ConfigError(f"{name} [experiment] output_classes = 1: must be at least 2")
    given = {"task": task, "output_classes": head.output_classes or num_outputs}
    return head.model_copy(update=given)


def _question(path: Path) -> str:
    """Return the comment that the file opens with, up to its question mark."""
    question = ""
    for line in path.read_text(encoding="utf-8-sig").lstrip().splitlines():
        if not line.startswith("#") or question.endswith("?"):
            break
        question = f"{question} {line.lstrip('#').strip()}".strip()
    return question


def _resolve(
    name: str,
    layers: Layers,
    steps: Mapping[str, Mapping[str, str]],
    overrides: Mapping[str, Any],
    repetition: int,
) -> tuple[Settings, dict[str, str]]:
    """Return an instance's settings, and its comments as they were written."""
    templates = dict.fromkeys(COMMENT_KEYS, "")
    for section, values in steps.items():
        own = {key: value for key, value in values.items() if key not in COMMENT_KEYS}
        layers = layers.with_section(f"{name} [{section}]", "training_defaults", own)
        templates |= {key: values[key] for key in COMMENT_KEYS if key in values}
    settings = layers.with_overrides(overrides).settings()
    training = settings.training_defaults
    training = training.model_copy(update={"seed": training.seed + repetition})
    return settings.model_copy(update={"training_defaults": training}), templates


def _parameters(
    name: str, head: Head, settings: Settings, repetition: int, templates: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that tells a training from others, as plain values."""
    parameters: dict[str, Any] = {
        "dataset": head.dataset,
        "features_type": settings.feature_extraction.features_type,
        "task": head.task,
        "output_classes": head.output_classes,
        "kind": _kind(settings),
        "repetition": repetition,
        **settings.training_defaults.model_dump(),
    }
    parameters["at_dataset"] = ", ".join(parameters["at_dataset"])
    for key in ("at_layer", "at_frozen_layer", "at_beta"):
        parameters[key] = _plain(parameters[key])
    for key, template in templates.items():
        parameters[key] = _fill_comment(f"{name}: {key} = {template}", template, parameters)
    parameters["comment_1"] = parameters["comment_1"] or parameters["kind"]
    return parameters


def _kind(settings: Settings) -> str:
    training = settings.training_defaults
    if training.anti_transfer and training.at_method != SIMILARITY:
        return training.at_method
    if training.anti_transfer:
        return "dual_anti_transfer" if training.at_pretraining else "anti_transfer"
    if training.gradient_reversal_label:
        return "gradient_reversal"
    return "weight_initialization" if training.at_pretraining else "baseline"


def _plain(groups: Sequence[Any]) -> Any:
    """((13,),) -> 13; ((3, 5), (13,)) -> '3, 5; 13'; () -> ''."""
    lists = [group if isinstance(group, tuple) else (group,) for group in groups]
    if len(lists) == 1 and len(lists[0]) == 1:
        return lists[0][0]
    return "; ".join(", ".join(str(value) for value in values) for values in lists)


def _fill_comment(place: str, template: str, parameters: Mapping[str, Any]) -> str:
    """Put parameters into {name} fields; nothing else of str.format is understood."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in parameters:
            raise ConfigError(f"{place}: no parameter {match[1]}{hint(match[1], parameters)}")
        return str(parameters[match[1]])

    return re.sub(r"\{([^{}]*)\}", value_of, template)
