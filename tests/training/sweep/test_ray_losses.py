"""What is at work on a Ray cluster when a node, a process or the manager itself is ended."""

import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.training.sweep.clusters import (
    LONG,
    STORE_BYTES,
    Cluster,
    Manager,
    assert_equal_results,
    assert_tidy,
    first_epochs,
    run_in_order,
    workers,
)

if TYPE_CHECKING:
    from tests.conftest import Suite


def test_a_run_goes_on_from_its_last_epoch_after_the_loss_of_its_node_and_ctrl_c(
    cluster: Cluster, suite: "Suite", manage: Callable[..., Manager]
) -> None:
    suite.write_matrices()
    suite.write_experiment(1, LONG)
    doomed = cluster.add_node()
    manager = manage(suite, "[1] -1", cluster.address, tracker="tensorboard")
    manager.wait_until(lambda: list(suite.results.rglob("unfinished/state_*.pt")))
    cluster.kill(doomed)
    cluster.add_node()
    events = suite.results / "tracking"
    manager.wait_until(lambda: len(first_epochs(events)) == 2)
    assert "lost, begins again" in manager.text
    os.killpg(manager.process.pid, signal.SIGINT)
    assert manager.code() == 130, manager.text
    lines = manager.text.strip().splitlines()
    assert lines[-1] == "interrupted: the same command continues where this stopped"
    assert "Traceback" not in manager.text
    assert not workers()
    again = manage(suite, "[1] -1", cluster.address, tracker="tensorboard")
    assert again.code() == 0, again.text
    first, second, third = first_epochs(events)
    assert first == 0 < second <= third
    assert_equal_results(suite, suite.results, run_in_order(suite, tracker="tensorboard"))
    assert_tidy(suite.results)


def test_results_are_sent_where_the_folder_is_not_shared(
    suite: "Suite",
    manage: Callable[..., Manager],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Begun anew after the loss of a node or a process, while others fill the object store."""
    import ray

    scratch = suite.folder / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # paths of sockets must be short
    cluster: Cluster = request.getfixturevalue("cluster")
    suite.write_matrices()
    suite.write_experiment(1, LONG, {"repeat": 2})
    suite.write_experiment(3, {"at_pretraining": "experiment 1"})
    doomed = cluster.add_node()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        held = [ray.put(np.ones(10 * 2**20, dtype=np.uint8)) for _ in range(20)]
        options = {"send_results": "always", "tracker": "tensorboard"}
        manager = manage(suite, "[1,3] -1", cluster.address, **options)
        manager.wait_until(lambda: list(scratch.rglob("unfinished/state_*.pt")))
        cluster.kill(doomed)
        cluster.add_node(2)
        manager.wait_until(lambda: manager.text.count("lost, begins again") == 1 and workers())
        workers()[0].kill()
        held += [ray.put(np.ones(10 * 2**20, dtype=np.uint8)) for _ in range(10)]
        assert manager.code() == 0, manager.text
        assert sum(map(len, ray.get(held))) == 30 * 10 * 2**20 > STORE_BYTES
    finally:
        ray.shutdown()
    assert manager.text.count("lost, begins again") == 2
    assert len(manager.done) == 3 == len(set(manager.done))
    # What lost attempts told the tracker went with their nodes.
    assert first_epochs(suite.results / "tracking") == [0, 0, 0]
    assert_equal_results(suite, suite.results, run_in_order(suite, tracker="tensorboard"))
    assert_tidy(suite.results)
