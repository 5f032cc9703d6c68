"""INI files and --set arguments become typed, frozen settings, layer over layer.

A value carries the place it came from, so that an error can name it.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from config.errors import ConfigError
from config.ini_files import read_ini
from config.sections import (
    AGGREGATIONS,
    EXTRACTOR_PATH_KEY,
    MUL_COMP_EXPONENTS,
    NUM_CONVOLUTIONS,
    POOL,
    RANDOM,
    SECTIONS,
    WITHIN_CLASS,
    FeatureExtraction,
    Section,
    Settings,
    TrainingDefaults,
    features_types,
)
from config.text import PROJECT_FOLDER, display_path, hint, printable

__all__ = [
    "AGGREGATIONS",
    "DEFAULTS_FILE",
    "DEFAULT_PREFERENCE",
    "EXTRACTOR_PATH_KEY",
    "MUL_COMP_EXPONENTS",
    "NUM_CONVOLUTIONS",
    "POOL",
    "PROJECT_FOLDER",
    "RANDOM",
    "SECTIONS",
    "WITHIN_CLASS",
    "FeatureExtraction",
    "Layers",
    "Section",
    "Settings",
    "TrainingDefaults",
    "base_layers",
    "display_path",
    "hint",
    "load_settings",
    "parse_overrides",
    "printable",
    "read_ini",
]

DEFAULTS_FILE = PROJECT_FOLDER / "config" / "config.ini"
NUM_LONGEST_VALUE = 80
DEFAULT_PREFERENCE = ("training_defaults", "pretraining")


@dataclass(frozen=True)
class Entry:
    """A value as it was written, and where."""

    text: str
    source: str


class SectionLayer:
    """One section's values as written; checked once, however many settings share it."""

    def __init__(self, name: str, entries: Mapping[str, Entry]) -> None:
        self.name = name
        self.entries = dict(entries)

    @cached_property
    def checked(self) -> Section:
        """The values, typed and frozen.

        Raises:
            ConfigError: a value is of the wrong type or out of range.
        """
        values: dict[str, Any] = {}
        for key, entry in self.entries.items():
            match = EXTRACTOR_PATH_KEY.fullmatch(key)
            if match:
                values.setdefault("extractor_paths", {})[match["name"]] = entry.text
            else:
                values[key] = entry.text
        try:
            return SECTIONS[self.name].model_validate(values)
        except ValidationError as error:
            raise self._explain(error) from None

    def _explain(self, error: ValidationError) -> ConfigError:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        if key == "extractor_paths":
            key = f"at_{problem['loc'][1]}_model_path"
        entry = self.entries.get(key, Entry("", display_path(DEFAULTS_FILE)))
        reason = str(problem["msg"]).removeprefix("Value error, ")
        reason = reason.replace("Input should be", "must be")
        if problem["type"].startswith("bool"):
            reason = "must be True or False"
        choices = _literal_choices(SECTIONS[self.name], key)
        near = difflib.get_close_matches(entry.text.lower(), choices, n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        return self.error(key, reason + suggestion)

    def error(self, key: str, reason: str) -> ConfigError:
        """An error that names the place a value came from, the value, and what is wrong with it."""
        entry = self.entries.get(key)
        if entry is None:
            return ConfigError(f"{display_path(DEFAULTS_FILE)} [{self.name}] {key}: {reason}")
        found = printable(_shortened(entry.text))
        return ConfigError(f"{entry.source} [{self.name}] {key} = {found}: {reason}")


class Layers:
    """Values of all sections, later ones over earlier ones, each with its source."""

    def __init__(self, sections: Mapping[str, SectionLayer]) -> None:
        self.sections = dict(sections)

    @classmethod
    def from_defaults(cls) -> Self:
        """The layer that every other one lies on: config.ini.

        Raises:
            ConfigError: it holds a section or a key that no setting belongs to.
        """
        sections = {name: SectionLayer(name, {}) for name in SECTIONS}
        source = display_path(DEFAULTS_FILE)
        for section, values in read_ini(DEFAULTS_FILE).items():
            if section not in SECTIONS:
                raise _no_such_section(source, section)
            known = _keys_of(SECTIONS[section])
            for key in values:
                is_path = "extractor_paths" in known and EXTRACTOR_PATH_KEY.fullmatch(key)
                if not is_path and (key not in known or key == "extractor_paths"):
                    raise _no_such_key(source, section, key, known)
            entries = {key: Entry(value, source) for key, value in values.items()}
            sections[section] = SectionLayer(section, entries)
        return cls(sections)

    def with_section(self, source: str, section: str, values: Mapping[str, str]) -> "Layers":
        """A copy with one section's values on top; itself if that changes nothing.

        Raises:
            ConfigError: the section or a key is not one of config.ini.
        """
        if section not in self.sections:
            raise _no_such_section(source, section)
        known = self.sections[section].entries
        for key in values:
            if key not in known:
                raise _no_such_key(source, section, key, known)
        entries = known | {key: Entry(value, source) for key, value in values.items()}
        if entries == known:
            return self
        return Layers({**self.sections, section: SectionLayer(section, entries)})

    def with_file(self, path: Path) -> "Layers":
        """A copy with the values of an INI file on top."""
        layers = self
        for section, values in read_ini(path).items():
            layers = layers.with_section(display_path(path), section, values)
        return layers

    def with_overrides(
        self, overrides: Mapping[str, Any], prefer: Sequence[str] = DEFAULT_PREFERENCE
    ) -> "Layers":
        """A copy with --set values on top; a key alone is looked up in all sections."""
        layers = self
        for name, value in overrides.items():
            section, key = self._locate(name.strip(), prefer)
            text = "" if value is None else str(value).strip()
            source = printable(f"--set {name}={_shortened(text)}")
            layers = layers.with_section(source, section, {key: text})
        return layers

    def _locate(self, name: str, prefer: Sequence[str]) -> tuple[str, str]:
        section, dot, key = name.partition(".")
        if dot:
            return section, key
        owners = [owner for owner, layer in self.sections.items() if name in layer.entries]
        preferred = [owner for owner in prefer if owner in owners]
        if preferred:
            return preferred[0], name
        if not owners:
            keys = [key for layer in self.sections.values() for key in layer.entries]
            raise ConfigError(f"--set {name}: no such key{hint(name, keys)}")
        if len(owners) > 1:
            places = " or ".join(f"{owner}.{name}" for owner in owners)
            raise ConfigError(f"--set {name}: several sections have this key; write {places}")
        return owners[0], name

    def settings(self) -> Settings:
        """Check every value and freeze them.

        Raises:
            ConfigError: a value is of the wrong type, out of range, or contradicts another.
        """
        sections = {name: layer.checked for name, layer in self.sections.items()}
        settings = Settings.model_validate(sections)
        self._check_splits(settings.training_defaults)
        self._check_windows(settings.feature_extraction)
        self._check_anti_transfer(settings.training_defaults)
        self._check_gradient_reversal(settings.training_defaults)
        return settings

    def _check_splits(self, training: TrainingDefaults) -> None:
        if abs(sum(training.fractions) - 1) > 1e-6:
            raise self.sections["training_defaults"].error(
                "train_split",
                "train_split, validation_split and test_split must add up to 1, "
                f"not {sum(training.fractions):g}",
            )
        if min(training.fractions) <= 0:
            raise self.sections["training_defaults"].error("train_split", "no split may be 0")

    def _check_windows(self, features: FeatureExtraction) -> None:
        for fft_key, window_key in (
            ("fft_size", "window_size"),
            ("fft_size_mfcc", "window_size_mfcc"),
        ):
            if getattr(features, fft_key) < getattr(features, window_key):
                raise self.sections["feature_extraction"].error(
                    fft_key,
                    f"must be at least {window_key} ({getattr(features, window_key)})",
                )

    def _check_anti_transfer(self, training: TrainingDefaults) -> None:
        layer, networks = self.sections["training_defaults"], len(training.at_dataset)
        if training.at_pretraining == RANDOM:
            reason = "every training starts from random weights; leave it empty"
            raise layer.error("at_pretraining", reason)
        if not training.anti_transfer:
            return
        if not training.at_dataset:
            raise layer.error("at_dataset", "anti_transfer = True needs an extractor here")
        trained = [name for name in training.at_dataset if name != RANDOM]
        if len(set(trained)) < len(trained):
            raise layer.error("at_dataset", "an extractor stands twice; give it several layers")
        if not training.at_layer or not all(training.at_layer):
            raise layer.error("at_layer", "anti_transfer = True needs a convolution, 1-13")
        for key in ("at_layer", "at_beta"):
            groups = getattr(training, key)
            if len(groups) not in (1, networks):
                raise layer.error(
                    key,
                    f"must be one value for all, or {networks} separated by ; "
                    "(one for each network of at_dataset)",
                )
        if (training.at_aggregation == POOL) != (training.at_distance == WITHIN_CLASS):
            reason = (
                f"at_aggregation = {POOL} and at_distance = {WITHIN_CLASS} belong together; found "
                f"at_aggregation = {training.at_aggregation}, at_distance = {training.at_distance}"
            )
            key = "at_aggregation" if training.at_aggregation == POOL else "at_distance"
            raise layer.error(key, reason)

    def _check_gradient_reversal(self, training: TrainingDefaults) -> None:
        wanted = (training.gradient_reversal_label, training.gradient_reversal_layer)
        if (wanted[0] is None) != (wanted[1] is None):
            missing, given = ("label", "layer") if wanted[0] is None else ("layer", "label")
            raise self.sections["training_defaults"].error(
                f"gradient_reversal_{missing}", f"must be given, as gradient_reversal_{given} is"
            )


def _literal_choices(model: type[Section], key: str) -> list[str]:
    field = model.model_fields.get(key)
    if field is None:
        return []
    if key == "at_aggregation":
        return list(AGGREGATIONS)
    if key == "features_type":
        return list(features_types())
    return [
        choice for choice in getattr(field.annotation, "__args__", ()) if isinstance(choice, str)
    ]


def _keys_of(model: type[Section]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _no_such_section(source: str, section: str) -> ConfigError:
    return ConfigError(f"{source} [{printable(section)}]: no such section{hint(section, SECTIONS)}")


def _no_such_key(source: str, section: str, key: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(f"{source} [{section}] {printable(key)}: no such key{hint(key, known)}")


def _shortened(text: str) -> str:
    return text if len(text) <= NUM_LONGEST_VALUE else text[: NUM_LONGEST_VALUE - 3] + "..."


def base_layers(*files: str | Path) -> Layers:
    """config.ini with further INI files on top."""
    layers = Layers.from_defaults()
    for file in files:
        layers = layers.with_file(Path(file))
    return layers


def parse_overrides(overrides: Mapping[str, Any] | Iterable[str] | None) -> dict[str, Any]:
    """--set arguments (key=value) as a mapping; a mapping stays what it is.

    Raises:
        ConfigError: an argument holds no '='.
    """
    if overrides is None:
        return {}
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed = {}
    for argument in overrides:
        name, equals, value = argument.partition("=")
        if not equals or not name.strip():
            raise ConfigError(
                f"--set {printable(argument)}: must be key=value or section.key=value"
            )
        parsed[printable(name)] = value
    return parsed


def load_settings(
    *files: str | Path,
    overrides: Mapping[str, Any] | Iterable[str] | None = None,
    prefer: Sequence[str] = DEFAULT_PREFERENCE,
) -> Settings:
    """config.ini, then the given INI files, then overrides; checked and frozen.

    Args:
        files: INI files that hold only what differs from config.ini; later ones win.
        overrides: {"key": value} or {"section.key": value}, or a list of "key=value".
        prefer: sections that a key without a section belongs to, if several have it.

    Raises:
        ConfigError: in one line, the file, section, key and value that is not allowed, and what is.
    """
    layers = base_layers(*files)
    return layers.with_overrides(parse_overrides(overrides), prefer).settings()
