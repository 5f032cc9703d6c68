"""The Ray cluster that works for a command: connected to for as long as it does.

Ray is optional (requirements-cluster.txt) and takes a second to import, so only [cluster]
launcher = ray reaches for it.
"""

import logging
import os
import signal
import socket
from typing import Any

from config.errors import UserError
from config.settings import Cluster
from config.text import printable

LONGEST_REASON = 300
REACH_SECONDS = 10.0


def connect(cluster: Cluster) -> Any:
    """Connect to the cluster; return the module ray.

    Without an address, and with no cluster on this machine, Ray is started here and ends with
    ray.shutdown().

    Raises:
        UserError: Ray is not installed, or no cluster answers at the address.
    """
    # Ray would tell its makers of each cluster that is started.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"[cluster] launcher = ray: Ray is not installed ({error}); "
            "pip install -r requirements-cluster.txt"
        ) from None
    address = cluster.address or None
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        check_reachable(cluster.address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put a handler of its own there
    except (RuntimeError, ValueError, OverflowError, OSError, ray.exceptions.RayError) as error:
        reason = printable(" ".join(str(error).split())[:LONGEST_REASON])
        raise UserError(
            f"[cluster] address = {cluster.address}: no Ray cluster can be joined from this "
            f"machine: {reason}; ray start --head starts one, ray start --address=HOST:PORT lets "
            "this machine join one; if it has a password, set RAY_AUTH_MODE=token and copy its "
            "~/.ray/auth_token"
        ) from None
    return ray


def check_reachable(address: str) -> None:
    """See whether anybody listens at HOST:PORT: Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
