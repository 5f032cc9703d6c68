"""A Ray cluster for a test, and managers that do not outlive it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.training.sweep.clusters import Cluster, Manager


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.ray.shutdown()


@pytest.fixture
def manage() -> Iterator[Callable[..., Manager]]:
    """Starts managers, none of which outlives the test."""
    managers: list[Manager] = []

    def start(*values: Any, **options: Any) -> Manager:
        managers.append(Manager(*values, **options))
        return managers[-1]

    yield start
    for manager in managers:
        manager.kill()
