"""The Ray cluster that works for a command: joined for as long as it does, its errors in one line.

Ray is optional (requirements-cluster.txt) and takes a second to import, so only [cluster]
launcher = ray reaches for it.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.errors import UserError
from config.sections import Cluster
from config.text import printable

INSTALLATION = "pip install -r requirements-cluster.txt"
PASSWORD = (
    "a cluster that asks for a password, as ray start --head does where ~/.ray/auth_token exists, "
    "needs export RAY_AUTH_MODE=token and the same ~/.ray/auth_token on this machine"
)
LONGEST_REASON = 300
KNOCK_SECONDS = 10.0
# Ray would tell its makers of each cluster that is started.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}


class UnreachableError(UserError):
    """No cluster answers; it may do so later."""


@contextmanager
def joined(cluster: Cluster) -> Iterator[Any]:
    """The module ray, connected to the cluster within the block.

    Without an address, and with no cluster on this machine, Ray is started here and ends with the
    block.

    Raises:
        UserError: Ray is not installed.
        UnreachableError: no cluster answers at the address.
    """
    ray = imported()
    address = cluster.address or None
    try:
        _knock(cluster.address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else {"include_dashboard": False}),
        )
    except ray.exceptions.AuthenticationError:
        raise UserError(
            f"[cluster] launcher = ray: this machine has no password; {PASSWORD}"
        ) from None
    except (RuntimeError, ValueError, OverflowError, OSError) as error:
        raise _unreachable(cluster, error) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def require_cluster(cluster: Cluster) -> None:
    """See whether the cluster can be asked to work, before anything is changed for it.

    Raises:
        UserError: Ray is not installed, or nobody listens at the address.
    """
    imported()
    try:
        _knock(cluster.address)
    except (OverflowError, OSError) as error:
        raise _unreachable(cluster, error) from None


def _unreachable(cluster: Cluster, error: Exception) -> UnreachableError:
    reason = printable(" ".join(str(error).split())[:LONGEST_REASON])
    return UnreachableError(
        f"[cluster] address = {cluster.address}: no Ray cluster can be joined from this machine: "
        f"{reason}; ray start --head starts one, ray start --address=HOST:PORT lets this machine "
        f"join one; {PASSWORD}"
    )


def _knock(address: str) -> None:
    """See whether anybody listens there: Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def imported() -> Any:
    """The module ray.

    Raises:
        UserError: it is not installed.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"[cluster] launcher = ray: Ray is not installed ({error}); {INSTALLATION}"
        ) from None
    return ray
