"""What commands say is in their log files as well, once, and the terminal shows it as it is."""

import os
import re
import sys
from pathlib import Path

import pytest

from config import provenance
from config.command_line import log_to, run_command
from config.errors import UserError
from config.log import logger
from tests.conftest import Suite, run_script

Capture = pytest.CaptureFixture[str]
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) " + f"{os.getpid()} (.+)"
)


def entries(path: Path) -> list[tuple[str, str]]:
    """Return (level, text) of each line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(match[1], match[2]) for line in lines if (match := LINE.fullmatch(line))]


def run(folder: Path, error: BaseException | None) -> None:
    """Run a command that makes its folder after a while."""

    def command() -> None:
        logger.info("before it knows\nwhere it writes: é %s \udcff")
        log_to(folder)
        logger.warning("warning: before the folder is there")
        folder.mkdir(parents=True, exist_ok=True)
        if error is not None:
            raise error

    with pytest.raises(SystemExit):
        run_command(command)


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["some/command.py", "[20]"])


def test_a_log_has_each_line_once_with_time_level_and_process(
    tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "results"
    run(folder, UserError("a problem"))
    said = "before it knows\nwhere it writes: é %s ?\nwarning: before the folder is there\n"
    assert capsys.readouterr() == (said, "error: a problem\n")
    (level, start), *rest = entries(folder / "command.log")
    assert level == "INFO"
    assert start.startswith(f"{provenance.typed_command()} (suite {provenance.suite_version()}, ")
    assert rest == [
        ("INFO", "before it knows"),
        ("INFO", r"where it writes: é %s \udcff"),
        ("WARNING", "warning: before the folder is there"),
        ("ERROR", "error: a problem"),
    ]
    logger.info("outside of a command")
    run(folder, None)  # a second time in the same process, as in ipython
    assert entries(folder / "command.log")[5:] == [(level, start), *rest[:3]]


def test_a_traceback_is_in_the_log(tmp_path: Path) -> None:
    def failing() -> None:
        log_to(tmp_path)
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        run_command(failing)
    found = [text for level, text in entries(tmp_path / "command.log") if level == "ERROR"]
    assert found[0] == "Traceback (most recent call last):"
    assert found[-1] == "KeyError: 'a mistake'"


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "command.log").mkdir()
    run(tmp_path, None)
    said = capsys.readouterr().out.splitlines()
    warning = f"warning: {tmp_path / 'command.log'}: cannot be written: Is a directory"
    assert said[2:] == [warning, "warning: before the folder is there"]


def test_two_commands_log_what_they_say_and_those_that_only_show_something_nothing(
    suite: Suite, capsys: Capture
) -> None:
    suite.write_matrices()
    suite.write_experiment(1, {"num_epochs": 1})
    for option in ("--list", "--check", "--summary"):
        assert run_script("experiments_manager.py", option, "[1]", *suite.arguments) == 0
    assert not list(suite.folder.rglob("*.log"))
    capsys.readouterr()
    config = suite.arguments[:2]
    for log, words in (
        (suite.results / "experiments_manager.log", ("[1]", "-1", *suite.arguments)),
        (suite.folder / "figures" / "plot_accuracy_boost.log", config),
    ):
        script = f"{'' if log.parent == suite.results else 'plotting/'}{log.stem}.py"
        assert run_script(script, *words) == 0
        said = capsys.readouterr().out.splitlines()
        assert [text for _, text in entries(log)[1:]] == [line for line in said if line]
