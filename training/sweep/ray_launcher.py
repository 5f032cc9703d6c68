"""Runs as tasks of a Ray cluster, as many at a time as its nodes have room for.

Ray is optional (requirements-cluster.txt) and takes a second to import, so only [cluster]
launcher = ray reaches for it. All nodes must see the results folder: a run that is begun anew on
another node goes on from there.
"""

import argparse
import logging
import math
import os
import signal
import socket
import uuid
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from config import advice
from config.errors import UserError
from config.process import prepare_process
from config.selection import CPU
from config.settings import Cluster
from config.text import display_path, shorten
from training.sweep.execute import RunResult, RunTask
from training.sweep.launchers import (
    CLOSING_SECONDS,
    Launcher,
    context_on,
    execute_silently,
    train_run,
)

# How often Ray begins a run again whose process or node was lost.
MAX_RETRIES = 3
# Of the node's GPUs Ray shows a process those that it may use.
FIRST_GPU = 0
REACH_SECONDS = 10.0


class RayLauncher(Launcher):
    """Hands all tasks to Ray at once, which places them, also on nodes that join later.

    Args:
        cluster: where it is, and what a run takes.
        on_cpu: whether runs take cores alone.
        results_folder: of the runs; a file in it tells nodes that they share it.
    """

    num_slots = math.inf

    def __init__(self, cluster: Cluster, on_cpu: bool, results_folder: Path) -> None:
        self._ray = connect(cluster)
        self._address = self._ray.get_runtime_context().gcs_address
        self._needs = {"CPU": cluster.cpus_per_run, "GPU": 0.0 if on_cpu else cluster.gpus_per_run}
        self._references: dict[Future[RunResult], object] = {}
        self.check()
        results_folder.mkdir(parents=True, exist_ok=True)
        self._mark = results_folder / f".shared_with_nodes_{uuid.uuid4().hex}"
        self._mark.touch()
        self._task = self._ray.remote(_execute_on_node).options(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            max_retries=MAX_RETRIES,
            scheduling_strategy="SPREAD",
        )
        gpu = CPU if on_cpu else FIRST_GPU
        self._options = (self._mark, gpu, cluster.cpus_per_run, advice.given())

    def submit(self, task: RunTask) -> "Future[RunResult]":
        """Let the cluster begin a task."""
        reference = self._task.remote(task, *self._options)
        future: Future[RunResult] = reference.future()
        self._references[future] = reference
        return future

    def check(self) -> None:
        """See whether the cluster is there: Ray would end this process a minute after its loss.

        Raises:
            UserError: it is not, or none of its nodes has what a run takes.
        """
        try:
            check_reachable(self._address)
        except OSError as error:
            self._references.clear()
            raise UserError(
                f"the Ray cluster at {self._address} was lost ({error}); when it is back, the same "
                "command goes on from there"
            ) from None
        if not any(
            node["Alive"]
            and all(node["Resources"].get(name, 0) >= need for name, need in self._needs.items())
            for node in self._ray.nodes()
        ):
            raise UserError(
                f"no node of the Ray cluster has what a run takes: {self._needs['CPU']} cores and "
                f"{self._needs['GPU']:g} GPUs ([cluster] cpus_per_run, gpus_per_run; GPU -1 takes "
                "none)"
            )

    def close(self) -> None:
        """Cancel what is at work, and give it a moment to leave everything in order."""
        references = [each for future, each in self._references.items() if not future.done()]
        with suppress(Exception):  # the cluster may be what ended
            for reference in references:
                self._ray.cancel(reference)
            if references:
                self._ray.wait(references, num_returns=len(references), timeout=CLOSING_SECONDS)
        self._mark.unlink(missing_ok=True)
        self._ray.shutdown()


def _execute_on_node(
    task: RunTask,
    mark: Path,
    gpu: int,
    num_threads: int,
    arguments: argparse.Namespace = advice.NOTHING,
) -> RunResult:
    advice.remember(arguments)
    if not mark.exists():
        raise UserError(
            f"[results] results_folder: {display_path(mark.parent)} is not shared with "
            f"{socket.gethostname()}: all nodes must see the same folder"
        )
    prepare_process()  # before the first import of torch, as the next line is before tqdm's
    os.environ["TQDM_DISABLE"] = "1"
    context = context_on(gpu, num_threads)
    return execute_silently(task, lambda run: train_run(run, context))


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
    except (RuntimeError, ValueError, OverflowError, OSError, ray.exceptions.RayError) as error:
        raise UserError(
            f"[cluster] address = {cluster.address}: no Ray cluster can be joined from this "
            f"machine: {shorten(error)}; ray start --head starts one, "
            "ray start --address=HOST:PORT lets this machine join one; if it has a password, set "
            "RAY_AUTH_MODE=token and copy its ~/.ray/auth_token"
        ) from None
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put a handler of its own there
    return ray


def check_reachable(address: str) -> None:
    """See whether anybody listens at HOST:PORT: Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
