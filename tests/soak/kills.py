"""Kill the real commands at random moments, let them go on, and compare with undisturbed runs.

python -m tests.soak.kills --kills 200 --seed 1                    all stages
python -m tests.soak.kills --kills 20 --stage experiments          one of them

Half of the kills come after a random time, half right before a random change of the file system
(a file is opened for writing, renamed or removed), where little time is spent and much can break.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.soak.comparison import differences
from tests.soak.stages import STAGES, Command, Stage, import_once, rounds, save_often

MOST_KILLS_IN_A_ROW = 6
CHANGES = ("os.rename", "os.remove")
SECONDS_FOR_ORPHANS = 20
POLLING_SECONDS = 0.002


@dataclass(frozen=True)
class Undisturbed:
    """What a run does that nobody kills: its results, seconds and changes of the file system."""

    results: Path
    seconds: float
    num_changes: int


@dataclass
class Report:
    """A line of the table."""

    stage: str
    kills: int = 0
    restarts: int = 0
    rounds: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


class Changes:
    """Counts changes of the file system; a process that makes the wanted one is killed first."""

    def __init__(self, kill_before: int | None) -> None:
        self.count = 0
        self.kill_before = kill_before

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if event in CHANGES or is_writing:
            self.count += 1
            if self.count == self.kill_before:
                os.killpg(os.getpgrp(), signal.SIGKILL)


def start(command: Callable[[], int], log: Path, kill_before: int | None) -> int:
    """Run a command in a process of its own group; returns its id.

    It writes what it prints to the log, and at its end the number of changes beside it.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        changes = Changes(kill_before)
        sys.addaudithook(changes)
        code = command()
        log.with_suffix(".changes").write_text(str(changes.count))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """A process's exit code (negative: killed) if it ends within the given time, or else None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLLING_SECONDS)
    return None


def num_left(group: int, seconds: float) -> int:
    """Processes of a group that are still there after the given time."""
    deadline = time.monotonic() + seconds
    while True:
        members = [each for each in psutil.process_iter() if _is_member(each, group)]
        if not members or time.monotonic() > deadline:
            return len(members)
        time.sleep(POLLING_SECONDS)


def _is_member(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


class Driver:
    """Kills one stage again and again.

    Args:
        folder: for inputs, results and logs.
        generator: draws the moments.
    """

    def __init__(self, stage: Stage, folder: Path, generator: random.Random) -> None:
        self.stage = stage
        self.folder = folder
        self.generator = generator
        self.log = folder / "log.txt"
        self.report = Report(stage.name)
        self._undisturbed: dict[Command, Undisturbed] = {}

    def kill(self, num_kills: int) -> Report:
        """Run and kill until there were so many kills; every round ends undisturbed."""
        begin = time.monotonic()
        for number, command in enumerate(self.stage.variants):
            self._undisturbed[command] = self._run_undisturbed(command, number)
        for command, results in rounds(self.stage, self.folder / "disturbed"):
            if self.report.kills >= num_kills:
                break
            self._round(command, results, num_kills)
        self.report.seconds = time.monotonic() - begin
        return self.report

    def _run_undisturbed(self, command: Command, number: int) -> Undisturbed:
        results = self.folder / f"undisturbed_{number}"
        begin = time.monotonic()
        child = start(lambda: command(results), self.log, None)
        _, status = os.waitpid(child, 0)
        seconds = time.monotonic() - begin
        if status:
            raise RuntimeError(f"{self.stage.name} fails undisturbed:\n{self.log.read_text()}")
        return Undisturbed(results, seconds, int(self.log.with_suffix(".changes").read_text()))

    def _round(self, command: Command, results: Path, num_kills: int) -> None:
        """One folder: killed several times, then left to its end and compared."""
        self.report.rounds += 1
        self.log.unlink(missing_ok=True)
        for _ in range(self.generator.randint(1, MOST_KILLS_IN_A_ROW)):
            if self.report.kills >= num_kills:
                break
            code = self._disturbed(command, results)
            if code is not None:
                self._check_code(code)
                break
            self.report.kills += 1
        # Even a finished command must find nothing to do, and leave everything as it is.
        self.report.restarts += 1
        self._check_code(self._to_the_end(command, results))
        self.report.differences += differences(results, self._undisturbed[command].results)

    def _disturbed(self, command: Command, results: Path) -> int | None:
        """Start and kill; its exit code if it ended before, or else None."""
        undisturbed, draw = self._undisturbed[command], self.generator
        self.report.restarts += 1
        if draw.random() < 0.5:
            kill_before = draw.randint(1, undisturbed.num_changes)
            child = start(lambda: command(results), self.log, kill_before)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            self._see_all_gone(child)
            return None if code == -signal.SIGKILL else code
        child = start(lambda: command(results), self.log, None)
        code_before = ended(child, draw.random() * undisturbed.seconds)
        if code_before is not None:
            return code_before
        # The workers of a killed process must end by themselves, too.
        kill = os.kill if draw.random() < 0.5 else os.killpg
        kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self._see_all_gone(child)
        return None

    def _see_all_gone(self, child: int) -> None:
        left = num_left(child, SECONDS_FOR_ORPHANS)
        if left:
            self.report.differences.append(f"{left} processes outlive their parent")
            os.killpg(child, signal.SIGKILL)

    def _to_the_end(self, command: Command, results: Path) -> int:
        child = start(lambda: command(results), self.log, None)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _check_code(self, code: int) -> None:
        if code:
            lines = self.log.read_text(errors="replace").splitlines()[-30:]
            self.report.differences.append("\n".join([f"ends with code {code}:", *lines]))


def kill_stage(name: str, folder: Path, num_kills: int, seed: int) -> Report:
    """Make what a stage reads, and kill it so many times."""
    folder.mkdir()
    stage = STAGES[name](folder / "inputs")
    return Driver(stage, folder, random.Random(f"{name} {seed}")).kill(num_kills)


def print_table(reports: list[Report]) -> None:
    """A line for each stage, then what differed."""
    print("stage          kills  restarts  folders  differences  seconds")
    for each in reports:
        print(
            f"{each.stage:<13}  {each.kills:>5}  {each.restarts:>8}  {each.rounds:>7}  "
            f"{len(each.differences):>11}  {each.seconds:>7.1f}"
        )
    for each in reports:
        for difference in each.differences:
            print(f"{each.stage}: {difference}")


def main() -> int:
    """Exit code 1: something differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all, over the stages")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--stage", choices=STAGES, action="append", help="may be repeated")
    arguments = parser.parse_args()
    stages = arguments.stage or list(STAGES)
    import_once()
    save_often()
    folder = Path(tempfile.mkdtemp(prefix="kills."))
    try:
        reports = [
            kill_stage(name, folder / name, -(-arguments.kills // len(stages)), arguments.seed)
            for name in stages
        ]
    finally:
        shutil.rmtree(folder)
    print_table(reports)
    return 1 if any(each.differences for each in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
