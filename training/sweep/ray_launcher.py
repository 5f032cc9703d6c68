"""Runs on a Ray cluster, as many at a time as its nodes have room for; nodes may come and go.

Ray places the runs and says when one, its process or its node ends; what to run again is decided
by `training.sweep.schedule`, as with processes of this machine.
"""

import math
import os
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.files import aside_of, make_folder, remove_partial_files
from config.process import prepare_process
from config.sections import Cluster
from config.words import CPU
from training.sweep.launchers import train, use_threads, whole_parts, workshop_on
from training.sweep.sending import Collector, DeliveryLostError, carry_out_and_send
from training.sweep.task import Order, Outcome, carry_out_quietly

CANCEL_SECONDS = 20.0
# Of the node's GPUs Ray shows a process those that it may use.
FIRST_GPU = 0


class RayLauncher:
    """Hands orders to a Ray cluster.

    Args:
        ray: the module, connected.
        cluster: what a run takes, and whether results are sent.
        on_cpu: whether runs take cores alone.
        results_folder: of the runs, on this machine; a mark in it tells nodes that they share it.
    """

    is_elsewhere = True

    def __init__(self, ray: Any, cluster: Cluster, on_cpu: bool, results_folder: Path) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._needs = {"CPU": float(cluster.cpus_per_run)}
        if not on_cpu:
            self._needs["GPU"] = cluster.gpus_per_run
        self.losses = (*_losses(ray), DeliveryLostError)
        make_folder(results_folder)
        remove_partial_files(results_folder)
        # If this process is killed, the next one removes it.
        self._mark = aside_of(results_folder / f"shared_{uuid.uuid4().hex}")
        self._mark.touch()
        here = ray.get_runtime_context().get_node_id()
        self._collector = (
            ray.remote(Collector)
            .options(
                num_cpus=0,
                max_restarts=-1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
            )
            .remote(results_folder)
        )
        self._task = ray.remote(_work).options(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs.get("GPU", 0),
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        sharing = 1 if on_cpu else whole_parts(1, cluster.gpus_per_run)
        self._settings = (cluster.cpus_per_run, on_cpu, sharing, cluster.send_results == "always")
        self._tickets: dict[Future[Outcome], tuple[Any, str]] = {}

    @property
    def num_slots(self) -> int:
        """Runs that all nodes together have room for, as of now."""
        return sum(slots_of_node(node, self._needs) for node in self._ray.nodes())

    def submit(self, order: Order) -> "Future[Outcome]":
        """Let the cluster begin an order."""
        ticket = uuid.uuid4().hex
        self._mark.touch()  # other machines remove what is old
        reference = self._task.remote(
            order, ticket, self._collector, str(self._mark), *self._settings
        )
        future: Future[Outcome] = reference.future()
        self._tickets[future] = reference, ticket
        future.add_done_callback(self._released)
        return future

    def _released(self, future: "Future[Outcome]") -> None:
        """A run that is over, in whatever way, has no claim on its lock and its files any more."""
        _, ticket = self._tickets.pop(future)
        with suppress(Exception):  # the collector ends with the cluster
            self._collector.release.remote(ticket)

    def close(self) -> None:
        """Cancel what is at work, and give it a moment to leave everything in order."""
        references = [reference for reference, _ in self._tickets.values()]
        with suppress(Exception):  # the cluster may be what ended
            for reference in references:
                self._ray.cancel(reference)
            if references:
                self._ray.wait(references, num_returns=len(references), timeout=CANCEL_SECONDS)
        self._mark.unlink(missing_ok=True)


def slots_of_node(node: Mapping[str, Any], needs: Mapping[str, float]) -> int:
    """How many runs a node has room for.

    Args:
        node: an entry of ray.nodes().
        needs: of a run, by resource.
    """
    if not node["Alive"]:
        return 0
    has: Mapping[str, float] = node["Resources"]
    return min(_slots_of_resource(has.get(name, 0), need) for name, need in needs.items())


def _slots_of_resource(available: float, need: float) -> int:
    if need >= 1:
        return whole_parts(available, need)
    # A run's part of a GPU must be of one and the same.
    return math.floor(available) * whole_parts(1, need)


def _losses(ray: Any) -> tuple[type[BaseException], ...]:
    names = (
        "WorkerCrashedError",
        "NodeDiedError",
        "LocalRayletDiedError",
        "OutOfMemoryError",
        "OutOfDiskError",
        "ObjectStoreFullError",
        "ObjectLostError",
        "RayActorError",
        "RaySystemError",
        "RpcError",
    )
    return tuple(getattr(ray.exceptions, name) for name in names)


def _work(
    order: Order,
    ticket: str,
    collector: Any,
    mark: str,
    threads: int,
    on_cpu: bool,
    sharing: int,
    always_sends: bool,
) -> Outcome:
    """The task on a node."""
    import ray

    from training.engine.device_memory import share_device

    prepare_process()  # before the first import of torch, as the next line is before tqdm's
    os.environ["TQDM_DISABLE"] = "1"
    use_threads(threads)
    share_device(sharing)
    workshop = workshop_on(CPU if on_cpu else FIRST_GPU)
    if not always_sends and Path(mark).exists():
        return carry_out_quietly(order, lambda run: train(run, workshop))
    return carry_out_and_send(
        order,
        ticket,
        lambda run: train(run, workshop),
        lambda method, *values: ray.get(getattr(collector, method).remote(*values)),
    )
