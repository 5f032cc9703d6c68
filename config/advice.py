"""Commands in messages, to be typed as they stand: with the settings of the command that runs.

What is typed later must read and write the same folders, so it gets --config, --set and
--experiments of the command line that was parsed last in this process, and in another current
folder the project's.
"""

import argparse
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import UserError
from config.ini_files import load_settings
from config.selection import CPU, EXPERIMENTS_FOLDER, MANAGER, parse_selection
from config.settings import Settings, TrainingDefaults
from config.text import PROJECT_FOLDER

# These take experiment files; all commands take --config and --set.
OF_EXPERIMENTS = (MANAGER, "python plotting/report.py", "python training/invariance.py")
# Of [training_defaults], what an extractor must have in common with a run.
OF_NETWORKS = ("network", "width")
NOTHING = argparse.Namespace(config=[], overrides=[])

# The last is that of this process.
_command_lines = [NOTHING]


@dataclass(frozen=True)
class Missing:
    """Something an experiment needs, why it cannot be used, and the command that makes it.

    command: as it is to be typed; "": the problem says what to do.
    """

    problem: str
    command: str = ""


def remember(arguments: argparse.Namespace) -> None:
    """Take a parsed command line as that of this process."""
    _command_lines.append(arguments)


def given() -> argparse.Namespace:
    """Return the command line, for the processes that this one starts."""
    return _command_lines[-1]


def gpu() -> int:
    """Return the GPU that was asked for; else 0 if there is one, else the CPU, without torch."""
    asked = _asked_gpus()
    if not asked:
        return 0 if shutil.which("nvidia-smi") else CPU
    return asked[0]


def on_gpu(command: str) -> str:
    """Return a command that needs no GPU to be named, with the one that was asked for."""
    return " ".join([command, *map(str, _asked_gpus()[:1])])


def _asked_gpus() -> tuple[int, ...]:
    if "words" not in given():
        return tuple(getattr(given(), "gpu", ()))
    try:
        return parse_selection(given().words).gpus
    except UserError:
        return ()


def again(command: str) -> str:
    """Return a command that is to do what this one does: with all of its settings."""
    return _with(command, given().overrides)


def beforehand(command: str, settings: Settings | None = None) -> str:
    """Return a command that makes what this one needs.

    It gets this one's folders, features and network, and not what is only about its own training.

    Args:
        settings: of an experiment, whose file may change features and network.
    """
    overrides = [each for each in given().overrides if not _is_of_training(each)]
    changes = [] if settings is None else _changes_of(settings, overrides)
    return _with(command, overrides + changes)


def run_again(experiment: int, numbers: Sequence[int] = (), *options: str) -> str:
    """Return the command that runs some instances; none: all of the experiment."""
    words = ["python", "experiments_manager.py", f"[{experiment}]", str(gpu())]
    if numbers:
        first, last = min(numbers), max(numbers)
        is_range = len(numbers) == last - first + 1
        words += [str(first), str(last)] if is_range else [f"[{','.join(map(str, numbers))}]"]
    return again(" ".join([*words, *options]))


def _is_of_training(override: str) -> bool:
    section, _, key = override.partition("=")[0].strip().rpartition(".")
    if section not in ("", "training_defaults") or key not in TrainingDefaults.model_fields:
        return False
    return key not in OF_NETWORKS and not key.endswith("_model_path")


def _with(command: str, overrides: Sequence[str]) -> str:
    options: list[str] = []
    folder = getattr(given(), "experiments", EXPERIMENTS_FOLDER)
    if command.startswith(OF_EXPERIMENTS) and folder != EXPERIMENTS_FOLDER:
        options += ["--experiments", str(folder)]
    options += [word for file in given().config for word in ("--config", str(file))]
    options += [word for override in overrides for word in ("--set", override)]
    if Path.cwd() != PROJECT_FOLDER:
        command = re.sub(r"\S+\.py\b", _in_project, command, count=1)
    return " ".join([command, *map(shlex.quote, options)])


def _in_project(script: re.Match[str]) -> str:
    return shlex.quote(str(PROJECT_FOLDER / script[0]))


def _changes_of(settings: Settings, overrides: Sequence[str]) -> list[str]:
    """Return what an experiment file changes of the features and of the network, as for --set."""
    base = load_settings(*given().config, overrides=overrides)
    wanted, usual = (
        {f"feature_extraction.{key}": value for key, value in each.feature_extraction}
        | {f"training_defaults.{key}": getattr(each.training_defaults, key) for key in OF_NETWORKS}
        for each in (settings, base)
    )
    return [
        f"{key}={'' if value is None else value}"
        for key, value in wanted.items()
        if value != usual[key]
    ]
