"""Commands that are killed at random moments, and a process that trains many instances.

Longer: python -m tests.soak.kills --kills 200, python -m tests.soak.instances --instances 200
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from openpyxl import Workbook

import experiments_manager
from tests.soak.comparison import differences, same_values
from tests.soak.instances import Sample, growth, num_hooks, run_instances
from tests.soak.kills import Changes

ROOT = Path(experiments_manager.__file__).parent
NUM_KILLS = 24
STAGES = ("experiments", "pretraining", "preprocessing", "mixing")
ROW = re.compile(r"^(\w+) +(\d+) +(\d+) +(\d+) +(\d+) +[\d.]+$", re.MULTILINE)


def test_what_is_killed_goes_on_to_the_same_results() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.kills", "--kills", str(NUM_KILLS), "--seed", "3"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {
        row[1]: [int(number) for number in row.groups()[1:]] for row in ROW.finditer(done.stdout)
    }
    assert tuple(rows) == STAGES
    for kills, restarts, folders, different in rows.values():
        assert kills == NUM_KILLS // len(STAGES)
        assert restarts >= kills + folders
        assert different == 0


def test_the_comparison_sees_what_differs(tmp_path: Path) -> None:
    """A bit of a weight, a cell, a value in JSON, files too many and missing."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, number in ((first, 1.0), (second, 1.0 + 2**-23)):
        folder.mkdir()
        torch.save({"weight": torch.tensor([number])}, folder / "model.pt")
        torch.save({"weight": torch.tensor([1.0])}, folder / "same.pt")
        (folder / "twin.json").write_text(f'{{"loss": {number}}}')
        (folder / "matrix.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([int(number != 1)]))
        (folder / "clip.wav").write_bytes(f"{number}".encode())
        book = Workbook()
        book.worksheets[0]["B2"] = number
        book.save(folder / "sheet.xlsx")
    (first / ".twin.vm-1.partial.json").touch()
    (second / "history.png").touch()
    (first / "run.lock").touch()
    (first / "matrix.npy").unlink()
    assert differences(first, second) == [
        ".twin.vm-1.partial.json: left over",
        "history.png: missing",
        "matrix.npy: missing",
        "clip.wav: differs",
        "model.pt: differs",
        "sheet.xlsx: differs",
        "twin.json: differs",
    ]
    assert differences(first, first) == []
    assert not same_values({"a": 1}, {"a": 1.0})
    assert not same_values([1.0], [float("nan")])


def test_a_process_is_killed_right_before_the_change_that_is_drawn(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    child = os.fork()
    if not child:
        os.setsid()
        sys.addaudithook(Changes(kill_before=3))
        for name in names:
            (tmp_path / name).write_text(name)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_many_instances_leave_nothing_behind(tmp_path: Path) -> None:
    samples = run_instances(40, tmp_path)
    grown = growth(samples)
    assert grown.handles == grown.threads == grown.modules == 0
    assert grown.most_hooks == grown.most_figures == 0
    assert grown.memory_megabytes < 8
    assert samples[-1].modules > 0


def test_growth_is_from_the_second_quarter_to_the_last() -> None:
    samples = [
        Sample(memory=number << 20, handles=number, threads=1, modules=2, hooks=0, figures=0)
        for number in range(8)
    ]
    # Second quarter 2 and 3, last one 6 and 7.
    assert growth(samples).memory_megabytes == pytest.approx(4)
    assert growth(samples).handles == 4


def test_hooks_of_every_kind_are_counted() -> None:
    module = torch.nn.ReLU()
    assert num_hooks(module) == 0
    module.register_forward_hook(lambda *_: None)
    module.register_forward_pre_hook(lambda *_: None)
    module.register_full_backward_hook(lambda *_: None)
    assert num_hooks(module) == 3
