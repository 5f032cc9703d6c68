"""Runs on a small Ray cluster of this machine, one node of which dies; a head that is lost."""

from collections.abc import Iterator
from typing import Any

import pytest

from config.errors import UserError
from tests.conftest import Suite
from tests.training.sweep.commands import (
    CPU,
    LONG,
    assert_as_run_in_order,
    command,
    runs_of,
    states,
    write_three,
)
from training.sweep.execute import RunTask

ray = pytest.importorskip("ray")
STORE_BYTES = 100 * 2**20


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster whose nodes are processes of this machine; the head runs nothing."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # How long a lost head is waited for: a minute otherwise.
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def test_runs_go_on_elsewhere_when_a_node_dies_and_not_without_the_cluster(
    cluster: Any, suite: Suite
) -> None:
    write_three(suite, **LONG)
    options = ("-1", "--launcher", "ray", "--address", str(cluster.address))
    with pytest.raises(UserError, match="no node of the Ray cluster has what a run takes: 1 cores"):
        suite.manage("[1]", *options)
    ray.shutdown()  # as the end of a command does
    doomed, _ = (cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2))
    with command(suite, "[1,2]", *options) as manager:
        manager.wait_until(lambda: len(states(suite)) == 2)
        cluster.remove_node(doomed, allow_graceful=False)
        assert manager.code() == 0, manager.text
        assert sorted(manager.done[:2]) == ["experiment 1 run 1", "experiment 1 run 2"]
        assert manager.done[2:] == ["experiment 2 run 1"]
    assert_as_run_in_order(suite)
    suite.write_experiment(3, LONG)
    with command(suite, "[3]", *options) as manager:
        manager.wait_until(lambda: states(suite))
        cluster.head_node.kill_gcs_server()
        assert manager.code() == 2, manager.text
        assert "error: the Ray cluster at " in manager.text
        assert "Traceback" not in manager.text


def test_a_node_that_does_not_see_the_results_folder_says_so(suite: Suite) -> None:
    from training.sweep.ray_launcher import _execute_on_node

    write_three(suite)
    task = RunTask(runs_of(suite)[0])
    with pytest.raises(UserError, match=r"results_folder: .*elsewhere is not shared with "):
        _execute_on_node(task, suite.folder / "elsewhere" / "mark", CPU, 1)
