"""INI files and --set arguments become checked settings, layer over layer.

A value carries the place it came from, so that an error can name it.
"""

import configparser
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from config.declarations import DECLARATIONS
from config.errors import ConfigError
from config.fields import COMMENT, NAME, ContradictionError, Section
from config.released import RENAMED_KEYS, current, replacement
from config.settings import SECTIONS, Settings
from config.text import PROJECT_FOLDER, display_path, hint

DEFAULTS_FILE = PROJECT_FOLDER / "config" / "config.ini"
# Of the sections that have a key, the one that --set key=value means.
DEFAULT_PREFERENCE = ("training_defaults", "pretraining")
Model = TypeVar("Model", bound=BaseModel)
Overrides = Mapping[str, Any] | Iterable[str] | None


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """Return an INI file as {section: {key: text}}, keys as written.

    Raises:
        ConfigError: the file is missing, is no UTF-8 text, is no INI file, or is empty.
    """
    parser = configparser.RawConfigParser(
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=("# ",),
        default_section="\0",
        empty_lines_in_values=False,
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    name = display_path(path)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=name)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text") from None
    except configparser.Error as error:
        raise ConfigError(f"{name}: {_ini_problem(error)}") from None
    sections = {section: dict(parser.items(section)) for section in parser.sections()}
    if not sections:
        raise ConfigError(f"{name}: is empty: it holds no [section]")
    for section, values in sections.items():
        for key, value in values.items():
            if "\n" in value:
                raise ConfigError(
                    f"{name} [{section}] {key}: goes on in the next line; "
                    "a key starts at the beginning of its line"
                )
    return sections


def _ini_problem(error: configparser.Error) -> str:
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: section [{error.section}] is given twice"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: [{error.section}] {error.option} is given twice"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: a [section] must come before {error.line.strip()}"
    if isinstance(error, configparser.ParsingError):
        line, text = error.errors[0]
        return f"line {line}: is neither [section] nor key = value: {text}"
    return str(error)


@dataclass(frozen=True)
class Entry:
    """A value as it was written, where, and the folder that a declared path starts at."""

    text: str
    source: str
    folder: Path = PROJECT_FOLDER


def checked(model: type[Model], section: str, entries: Mapping[str, Entry]) -> Model:
    """Return a section's values, typed and frozen.

    Raises:
        ConfigError: a key is unknown or missing, a value of the wrong type, out of range, or in
            contradiction to another; names the place of the first, and what is allowed.
    """
    try:
        return model.model_validate(
            {key: entry.text for key, entry in entries.items()},
            context=entries,
        )
    except ValidationError as error:
        problems = error.errors()
    unknown = (each for each in problems if each["type"] == "extra_forbidden")
    problem = next(unknown, problems[0])
    cause = problem.get("ctx", {}).get("error")
    key = cause.key if isinstance(cause, ContradictionError) else str(problem["loc"][0])
    if key not in entries:
        source = next(iter(entries.values()), Entry("", display_path(DEFAULTS_FILE))).source
        raise ConfigError(f"{source} [{section}] {key}: {cause or 'must be given'}".lstrip())
    place, text = f"{entries[key].source} [{section}] {key}", entries[key].text
    if problem["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        raise ConfigError(f"{place}: no such key{replacement(key, known)}")
    reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if problem["type"].startswith("bool"):
        reason = "must be True or False"
    if problem["type"] == "path_type":
        reason = "must be a path"
    if "comment" not in reason and re.search(COMMENT, text):
        reason += "; a comment takes a line of its own"
    near = difflib.get_close_matches(text.lower(), re.findall(r"'(\S+)'", reason), n=1)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"{place} = {text}: {reason}{suggestion}")


def _entries(
    source: str, section: str, values: Mapping[str, str], folder: Path
) -> dict[str, Entry]:
    """Return one section's entries by the present names of their keys."""
    entries: dict[str, Entry] = {}
    written: dict[str, str] = {}
    for key, value in values.items():
        place = f"{source} [{section}] {key} = {value}"
        try:
            name, text = current(key, value)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from None
        if name in entries and entries[name].text != text:
            raise ConfigError(f"{place}: contradicts {written[name]}; leave one of them out")
        entries[name], written[name] = Entry(text, source, folder), f"{key} = {value}"
    return entries


