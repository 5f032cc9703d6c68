"""What is seen of the progress on terminals of several widths, and in a log."""

import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

from config.text import PROJECT_FOLDER
from tests.conftest import run_python

EPOCHS = """
from config import progress
progress.LOG_SECONDS = 0.0
note = "loss 12.3, val 12.3, acc 0.137"
title = "experiment 200 run 10 layer3_repetition9 fold 4"
with progress.ProgressBar(100, title, "epoch", 9) as bar:
    bar._bar.mininterval = 0
    for _ in range(3):
        bar.advance(note=note)
"""
SWEEP = """
from training.sweep.progress import Progress, above_bars
with Progress(24, 3) as progress:
    with above_bars():
        print("experiment 1 run 4: collapsed")
    progress.end_run("experiment 1 run 4 (5 s)", 5.0, 1)
    progress.fail_run("failed: experiment 1 run 5")
"""


def on_terminal(code: str, columns: int, **environment: str) -> str:
    """Run code with stdout and stderr on a terminal; return all that it was sent."""
    main, end = pty.openpty()
    ioctl(end, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT_FOLDER,
        env=os.environ | environment,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    sent = b""
    try:
        while block := os.read(main, 65536):
            sent += block
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(main)
    assert process.wait(60) == 0
    return sent.decode()


@pytest.mark.parametrize("columns", [60, 80])
def test_a_terminal_of_any_width_shows_the_metrics(columns: int) -> None:
    states = re.split(r"[\r\n]+", on_terminal(EPOCHS, columns, TERM="xterm"))
    assert all(len(state) <= columns for state in states)
    shown = [state for state in states if "epoch 12/100" in state]
    assert shown
    assert "left, loss 12.3, val 12.3, acc 0.137" in shown[-1]
    assert ("experiment 200 run 10" in shown[-1]) == (columns >= 80)


def test_a_terminal_that_moves_no_cursor_gets_lines_as_a_log_does() -> None:
    log = run_python("-c", EPOCHS).stderr
    dumb = on_terminal(EPOCHS, 80, TERM="dumb").replace("\r\n", "\n")
    for text in (log, dumb):
        assert [line.partition(",")[0] for line in text.splitlines()] == [
            "epoch 10/100",
            "epoch 11/100",
            "epoch 12/100",
        ]
        assert "left, loss 12.3, val 12.3, acc 0.137: experiment 200 run 10" in text
        assert not re.search(r"[\r\x1b]", text)


def test_a_sweep_has_one_bar_with_the_time_left_below_what_is_printed() -> None:
    """20 of 24 runs are left, of 5 s each; one that failed is not waited for."""
    sent = on_terminal(SWEEP, 80, TERM="xterm")
    lines = [line.split("\r")[-1] for line in sent.replace("\r\n", "\n").split("\n")]
    assert [line for line in lines if line.startswith(("experiment", "failed"))] == [
        "experiment 1 run 4: collapsed",
        "experiment 1 run 4 (5 s)",
        "failed: experiment 1 run 5",
    ]
    states = re.split(r"[\r\n]+", sent)
    assert any(re.fullmatch(r"runs 3/24 \|.{20}\| \? left", state) for state in states)
    assert any(re.fullmatch(r"runs 4/24 \|.{20}\| 01:40 left", state) for state in states)
    assert any(re.match(r"runs 4/24 \|.{20}\| 01:40 left, 1 failed", state) for state in states)


def test_a_log_of_a_sweep_has_a_line_for_each_run() -> None:
    done = run_python("-c", SWEEP)
    assert (done.stdout, done.stderr) == (
        "experiment 1 run 4: collapsed\n4/24 done, 01:40 left: experiment 1 run 4 (5 s)\n",
        "failed: experiment 1 run 5\n",
    )
