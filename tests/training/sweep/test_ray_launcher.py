"""Forty runs on a Ray cluster of several nodes, one of which dies; a head that restarts."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.training.sweep.clusters import (
    LONG,
    Cluster,
    Manager,
    assert_equal_results,
    assert_tidy,
    run_in_order,
    runs_of,
)
from training.sweep.ray_launcher import slots_of_node

if TYPE_CHECKING:
    from tests.conftest import Suite


def write_forty(suite: "Suite", num_epochs: int = 2) -> None:
    """Baselines, anti-transfer, and one run that starts from the best baseline."""
    suite.write_matrices()
    suite.write_extractor()
    epochs = {"num_epochs": num_epochs}
    suite.write_experiment(1, epochs, {"repeat": 20})
    suite.write_experiment(
        2,
        {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 3, **epochs},
        {"repeat": 19},
    )
    suite.write_experiment(3, {"at_pretraining": "experiment 1", **epochs})


def test_forty_runs_while_a_node_dies_and_another_joins(
    cluster: Cluster, suite: "Suite", manage: Callable[..., Manager]
) -> None:
    write_forty(suite)
    doomed, _ = cluster.add_node(), cluster.add_node()
    manager = manage(suite, "[1,2,3] -1", cluster.address)
    manager.wait_until(lambda: len(manager.done) >= 8)
    cluster.kill(doomed)
    manager.wait_until(lambda: len(manager.done) >= 12)
    cluster.add_node()
    assert manager.code() == 0, manager.text
    assert sorted(manager.done) == sorted(re.findall(r"experiment \d+ run \d+", _titles(suite)))
    assert len(manager.done) == 40
    assert manager.done.index("experiment 3 run 1") > max(
        place for place, title in enumerate(manager.done) if title.startswith("experiment 1 ")
    )
    assert_equal_results(suite, suite.results, run_in_order(suite))
    assert_tidy(suite.results)


def _titles(suite: "Suite") -> str:
    return "\n".join(run.title for run in runs_of(suite))


def test_a_head_that_restarts_is_waited_for(
    suite: "Suite",
    manage: Callable[..., Manager],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Ray ends all that belonged to a cluster whose head is lost, the manager's process as well."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # else a minute
    cluster: Cluster = request.getfixturevalue("cluster")
    suite.write_matrices()
    suite.write_experiment(1, LONG, {"repeat": 2})
    cluster.add_node()
    manager = manage(suite, "[1] -1", cluster.address)
    manager.wait_until(lambda: list(suite.results.rglob("unfinished/state_*.pt")))
    port = cluster.address.rpartition(":")[2]
    cluster.ray.head_node.kill_gcs_server()
    for node in (*cluster.ray.worker_nodes, cluster.ray.head_node):
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    manager.wait_until(lambda: "the connection to the cluster was lost" in manager.text)
    cluster.__init__(port)  # type: ignore[misc]
    cluster.add_node()
    assert manager.code() == 0, manager.text
    assert len(manager.done) == 2 == len(set(manager.done))
    assert_equal_results(suite, suite.results, run_in_order(suite))
    assert_tidy(suite.results)


def test_no_cluster_at_the_address_is_one_line(
    suite: "Suite", manage: Callable[..., Manager]
) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    manager = manage(suite, "[1] -1", "127.0.0.1:1")
    assert manager.code() == 2
    assert "[cluster] address = 127.0.0.1:1: no Ray cluster" in manager.text
    assert "Traceback" not in manager.text


@pytest.mark.parametrize(
    ("resources", "needs", "slots"),
    [
        ({"CPU": 4.0}, {"CPU": 1.0}, 4),
        ({"CPU": 5.0}, {"CPU": 2.0}, 2),
        ({"CPU": 16.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.25}, 8),
        ({"CPU": 3.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.25}, 3),
        ({"CPU": 64.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.1}, 10),
        ({"CPU": 64.0}, {"CPU": 1.0, "GPU": 1.0}, 0),
        ({"CPU": 64.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.4}, 4),  # so Ray 2.60, with 5 tasks
    ],
)
def test_room_of_a_node(resources: dict[str, float], needs: dict[str, float], slots: int) -> None:
    assert slots_of_node({"Alive": True, "Resources": resources}, needs) == slots
    assert slots_of_node({"Alive": False, "Resources": resources}, needs) == 0
