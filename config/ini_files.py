"""INI files as plain text values, with one-line errors for what is no INI file."""

import configparser
from pathlib import Path

from config.errors import ConfigError
from config.text import CONTROL_CHARACTER, display_path, printable

LONGEST_FILE = 1_000_000
# configparser takes time that grows with the square of a line's length.
LONGEST_LINE = 2_000


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """An INI file as {section: {key: text}}, keys as written.

    Raises:
        ConfigError: the file is missing, is no UTF-8 text, is no INI file, or is empty.
    """
    parser = configparser.RawConfigParser(
        comment_prefixes=("#", ";"), default_section="\0", empty_lines_in_values=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    name = printable(display_path(path))
    try:
        parser.read_string(_read_text(path, name), source=name)
    except configparser.Error as error:
        raise ConfigError(f"{name}: {_ini_problem(error)}") from None
    sections = {section: dict(parser.items(section)) for section in parser.sections()}
    if not sections:
        raise ConfigError(f"{name}: is empty: it holds no [section]")
    for section, values in sections.items():
        for key, value in values.items():
            if "\n" in value:
                raise ConfigError(
                    f"{name} [{printable(section)}] {printable(key)}: goes on in the next line; "
                    "a key starts at the beginning of its line"
                )
    return sections


def _read_text(path: Path, name: str) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigError(f"{name}: {printable(str(error))}") from None
    if len(text) > LONGEST_FILE:
        raise ConfigError(f"{name}: is longer than {LONGEST_FILE} characters")
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LONGEST_LINE:
            raise ConfigError(f"{name}: line {number}: is longer than {LONGEST_LINE} characters")
        if found := CONTROL_CHARACTER.search(line):
            raise ConfigError(f"{name}: line {number}: holds the character {found[0]!r}")
    return text


def _ini_problem(error: configparser.Error) -> str:
    line = getattr(error, "lineno", None)
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {line}: section [{printable(error.section)}] stands twice"
    if isinstance(error, configparser.DuplicateOptionError):
        place = f"[{printable(error.section)}] {printable(error.option)}"
        return f"line {line}: {place} stands twice"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {line}: a [section] must come before {printable(error.line.strip())}"
    if isinstance(error, configparser.ParsingError) and error.errors:
        line, text = error.errors[0]
        return f"line {line}: is neither [section] nor key = value: {printable(text)}"
    return printable(str(error))
