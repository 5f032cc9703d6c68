"""Where a result comes from: code, packages, command and machine. Nothing is compared by it."""

import builtins
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import advice
from config.text import PROJECT_FOLDER

if TYPE_CHECKING:
    import torch

GIT_SECONDS = 5.0


@cache
def suite_version() -> str:
    """Return the version that pyproject.toml states."""
    text = (PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


@cache
def commit() -> tuple[str | None, bool]:
    """Return the commit of the code, and whether files of it have been changed since.

    None where the project's folder is no checkout, or git does not answer. Files that git does not
    know count as no change: to find them it would search all folders of data.
    """
    if not (PROJECT_FOLDER / ".git").exists():
        return None, False
    command = "git --no-optional-locks describe --always --abbrev=40 --exclude=* --dirty"
    try:
        done = subprocess.run(
            command.split(),
            cwd=PROJECT_FOLDER,
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None, False
    found, _, changed = done.stdout.strip().partition("-")
    return found, bool(changed)


@cache
def _packages() -> dict[str, str]:
    """Return the versions of the packages of requirements.txt that are installed."""
    text = (PROJECT_FOLDER / "requirements.txt").read_text(encoding="utf-8")
    found = {}
    for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def typed_command() -> str:
    """Return the command that started this process, quoted for a shell."""
    if hasattr(builtins, "__IPYTHON__"):
        return f"run {shlex.join(sys.argv)}"
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun was typed, and started this process
        import psutil

        return shlex.join(psutil.Process(os.getppid()).cmdline())
    return shlex.join(sys.orig_argv)


@cache
def processor() -> str:
    """Return the model of the CPU."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def process_provenance() -> dict[str, Any]:
    """Return what is the same for all that a process makes."""
    found, is_changed = commit()
    return {
        "suite": suite_version(),
        "commit": found,
        "changed": is_changed,
        "packages": _packages(),
        # A process that the typed command has started got its command line.
        "command": getattr(advice.given(), "typed", None) or typed_command(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
    }


def provenance(device: "torch.device", started: datetime, seconds: float) -> dict[str, Any]:
    """Return where a training's result comes from.

    Args:
        started: when the process began with it that finished it.
        seconds: of its epochs, those before an interruption included.
    """
    import torch

    on_gpu = device.type == "cuda"
    return {
        **process_provenance(),
        "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "threads": torch.get_num_threads(),
        "started": started.astimezone().isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }
