"""In any environment: caches that can be written, output that can be printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.process import PACKAGE_FOLDERS, provide_caches
from config.text import PROJECT_FOLDER
from tests.conftest import run_python


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ({}, set()),
        ({"HOME": "file"}, set(PACKAGE_FOLDERS)),
        ({"HOME": None}, set(PACKAGE_FOLDERS)),
        ({"NUMBA_CACHE_DIR": "file/below"}, {"NUMBA_CACHE_DIR"}),
        ({"MPLCONFIGDIR": "file"}, {"MPLCONFIGDIR"}),
        ({"XDG_CACHE_HOME": "file", "NUMBA_CACHE_DIR": ""}, {"XDG_CACHE_HOME"}),
    ],
)
def test_packages_get_a_folder_where_theirs_cannot_be_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str | None],
    replaced: set[str],
) -> None:
    """Nothing can be made below a file, not even by root; a user may have no home at all."""
    (tmp_path / "file").touch()
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for name, value in given.items():
        environment[name] = str(tmp_path / value) if value else ""
    if given.get("HOME", "") is None:
        del environment["HOME"]
        monkeypatch.setattr("pwd.getpwuid", dict[int, str]().__getitem__)
    monkeypatch.setattr(os, "environ", environment)
    before = dict(environment)
    provide_caches()
    changed = {name for name in environment if environment[name] != before.get(name)}
    assert changed == replaced
    for name in replaced:
        (Path(environment[name]) / "made").touch()
        Path(environment[name], "made").unlink()


@pytest.mark.parametrize(
    ("encoding", "text", "seen"),
    [
        ("ascii", "15.2 ± 9.2", "15.2 ? 9.2"),
        ("latin-1", "≥ 15.2 ± 9.2", "? 15.2 ± 9.2"),
        ("utf-8", "a\udcff.wav", "a?.wav"),  # a file's name that is not UTF-8
    ],
)
def test_what_a_terminal_cannot_show_costs_no_command(encoding: str, text: str, seen: str) -> None:
    code = f"from config.command_line import run_command; run_command(lambda: print({text!a}))"
    done = run_python("-c", code, encoding="latin-1", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{seen}\n", "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "experiments_manager.py", "--list"],
            cwd=PROJECT_FOLDER,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_what_is_printed_into_a_closed_file_goes_into_no_other(tmp_path: Path, closed: str) -> None:
    code = (
        "import os, sys; from config.process import prepare_process; prepare_process();"
        f"file = open({str(tmp_path / 'file')!r}, 'w');"
        "print('out'); print('error', file=sys.stderr); os.system('echo child; echo child >&2')"
    )
    closing = " ".join(f"{number}>&-" for number in closed.split())
    command = ["sh", "-c", f'"$0" -c "$1" {closing}', sys.executable, code]
    done = subprocess.run(command, cwd=PROJECT_FOLDER, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""
    seen = done.stdout.decode().split() + done.stderr.decode().split()
    expected = {"1": ["error", "child"], "2": ["child", "out"], "0 1 2": []}
    assert sorted(seen) == sorted(expected[closed])


def test_a_current_folder_that_is_gone_is_called_that(tmp_path: Path) -> None:
    code = (
        "import os; from config.command_line import run_command; "
        f"os.chdir({str(tmp_path / 'gone')!r}); os.rmdir({str(tmp_path / 'gone')!r}); "
        "run_command(lambda: None)"
    )
    (tmp_path / "gone").mkdir()
    done = run_python("-c", code)
    assert done.returncode == 2
    assert "error: the folder that this is started in is gone" in done.stderr


def test_freed_memory_is_kept_for_the_next_array() -> None:
    code = (
        "import resource, numpy; from config.process import keep_freed_memory; {}; "
        "make = lambda: [numpy.ones(2**22).sum() for _ in range(9)]; "
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt; "
        "make(); before = faults(); make(); print(faults() - before)"
    )
    calls = ("None", "assert keep_freed_memory()")
    default, kept = (int(run_python("-c", code.format(call)).stdout) for call in calls)
    assert kept < default / 10