class Layers:
    """Values of all sections, later ones over earlier ones, each with its source."""

    def __init__(self, sections: Mapping[str, Mapping[str, Entry]]) -> None:
        self.sections = sections

    def with_section(
        self, source: str, section: str, values: Mapping[str, str], folder: Path = PROJECT_FOLDER
    ) -> "Layers":
        """Return a copy with one section's values on top; folder: where declared paths start.

        Raises:
            ConfigError: there is no such section, or a key and another name of it contradict.
        """
        kind, _, name = section.partition(" ")
        if section not in SECTIONS and (kind not in DECLARATIONS or not NAME.fullmatch(name)):
            known = [*SECTIONS, *(f"{kind} NAME" for kind in DECLARATIONS)]
            raise ConfigError(f"{source} [{section}]: no such section{replacement(section, known)}")
        own = _entries(source, section, values, folder)
        return Layers({**self.sections, section: {**self.sections.get(section, {}), **own}})

    def with_file(self, path: Path) -> "Layers":
        """Return a copy with the values of an INI file on top."""
        layers, folder = self, path.resolve().parent
        for section, values in read_ini(path).items():
            layers = layers.with_section(display_path(path), section, values, folder)
        return layers

    def with_overrides(
        self, overrides: Mapping[str, Any], prefer: Sequence[str] = DEFAULT_PREFERENCE
    ) -> "Layers":
        """Return a copy with --set values on top; a key alone is looked up in all sections."""
        chosen: dict[str, dict[str, str]] = {}
        for name, value in overrides.items():
            section, key = self._locate(name.strip(), prefer)
            chosen.setdefault(section, {})[key] = "" if value is None else str(value).strip()
        layers = self
        for section, values in chosen.items():
            layers = layers.with_section("--set", section, values, Path.cwd())
        return layers

    def _locate(self, name: str, prefer: Sequence[str]) -> tuple[str, str]:
        section, dot, key = name.partition(".")
        if dot:
            return section, key
        known = RENAMED_KEYS.get(name, name)
        sections = {each: self.sections.get(each, {}) for each in SECTIONS}
        owners = [owner for owner, entries in sections.items() if known in entries]
        preferred = [owner for owner in prefer if owner in owners]
        if preferred:
            return preferred[0], name
        if not owners:
            keys = [key for entries in sections.values() for key in entries]
            raise ConfigError(f"--set {name}: no such key{replacement(name, keys)}")
        if len(owners) > 1:
            places = " or ".join(f"{owner}.{name}" for owner in owners)
            raise ConfigError(f"--set {name}: several sections have this key; write {places}")
        return owners[0], name

    def settings(self) -> Settings:
        """Check every value and freeze them.

        Raises:
            ConfigError: a key is unknown, or a value is not allowed.
        """
        sections = {
            name: checked(model, name, self.sections.get(name, {}))
            for name, model in SECTIONS.items()
        }
        declared = {
            attribute: self._declared(kind, model)
            for kind, (attribute, model) in DECLARATIONS.items()
        }
        settings = Settings.model_validate({**sections, **declared})
        self._check_names(settings)
        return settings

    def _check_names(self, settings: Settings) -> None:
        """Refuse a network that nothing declares, and a name that is declared as two things."""
        chosen = {"training_defaults": settings.training_defaults.network}
        for extractor in settings.extractors.values():
            if extractor.name in settings.networks:
                name = extractor.name
                raise ConfigError(
                    f"[extractor {name}], [network {name}]: are two things of one name; rename one"
                )
            if extractor.network:
                chosen[f"extractor {extractor.name}"] = extractor.network
        for section, network in chosen.items():
            if network not in settings.networks:
                source = self.sections[section]["network"].source
                raise ConfigError(
                    f"{source} [{section}] network = {network}: no such network"
                    f"{hint(network, settings.networks)}"
                )

    def _declared(self, kind: str, model: type[Section]) -> dict[str, Section]:
        """Return what is declared of one kind, by name."""
        declared = {}
        for section, entries in self.sections.items():
            first, _, name = section.partition(" ")
            if first != kind or section in SECTIONS:
                continue
            if "name" in entries:
                place = f"{entries['name'].source} [{section}] name"
                raise ConfigError(f"{place}: no such key; [{kind} NAME] gives the name")
            declared[name] = checked(model, section, {**entries, "name": Entry(name, "")})
        return declared


def base_layers(*files: str | Path) -> Layers:
    """Return config.ini with further INI files on top."""
    layers = Layers({})
    for file in (DEFAULTS_FILE, *files):
        layers = layers.with_file(Path(file))
    return layers


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return --set arguments (key=value) as a mapping; a mapping stays what it is.

    Raises:
        ConfigError: an argument holds no '='.
    """
    if overrides is None or isinstance(overrides, Mapping):
        return dict(overrides or {})
    parsed = {}
    for argument in overrides:
        name, equals, value = argument.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set {argument}: must be key=value or section.key=value")
        parsed[name] = value
    return parsed


def load_settings(
    *files: str | Path, overrides: Overrides = None, prefer: Sequence[str] = DEFAULT_PREFERENCE
) -> Settings:
    """Return config.ini, then the given INI files, then overrides; checked and frozen.

    Args:
        files: INI files that hold only what differs from config.ini; later ones win.
        overrides: {"key": value} or {"section.key": value}, or a list of "key=value".
        prefer: sections that a key without a section belongs to, if several have it.

    Raises:
        ConfigError: in one line, the file, section, key and value that is not allowed, and what is.
    """
    return base_layers(*files).with_overrides(parse_overrides(overrides), prefer).settings()
