"""Waits until the machines of a job have joined its Ray cluster, for cluster/ray.sbatch.

python cluster/wait_for_nodes.py NODES SECONDS       the cluster is that of RAY_ADDRESS
"""

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

import ray as untyped

ray: Any = untyped
SECONDS_BETWEEN_LOOKS = 1.0
EXIT_TOO_FEW = 1


def num_alive(address: str) -> int:
    """Nodes that the cluster has now; 0 if it does not answer yet."""
    host, _, port = address.rpartition(":")
    with suppress(ConnectionError, RuntimeError, ValueError, OSError):
        if not ray.is_initialized():
            # Ray itself tries for minutes where nothing listens.
            socket.create_connection((host, int(port)), SECONDS_BETWEEN_LOOKS).close()
            ray.init(address=address, log_to_driver=False, logging_level="critical")
            # Ray's own prints where it was, and clears up for long.
            signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
        return sum(1 for node in ray.nodes() if node["Alive"])
    return 0


def main(num_nodes: int, seconds: float) -> int:
    """Return once there are so many nodes, or the time is up; the exit code says which."""
    address = os.environ["RAY_ADDRESS"]
    deadline = time.monotonic() + seconds
    found = num_alive(address)
    while found < num_nodes and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        found = num_alive(address)
    if found < num_nodes:
        print(f"error: {found} of {num_nodes} Ray nodes after {seconds:g} s", file=sys.stderr)
        return EXIT_TOO_FEW
    print(f"Ray: {found} nodes, {ray.cluster_resources().get('CPU', 0):g} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
