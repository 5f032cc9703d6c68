"""The options of a cluster, and what is said where none answers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.cluster import UnreachableError, require_cluster
from config.command_line import add_launcher_options, settings_from, settings_parser
from config.ini_files import load_settings
from config.settings import Cluster
from config.text import PROJECT_FOLDER
from tests.training.in_processes import free_port


def parsed(*words: str) -> Cluster:
    parser = settings_parser("test")
    add_launcher_options(parser)
    return settings_from(parser.parse_args(words)).cluster


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("local", "")),
        (["--launcher", "ray"], ("ray", "")),
        (["--launcher", "ray", "--address", "auto"], ("ray", "auto")),
        (["--address", "node-1:6379"], ("ray", "node-1:6379")),
        (["--address", "node-1:6379", "--launcher", "local"], ("local", "node-1:6379")),
        (["--set", "launcher=ray"], ("ray", "")),
    ],
)
def test_an_address_is_that_of_ray(words: list[str], expected: tuple[str, str]) -> None:
    cluster = parsed(*words)
    assert (cluster.launcher, cluster.address) == expected


def nobodys() -> dict[str, Any]:
    return {"cluster.launcher": "ray", "cluster.address": f"127.0.0.1:{free_port()}"}


def test_where_nobody_listens_is_said_at_once() -> None:
    settings = load_settings(overrides=nobodys())
    with pytest.raises(UnreachableError, match="no Ray cluster can be joined") as caught:
        require_cluster(settings.cluster)
    assert settings.cluster.address in str(caught.value)
    assert str(caught.value).isprintable()


def test_without_ray_the_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no such thing')\n")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(PROJECT_FOLDER)!r}]\n"
        "from config.cluster import imported\n"
        "from config.command_line import run_command\n"
        "run_command(imported)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: [cluster] launcher = ray: Ray is not installed (no such thing); "
        "pip install -r requirements-cluster.txt\n"
    )


def test_a_missing_password_is_one_line(tmp_path: Path) -> None:
    """As somebody has it who follows docs/cluster.md without copying the token."""
    code = (
        f"import sys; sys.path[:0] = [{str(PROJECT_FOLDER)!r}]\n"
        "from config.cluster import joined\n"
        "from config.command_line import run_command\n"
        "from config.settings import load_settings\n"
        "import config.cluster as cluster\n"
        "cluster._knock = lambda _: None\n"
        "settings = load_settings(overrides={'cluster.address': '127.0.0.1:1'})\n"
        "run_command(lambda: joined(settings.cluster).__enter__())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    assert ended.returncode == 2, ended.stderr
    assert "error: [cluster] launcher = ray: this machine has no password" in ended.stderr
    assert "Traceback" not in ended.stderr
