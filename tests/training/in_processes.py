"""Runs a function of a test file in several processes, as torchrun starts them."""

import os
import socket
import subprocess
import sys
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


def run_in_processes(
    file: str, function: str, argument: Path
) -> list["subprocess.CompletedProcess[str]"]:
    """Call a function in each process, and wait for all.

    Args:
        file: of the test.
        function: in it, which takes the argument as text.
    """
    code = f"import runpy; runpy.run_path({file!r})[{function!r}]({str(argument)!r})"
    common = {
        **os.environ,
        "WORLD_SIZE": str(NUM_PROCESSES),
        "LOCAL_WORLD_SIZE": str(NUM_PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "PYTHONPATH": str(PROJECT_FOLDER),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT_FOLDER,
        )
        for rank in range(NUM_PROCESSES)
    ]
    try:
        return [
            subprocess.CompletedProcess(code, process.wait(), *texts)
            for process in processes
            for texts in (process.communicate(timeout=TIMEOUT),)
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()
