"""What every script shares: --config and --set, one-line errors with exit code 2, clean Ctrl-C."""

import argparse
import builtins
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from config import advice
from config.errors import UserError
from config.fields import path_argument
from config.ini_files import DEFAULT_PREFERENCE, load_settings
from config.log import command_log, logger
from config.process import prepare_process
from config.provenance import commit, suite_version, typed_command
from config.settings import Settings
from config.text import PROJECT_FOLDER, printable

PREPARATION_SECTIONS = ("preprocessing", "pretraining")
CONFIG_VARIABLE = "ANTI_TRANSFER_CONFIG"
EXIT_FAILED_RUNS = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
EXIT_BROKEN_PIPE = 141  # 128 and SIGPIPE, which not every system has
RESUME = "the same command continues where this stopped"
BEGIN_ANEW = "the same command begins anew what was not finished"
CLEANING_SECONDS = 3.0
LONGEST_MESSAGE = 1600


class CommandParser(argparse.ArgumentParser):
    """A parser that says in one line what it cannot understand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # What begins like -1,-1 (two runs at a time on the CPU) is no option.
        self._negative_number_matcher = re.compile(r"-\d")

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        _complain(f"error: {_one_line(message)}; --help shows what there is")
        sys.exit(EXIT_USER_ERROR)


class SettingsParser(CommandParser):
    """A parser whose arguments are those that commands in messages get."""

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Parse as always."""
        found = super().parse_known_args(*arguments, **options)
        found[0].typed = typed_command()
        advice.remember(found[0])
        return found


def settings_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows --config FILE and --set key=value, both repeatable.

    Files that the environment's ANTI_TRANSFER_CONFIG names come before those of --config.
    """
    parser = SettingsParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=path_argument,
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


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add --launcher and --address, for the commands that a cluster can do the work of.

    Each is --set for its key. Only Ray has an address, so that it need not be named besides.
    """
    parser.add_argument(
        "--launcher",
        metavar="local|ray",
        action="append",
        type="cluster.launcher={}".format,
        dest="overrides",
        help="who does the work; default: local, on this machine",
    )
    parser.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        action="extend",
        type=lambda address: ["cluster.launcher=ray", f"cluster.address={address}"],
        dest="overrides",
        help="of the Ray cluster; default: the one that runs here",
    )


def settings_from(
    arguments: argparse.Namespace, prefer: Sequence[str] = DEFAULT_PREFERENCE
) -> Settings:
    """Return the settings that parsed --config and --set arguments describe."""
    return load_settings(*arguments.config, overrides=arguments.overrides, prefer=prefer)


def log_to(folder: Path) -> None:
    """Let the command that runs append what it says to <command>.log in a folder."""
    found, is_changed = commit()
    code = f"commit {found}{', changed' if is_changed else ''}" if found else "of no checkout"
    first_line = f"{typed_command()} (suite {suite_version()}, {code})"
    command_log.begin(folder / f"{Path(sys.argv[0]).stem}.log", first_line)


def preparation_command(
    description: str | None,
    prepare: Callable[[Settings], object],
    folder_key: str = "output_folder",
) -> None:
    """Run a script that prepares data from the settings alone.

    Args:
        folder_key: the key of [preprocessing] that says where it writes.
    """
    parser = settings_parser(description)

    def command() -> None:
        settings = settings_from(parser.parse_args(), PREPARATION_SECTIONS)
        log_to(getattr(settings.preprocessing, folder_key))
        prepare(settings)

    run_command(command, BEGIN_ANEW)


class Terminated(KeyboardInterrupt):
    """SIGTERM, with which a cluster ends a job; cleaned up after as Ctrl-C is."""


@contextmanager
def _interruptions_taken() -> Iterator[None]:
    """Take Ctrl-C and SIGTERM: the first raises, so that everything is left in order.

    A second one would break into that; it is ignored for some seconds, then ends the process.
    Signals that are ignored already, as nohup has it, stay so.
    """
    process = os.getpid()
    first_at: float | None = None

    def on_signal(number: int, _frame: object) -> None:
        nonlocal first_at
        if os.getpid() != process:
            os._exit(128 + number)  # a forked worker, which has nothing to clean
        if first_at is None:
            first_at = time.monotonic()
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if time.monotonic() - first_at > CLEANING_SECONDS:
            os._exit(128 + number)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {
        number: handler
        for number, handler in handlers.items()
        if handler not in (signal.SIG_IGN, None)
    }
    for number in taken:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in taken.items():
            # If a signal ends the process, none may disturb its last moments, in which Python
            # would give its own handlers back to the system.
            signal.signal(number, handler if first_at is None else signal.SIG_IGN)


def run_command(command: Callable[[], int | None], resume: str = RESUME) -> None:
    """Run a script's main function and exit as a shell expects.

    Exit code 2 and one line for anything the user can put right, 130 after Ctrl-C, 143 after
    SIGTERM. In ipython, which has no exit code and would add lines of its own, the line alone.
    """
    with command_log.of_command():
        code = _exit_code(command, resume)
    if not hasattr(builtins, "__IPYTHON__"):
        sys.exit(code)


def _exit_code(command: Callable[[], int | None], resume: str) -> int:
    """Run a main function, say what ended it early, and return the exit code."""
    try:
        prepare_process()
        with _interruptions_taken():
            code = command()
        sys.stdout.flush()
    except SystemExit as ended:  # by the parser, which has said why
        code = int(ended.code or 0)
    except UserError as error:
        _complain(f"error: {_one_line(str(error))}")
        code = EXIT_USER_ERROR
    except Terminated:
        _complain(f"\nterminated: {resume}")
        code = EXIT_TERMINATED
    except KeyboardInterrupt:
        _complain(f"\ninterrupted: {resume}")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # of | head, which has read what it wants; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_BROKEN_PIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"error: {_one_line(f'{place}{error.strerror or error}')}")
        code = EXIT_USER_ERROR
    return code or 0


def _one_line(text: str) -> str:
    """Return the text on one line, without its middle if a slip made it very long."""
    line = printable(text)
    half = LONGEST_MESSAGE // 2
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:half]} ... {line[-half:]}"


def _complain(line: str) -> None:
    with suppress(OSError):  # the terminal, or the disk that it leads to, may be gone
        logger.error(line)


def _refuse_foreign_script() -> None:
    """Exit with code 2 if the script that runs is another checkout's than this code.

    Python looks for the code of preprocessing/x.py in that folder, not in the one above it, so it
    finds the checkout that is installed in the environment.
    """
    script = Path(sys.argv[0]).resolve()
    for folder in script.parents[:2]:
        if folder != PROJECT_FOLDER and (folder / "config" / "command_line.py").is_file():
            command = shlex.join(["python", *sys.argv])
            _complain(
                f"error: {sys.argv[0]} is of {folder}, but this environment has the code of "
                f"{PROJECT_FOLDER}; run: PYTHONPATH={shlex.quote(str(folder))} {command}"
            )
            sys.exit(EXIT_USER_ERROR)


# Not in run_command: a script may import what the other checkout does not have.
_refuse_foreign_script()
