"""--config and --set as scripts take them; exit codes as a shell expects them."""

import builtins
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config.command_line import (
    RESUME,
    add_launcher_options,
    run_command,
    settings_from,
    settings_parser,
)
from config.errors import UserError
from config.selection import add_experiments_option
from config.text import PROJECT_FOLDER


def test_files_then_set_then_launcher(tmp_path: Path) -> None:
    first, second = tmp_path / "1.ini", tmp_path / "2.ini"
    first.write_text("[training_defaults]\nbatch_size = 7\npatience = 8\nwidth = 2\n")
    second.write_text("[training_defaults]\nbatch_size = 9\npatience = 10\n")
    parser = settings_parser("test")
    add_launcher_options(parser)
    parser.add_argument("words", nargs="*")
    words = ["--config", str(first), "--set", "batch_size=11", "--config", str(second)]
    arguments = parser.parse_args([*words, "--address", "head:6379", "[20]", "-1,-1"])
    settings = settings_from(arguments)
    training = settings.training_defaults
    assert (training.batch_size, training.patience, training.width) == (11, 10, 2.0)
    assert (settings.cluster.launcher, settings.cluster.address) == ("ray", "head:6379")
    assert arguments.words == ["[20]", "-1,-1"]


def test_paths_of_the_command_line_are_those_of_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No shell fills in ~ behind an equals sign."""
    monkeypatch.setenv("HOME", "/home/somebody")
    parser = settings_parser("test")
    add_experiments_option(parser)
    arguments = parser.parse_args(["--config=~/my.ini", '--experiments="$HOME/my own"'])
    assert arguments.config == [Path("/home/somebody/my.ini")]
    assert arguments.experiments == Path("/home/somebody/my own")
    with pytest.raises(SystemExit):
        parser.parse_args(["--config", r"C:\my.ini"])
    assert r"--config: C:\my.ini: C:\my.ini is a path of Windows" in capsys.readouterr().err


@pytest.mark.parametrize("in_ipython", [False, True])
@pytest.mark.parametrize(
    ("words", "outcome", "code", "message"),
    [
        ([], None, 0, ""),
        ([], 1, 1, ""),
        ([], UserError("bad\nname\x1b[2J"), 2, "error: bad\\nname\\x1b[2J\n"),
        ([], OSError(2, "No such file", "a.wav"), 2, "error: a.wav: No such file\n"),
        ([], OSError("odd"), 2, "error: odd\n"),
        ([], KeyboardInterrupt(), 130, f"\ninterrupted: {RESUME}\n"),
        (["--lst"], 0, 2, "error: unrecognized arguments: --lst; --help shows what there is\n"),
    ],
)
def test_exit_codes(
    words: list[str],
    outcome: BaseException | int | None,
    code: int,
    message: str,
    in_ipython: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In ipython, which has no exit code, the line alone."""

    def command() -> int | None:
        settings_parser("test").parse_args(words)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    if in_ipython:
        monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
        run_command(command)
    else:
        with pytest.raises(SystemExit) as ended:
            run_command(command)
        assert ended.value.code == code
    assert capsys.readouterr() == ("", message)


def test_a_script_of_another_checkout_is_refused_with_a_command_that_runs_it(
    tmp_path: Path,
) -> None:
    other = tmp_path / "other checkout"
    for name in ("config", "preprocessing", "training"):
        shutil.copytree(PROJECT_FOLDER / name, other / name)
    script = other / "preprocessing" / "balance_gsc.py"

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(PROJECT_FOLDER)}
        shell = ["sh", "-c", command]
        return subprocess.run(
            shell, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    python = shlex.quote(sys.executable)
    refused = run(f"{python} {shlex.quote(str(script))} --help")
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"error: {script} is of {other}, but this environment has the code of")
    advice = line.partition("run: ")[2].replace(" python ", f" {python} ")
    accepted = run(advice)
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert "--set KEY=VALUE" in accepted.stdout
