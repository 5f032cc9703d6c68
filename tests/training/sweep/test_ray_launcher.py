"""Runs on a small Ray cluster of this machine, one node of which dies; a head that is lost."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from config.errors import UserError
from tests.training.sweep.commands import (
    CPU,
    LONG,
    PATIENCE,
    assert_as_run_in_order,
    command,
    leftovers,
    runs_of,
    states,
    write_three,
)
from training.sweep.execute import RunTask

if TYPE_CHECKING:
    from tests.conftest import Suite

pytest.importorskip("ray")
STORE_BYTES = 100 * 2**20


class Cluster:
    """A Ray cluster whose nodes are processes of this machine; the head runs nothing."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self.ray: Any = RayCluster(initialize_head=True, head_node_args=head)

    @property
    def options(self) -> tuple[str, ...]:
        return ("--launcher", "ray", "--address", str(self.ray.address))

    def add_node(self) -> Any:
        return self.ray.add_node(num_cpus=1, object_store_memory=STORE_BYTES)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.ray.shutdown()


def test_runs_go_on_elsewhere_when_a_node_dies(cluster: Cluster, suite: "Suite") -> None:
    write_three(suite, **LONG)
    doomed, _ = cluster.add_node(), cluster.add_node()
    with command(suite, "[1,2]", "-1", *cluster.options) as manager:
        manager.wait_until(lambda: len(states(suite)) == 2)
        cluster.ray.remove_node(doomed, allow_graceful=False)
        assert manager.code() == 0, manager.text
        assert sorted(manager.done) == [
            "experiment 1 run 1",
            "experiment 1 run 2",
            "experiment 2 run 1",
        ]
        assert manager.done[-1] == "experiment 2 run 1"
    assert_as_run_in_order(suite)


def test_a_cluster_that_has_no_room_or_is_lost_ends_the_command_in_one_line(
    cluster: Cluster, suite: "Suite"
) -> None:
    write_three(suite, **LONG)
    with command(suite, "[1]", "-1", *cluster.options) as manager:
        assert manager.code() == 2
        assert "no node of the Ray cluster has what a run takes: 1 cores" in manager.text
    cluster.add_node()
    with command(suite, "[1,2]", "-1", *cluster.options) as manager:
        manager.wait_until(lambda: states(suite))
        cluster.ray.head_node.kill_gcs_server()
        assert manager.code() == 2, manager.text
        assert "error: the Ray cluster at " in manager.text
        assert "Traceback" not in manager.text


def test_sigterm_ends_all_in_order(suite: "Suite") -> None:
    """On a cluster that the command itself starts; so a batch system ends a job."""
    write_three(suite, **LONG)
    with command(suite, "[1,2]", "-1", "--launcher", "ray") as manager:
        manager.wait_until(lambda: states(suite))
        children = manager.children
        manager.process.terminate()
        assert manager.code() == 143, manager.text
        assert manager.text.endswith("the same command continues where this stopped\n")
        assert leftovers(suite) == ["unfinished"]
        _, alive = psutil.wait_procs(children, PATIENCE)
        assert not alive


def test_a_node_that_does_not_see_the_results_folder_says_so(suite: "Suite") -> None:
    from training.sweep.ray_launcher import _execute_on_node

    write_three(suite)
    task = RunTask(runs_of(suite)[0])
    with pytest.raises(UserError, match=r"results_folder: .*elsewhere is not shared with "):
        _execute_on_node(task, suite.folder / "elsewhere" / "mark", CPU, 1)
