"""A list of runs on Ray, where each sleeps instead of training: does it take what was predicted?

Threads of a few processes stand for the devices, so that 64 of them fit on a small machine.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.cost import Job, makespan
from config.cluster import imported

MOST_PROCESSES = 4
OBJECT_STORE_BYTES = 100 * 2**20
NUM_EMPTY_TASKS = 200
WARM_UP_SECONDS = 0.2


@contextmanager
def own_cluster() -> Iterator[Any]:
    """The module ray with a cluster of its own on this machine, within the block."""
    ray = imported()
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        yield ray
    finally:
        ray.shutdown()


class Sleeper:
    """Devices of one process."""

    def run(self, seconds: float) -> None:
        """A run."""
        time.sleep(seconds)


def _sleepers(ray: Any, num_slots: int) -> list[Any]:
    """One handle for each slot; some share a process."""
    num_processes = min(num_slots, MOST_PROCESSES)
    actor = ray.remote(Sleeper)
    handles = [
        actor.options(num_cpus=0, max_concurrency=num_slots).remote() for _ in range(num_processes)
    ]
    slots = [handles[number % num_processes] for number in range(num_slots)]
    ray.get([slot.run.remote(WARM_UP_SECONDS) for slot in slots])
    return slots


def measured_makespan(ray: Any, jobs: Sequence[Job], num_slots: int, scale: float) -> float:
    """Seconds that the runs take, each asleep for its own seconds times scale.

    A slot that is free takes the first run that may begin, as the manager does it.
    """
    free = _sleepers(ray, num_slots)
    waiting = list(jobs)
    left: dict[str, int] = {}
    for job in jobs:
        left[job.group] = left.get(job.group, 0) + 1
    at_work: dict[Any, tuple[Job, Any]] = {}
    start = time.perf_counter()
    while waiting or at_work:
        ready = [job for job in waiting if not any(left.get(group, 0) for group in job.after)]
        for job in ready[: len(free)]:
            waiting.remove(job)
            slot = free.pop()
            at_work[slot.run.remote(job.seconds * scale)] = job, slot
        done, _ = ray.wait(list(at_work), num_returns=1)
        for reference in done:
            job, slot = at_work.pop(reference)
            left[job.group] -= 1
            free.append(slot)
    return time.perf_counter() - start


def seconds_per_task(ray: Any) -> float:
    """Of an empty task, one after the other: what Ray itself takes for a run."""

    @ray.remote  # type: ignore[untyped-decorator]
    def empty() -> None:
        return None

    ray.get(empty.remote())
    start = time.perf_counter()
    for _ in range(NUM_EMPTY_TASKS):
        ray.get(empty.remote())
    return (time.perf_counter() - start) / NUM_EMPTY_TASKS


def simulate_all(jobs_of: Mapping[int, Sequence[Job]], seconds: float) -> list[dict[str, Any]]:
    """A row for each number of slots; the runs are made so short that all take so many seconds.

    Args:
        jobs_of: the runs, by number of slots.
    """
    rows = []
    with own_cluster() as ray:
        overhead = seconds_per_task(ray)
        for num_slots, jobs in jobs_of.items():
            scale = seconds / makespan(jobs, num_slots)
            measured = measured_makespan(ray, jobs, num_slots, scale)
            rows.append(
                {
                    "slots": num_slots,
                    "runs": len(jobs),
                    "predicted s": seconds,
                    "measured s": measured,
                    "error %": 100 * (measured - seconds) / seconds,
                    "ms more per run of a slot": 1000
                    * (measured - seconds)
                    * num_slots
                    / len(jobs),
                    "empty task ms": 1000 * overhead,
                }
            )
    return rows
