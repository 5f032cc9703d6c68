"""Runs a function of a test file in several processes, as torchrun starts them."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from config.text import PROJECT_FOLDER

NUM_PROCESSES = 2
TIMEOUT = 120.0


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environments(num_processes: int = NUM_PROCESSES) -> list[dict[str, str]]:
    """What torchrun tells each process."""
    common = {
        **os.environ,
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "PYTHONPATH": str(PROJECT_FOLDER),
        "OMP_NUM_THREADS": "1",
    }
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes)]


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    output: str
    errors: str


def run_in_processes(file: str, function: str, argument: Path) -> list[Ended]:
    """Call a function in each process, and wait for all.

    Args:
        file: of the test.
        function: in it, which takes the argument as text.
    """
    code = f"import runpy; runpy.run_path({file!r})[{function!r}]({str(argument)!r})"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT_FOLDER,
        )
        for environment in environments()
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [
        Ended(process.returncode, *texts) for process, texts in zip(processes, outputs, strict=True)
    ]
