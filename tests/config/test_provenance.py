"""Where a result comes from, against what git, Python and the package index say themselves."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from config import provenance
from config.text import PROJECT_FOLDER
from tests.conftest import Suite

NEEDS_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_result_says_where_it_comes_from(suite: Suite) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    before = datetime.now().astimezone()
    made = suite.run(1)["provenance"]
    seconds = (datetime.now().astimezone() - before).total_seconds()
    (stated,) = re.findall(
        r'^version = "(.+)"$', (PROJECT_FOLDER / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert made["suite"] == stated
    assert made["python"] == ".".join(map(str, sys.version_info[:3]))
    assert made["host"] == socket.gethostname()
    assert made["threads"] == torch.get_num_threads()
    assert made["device"] == provenance.processor() != ""
    assert made["command"] == shlex.join(sys.orig_argv)
    assert -1 < (datetime.fromisoformat(made["started"]) - before).total_seconds() < seconds
    assert 0 < made["seconds"] < seconds
    for name in ("numpy", "torch", "scikit-learn"):
        assert made["packages"][name] == version(name)
    if (PROJECT_FOLDER / ".git").exists():
        assert made["commit"] == git(PROJECT_FOLDER, "rev-parse", "HEAD")


@NEEDS_GIT
def test_the_commit_is_that_of_the_checkout_and_of_nothing_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(folder: Path) -> tuple[str | None, bool]:
        monkeypatch.setattr(provenance, "PROJECT_FOLDER", folder)
        return provenance.commit.__wrapped__()

    git(tmp_path, "init", "--quiet")
    assert found(tmp_path) == (None, False)  # no commit yet
    code, inner = tmp_path / "code.py", tmp_path / "unpacked"
    code.write_text("a")
    inner.mkdir()
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "--message", "a")
    git(tmp_path, "tag", "a-tag")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert found(tmp_path) == (head, False)
    code.write_text("b")
    assert found(tmp_path) == (head, True)
    assert found(inner) == (None, False)
    monkeypatch.setenv("PATH", "")
    assert found(tmp_path) == (None, False)
