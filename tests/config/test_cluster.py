"""The options of a cluster, and what is said where none answers."""

import socket
import sys

import pytest

from config.command_line import add_launcher_options, settings_from, settings_parser
from config.errors import UserError
from config.settings import Cluster
from training.sweep.ray_launcher import connect


def parsed(*words: str) -> Cluster:
    parser = settings_parser("test")
    add_launcher_options(parser)
    return settings_from(parser.parse_args(words)).cluster


def test_where_nobody_listens_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody's, once it is closed
    cluster = parsed("--address", f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=rf"127.0.0.1:{port}: no Ray cluster can be") as caught:
        connect(cluster)
    assert str(caught.value).isprintable()


def test_without_ray_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed .*requirements-cluster\.txt"):
        connect(parsed("--launcher", "ray"))
