"""The process that talks to the cluster: what it says reaches the user, its loss is survived."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from config.cluster import UnreachableError
from config.errors import UserError
from training.sweep import supervision
from training.sweep.supervision import supervised

Joined = Callable[[], None]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "PAUSE_SECONDS", 0.0)


def attempts_in(path: Path) -> int:
    """How often this was called for a file, this time included."""
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


def _code(joined: Joined, code: int) -> int:
    joined()
    return code


def _refuse(_joined: Joined) -> int:
    raise UserError("not like that")


def _unreachable(_joined: Joined) -> int:
    raise UnreachableError("nobody there")


def _lost_twice(joined: Joined, path: Path) -> int:
    """Killed in the cluster, then the cluster is away, then killed again."""
    number = attempts_in(path)
    if number == 2:
        raise UnreachableError("nobody there")
    joined()
    if number in (1, 3):
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def _lost_for_good(joined: Joined, path: Path) -> int:
    if attempts_in(path) > 1:
        raise UnreachableError("nobody there")
    joined()
    os._exit(1)


def _always_lost(joined: Joined) -> int:
    joined()
    os._exit(1)


def _killed_at_once(_joined: Joined) -> int:
    os._exit(1)


@pytest.mark.parametrize("code", [0, 1])
def test_the_code_of_work_that_ends(code: int) -> None:
    assert supervised(_code, [code]) == code


@pytest.mark.parametrize(
    ("work", "message"),
    [(_refuse, "not like that"), (_unreachable, "nobody there"), (_killed_at_once, "join")],
)
def test_what_goes_wrong_before_the_cluster_is_joined(
    work: Callable[..., int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        supervised(work, [])


def test_work_goes_on_after_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert supervised(_lost_twice, [tmp_path / "attempts"]) == 7
    assert capsys.readouterr().out.count("the connection to the cluster was lost") == 2


def test_a_cluster_that_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RECONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match="nobody there; it did not come back within"):
        supervised(_lost_for_good, [tmp_path / "attempts"])


def test_a_cluster_that_is_lost_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "MAX_LOSSES", 1)
    with pytest.raises(UserError, match="was lost 2 times"):
        supervised(_always_lost, [])


def _full_disk(joined: Joined, path: Path) -> int:
    attempts_in(path)
    joined()
    raise OSError(28, "No space left on device", "results")


def _ray_gives_up(joined: Joined, path: Path) -> int:
    ray_system_error: Any = import_module("ray.exceptions").RaySystemError

    number = attempts_in(path)
    if number == 3:
        return 7
    if number == 1:
        joined()
    raise ray_system_error("the head is gone")


def test_what_the_cluster_is_not_to_blame_for_ends_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left on device"):
        supervised(_full_disk, [tmp_path / "attempts"])
    assert attempts_in(tmp_path / "attempts") == 2


def test_rays_own_errors_are_losses(tmp_path: Path) -> None:
    assert supervised(_ray_gives_up, [tmp_path / "attempts"]) == 7


def _ends_while_it_joins_again(joined: Joined, path: Path) -> int:
    """Ray ends a process whose cluster goes away again before it is joined."""
    number = attempts_in(path)
    if number == 2:
        os._exit(1)
    joined()
    if number == 1:
        os._exit(1)
    return 7


def test_a_cluster_that_goes_away_while_it_is_joined_again(tmp_path: Path) -> None:
    assert supervised(_ends_while_it_joins_again, [tmp_path / "attempts"]) == 7


def _no_password(_joined: Joined) -> int:
    from ray.exceptions import AuthenticationError

    raise AuthenticationError("wrong token")


def test_why_ray_does_not_let_anybody_join() -> None:
    with pytest.raises(UserError, match="wrong token"):
        supervised(_no_password, [])
