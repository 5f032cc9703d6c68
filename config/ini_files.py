"""INI files as plain text values, with one-line errors for what is no INI file."""

import configparser
from pathlib import Path

from config.errors import ConfigError
from config.text import display_path, printable


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """An INI file as {section: {key: text}}, keys as written.

    Raises:
        ConfigError: the file is missing, is no UTF-8 text, or is no INI file.
    """
    parser = configparser.RawConfigParser(
        comment_prefixes=("#", ";"), default_section="\0", empty_lines_in_values=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    name = printable(display_path(path))
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=name)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigError(f"{name}: {printable(str(error))}") from None
    except configparser.Error as error:
        raise ConfigError(f"{name}: {_ini_problem(error)}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


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
