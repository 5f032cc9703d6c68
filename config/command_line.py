"""What every script shares: --config and --set, one-line errors with exit code 2, clean Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from config.errors import UserError
from config.settings import DEFAULT_PREFERENCE, Settings, load_settings, printable

PREPARATION_SECTIONS = ("preprocessing", "pretraining")
CONFIG_VARIABLE = "ANTI_TRANSFER_CONFIG"
EXIT_FAILED_RUNS = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def settings_parser(description: str) -> argparse.ArgumentParser:
    """A parser that knows --config FILE and --set key=value, both repeatable.

    Files that the environment's ANTI_TRANSFER_CONFIG names come before those of --config.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[name for name in os.environ.get(CONFIG_VARIABLE, "").split(os.pathsep) if name],
        help="an INI file that holds what differs from config/config.ini; may be repeated",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="one value (key=value or section.key=value); may be repeated; wins over all files",
    )
    return parser


def settings_from(
    arguments: argparse.Namespace, prefer: Sequence[str] = DEFAULT_PREFERENCE
) -> Settings:
    """The settings that parsed --config and --set arguments describe."""
    return load_settings(*arguments.config, overrides=arguments.overrides, prefer=prefer)


def preparation_command(description: str | None, prepare: Callable[[Settings], object]) -> None:
    """The main function of a script that prepares data from the settings alone."""
    arguments = settings_parser(description or "").parse_args()
    run_command(lambda: _no_code(prepare(settings_from(arguments, PREPARATION_SECTIONS))))


def _no_code(_result: object) -> None:
    """A result of work is no exit code."""


def run_command(command: Callable[[], int | None], resume: str = "the same command") -> None:
    """Run a script's main function and exit as a shell expects.

    Exit code 2 and one line for anything the user can put right, 130 after Ctrl-C.
    """
    # Threads of torch that wait by spinning for long make a run several times slower on busy cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        code = command()
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"\ninterrupted: {resume} continues where this stopped", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {printable(place)}{error.strerror or error}", file=sys.stderr)
        code = EXIT_USER_ERROR
    sys.exit(code or 0)
