"""What the experiments of the paper cost on 1, 8 and 64 devices, and which limit binds there.

python -m benchmarks.scale                                     a GPU of an assumed speed
python -m benchmarks.scale --examples-per-second 126=1290 501=330 --epochs 20
python -m benchmarks.scale --cpu                               as measured on two cores
python -m benchmarks.scale --simulate                          the same list on Ray, asleep
python -m benchmarks.scale --hours 10000                       a corpus of that length
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.cost import (
    Device,
    Job,
    Limits,
    Plan,
    compute_seconds,
    job_of,
    longest_chain,
    makespan,
    read_bytes,
    training_operations,
)
from benchmarks.measuring import report
from benchmarks.sizes import (
    Corpus,
    bytes_per_example,
    corpus_of,
    corpus_of_experiment,
    frames_of,
)
from config.command_line import run_command
from config.errors import UserError
from config.experiments import Experiment, load_experiments
from config.extractors import EXTRACTORS, Extractor
from config.settings import Settings
from config.words import EXPERIMENTS_FOLDER
from experiments_manager import in_order
from training.sweep.inputs import sources_of

LAST_PUBLISHED = 199
HOUR, GIGABYTE, TERABYTE = 3600, 10**9, 10**12
MOST_DEVICES = 512
BANDWIDTHS = (0.1, 0.3, 1.0, 3.0)  # GB/s
# benchmarks/results: VGG16, batch 8, 1 s, cached features at layer 9, two cores of an AMD EPYC.
CPU_RATE = 2.19
# Not measured: about a quarter of what the matrix units of a GPU of 2020 do in TF32.
ASSUMED_OPERATIONS = 40e12
# docs/speed.md: processor time of a clip of 1 s, in s, and memory of a clip in the list of them.
PREPROCESSING_SECONDS, BYTES_OF_CLIP = 480e-6, 900
BYTES_OF_INDEX_ROW = 100


def plans_of(experiments: Iterable[Experiment], num_epochs: int, extractors: bool) -> list[Plan]:
    """A plan for each instance, in the manager's order, after the extractors if those count."""
    ordered = in_order(list(experiments))
    chosen = {experiment.id for experiment in ordered}
    plans: list[Plan] = []
    if extractors:
        needed = {
            name
            for experiment in ordered
            for instance in experiment.instances
            for name in instance.settings.training_defaults.extractors
            if name in EXTRACTORS
        }
        settings = ordered[0].instances[0].settings
        plans += [_plan_of_extractor(EXTRACTORS[name], settings) for name in sorted(needed)]
    for experiment in ordered:
        corpus = corpus_of_experiment(experiment)
        for instance in experiment.instances:
            training = instance.settings.training_defaults
            groups = {str(each) for each in sources_of(experiment) & chosen}
            if extractors:
                groups |= set(training.extractors) & set(EXTRACTORS)
            fractions = (training.train_split, training.validation_split)
            plan = _plan(str(experiment.id), corpus, fractions)
            plans.append(
                replace(
                    plan,
                    after=frozenset(groups),
                    num_epochs=min(num_epochs, training.num_epochs),
                    num_frozen=len(training.at_dataset) if training.anti_transfer else 0,
                )
            )
    return plans


def _plan_of_extractor(extractor: Extractor, settings: Settings) -> Plan:
    defaults = settings.training_defaults
    corpus = corpus_of(extractor.dataset, settings)
    fractions = (defaults.train_split, defaults.validation_split)
    plan = _plan(extractor.name, corpus, fractions)
    return replace(plan, num_epochs=extractor.num_epochs)


def _plan(group: str, corpus: Corpus, fractions: tuple[float, float]) -> Plan:
    train, validation = (round(part * corpus.num_examples) for part in fractions)
    return Plan(
        group=group,
        after=frozenset(),
        dataset=corpus.name,
        dataset_bytes=corpus.num_bytes,
        num_frames=corpus.num_frames,
        train=train,
        validation=validation,
        test=corpus.num_examples - train - validation,
        num_epochs=0,
    )


def jobs_on(plans: Sequence[Plan], num_devices: int, arguments: argparse.Namespace) -> list[Job]:
    """Prices on so many devices, which share the storage."""
    runs_per_device = round(1 / arguments.gpus_per_run)
    bandwidth = arguments.storage * GIGABYTE / min(len(plans), num_devices * runs_per_device)
    device = device_of(arguments)
    own = min(bandwidth, arguments.disk * GIGABYTE)
    price = {
        plan: job_of(plan, device, arguments.overhead, own, runs_per_device) for plan in set(plans)
    }
    return [price[plan] for plan in plans]


def limits_on(plans: Sequence[Plan], num_devices: int, arguments: argparse.Namespace) -> Limits:
    """The three times that so many devices cannot fall short of."""
    jobs = jobs_on(plans, num_devices, arguments)
    num_nodes = -(-num_devices // arguments.devices_per_node)
    read = read_bytes(plans, num_nodes, arguments.node_memory * GIGABYTE)
    num_bytes = read + sum(job.written_bytes for job in jobs)
    return Limits(
        devices=sum(job.seconds for job in jobs) * arguments.gpus_per_run / num_devices,
        storage=num_bytes / (arguments.storage * GIGABYTE),
        chain=longest_chain(jobs),
    )


def row_of(
    plans: Sequence[Plan], num_devices: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """What a number of devices gives."""
    jobs, limits = jobs_on(plans, num_devices, arguments), limits_on(plans, num_devices, arguments)
    slots = num_devices * round(1 / arguments.gpus_per_run)
    seconds = max(makespan(jobs, slots), limits.storage)
    return {
        "devices": num_devices,
        "runs": len(jobs),
        "hours": seconds / HOUR,
        "longest first": max(makespan(jobs, slots, longest_first=True), limits.storage) / HOUR,
        "device time": limits.devices / HOUR,
        "storage": limits.storage / HOUR,
        "longest chain": limits.chain / HOUR,
        "busy %": 100 * limits.devices / seconds,
        "written TB": sum(job.written_bytes for job in jobs) / TERABYTE,
        "binds": limits.binding,
    }


def turning_points(plans: Sequence[Plan], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """From how many devices on which limit binds, for several bandwidths of the storage."""
    rows: list[dict[str, Any]] = []
    for storage in sorted({*BANDWIDTHS, arguments.storage}):
        options = argparse.Namespace(**{**vars(arguments), "storage": storage})
        binding = ""
        for num_devices in range(1, MOST_DEVICES + 1):
            limits = limits_on(plans, num_devices, options)
            if limits.binding != binding:
                binding = limits.binding
                row = {"storage GB/s": storage, "from devices": num_devices, "binds": binding}
                rows.append({**row, "at least h": limits.longest / HOUR})
    return rows


def rows_of_datasets(plans: Sequence[Plan], device: Device) -> list[dict[str, Any]]:
    """For each dataset: its size, and the time of a run on it."""
    rows = []
    for dataset in dict.fromkeys(plan.dataset for plan in plans):
        runs = [plan for plan in plans if plan.dataset == dataset]
        longest = max(runs, key=lambda plan: compute_seconds(plan, device))
        rows.append(
            {
                "dataset": dataset,
                "runs": len(runs),
                "examples": longest.train + longest.validation + longest.test,
                "bytes/example": bytes_per_example(longest.num_frames),
                "GB": longest.dataset_bytes / GIGABYTE,
                "GFLOP/example": training_operations(longest.num_frames) / 1e9,
                "examples/s": device.examples_per_second(longest.num_frames),
                "longest run h": compute_seconds(longest, device) / HOUR,
            }
        )
    return rows


def rows_of_corpus(hours: float, seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a corpus of so many hours takes, in examples of so many seconds."""
    device, num_frames = device_of(arguments), frames_of(seconds)
    num_examples = round(hours * HOUR / seconds)
    rate = device.examples_per_second(num_frames)
    num_bytes = num_examples * bytes_per_example(num_frames)
    return {
        "example s": seconds,
        "examples": num_examples,
        "matrices TB": num_bytes / TERABYTE,
        # A clip's time grows with its length.
        "preprocessing core h": hours * HOUR * PREPROCESSING_SECONDS / HOUR,
        "list of clips GB": num_examples * BYTES_OF_CLIP / GIGABYTE,
        "index GB": num_examples * BYTES_OF_INDEX_ROW / GIGABYTE,
        "epoch h, 1 device": num_examples / rate / HOUR,
        "epoch h, 64 devices": num_examples / rate / 64 / HOUR,
        "reading it h": num_bytes / (arguments.storage * GIGABYTE) / HOUR,
    }


def device_of(arguments: argparse.Namespace) -> Device:
    """What the arguments say of a device."""
    rates: Mapping[int, float] = arguments.examples_per_second or {}
    if arguments.cpu:
        rates = {frames_of(1): CPU_RATE}
    if rates:
        one = min(rates)
        operations = rates[one] * training_operations(one)
    else:
        operations = arguments.teraflops * 1e12
    return Device(operations, rates, arguments.evaluation_gain)


def rates_from(words: Sequence[str]) -> dict[int, float]:
    """Examples/s by frames.

    Raises:
        UserError: a word is not FRAMES=NUMBER.
    """
    rates = {}
    for word in words:
        frames, _, rate = word.partition("=")
        try:
            rates[int(frames)] = float(rate)
        except ValueError:
            rates[0] = 0.0
        if min(rates) < 1 or not min(rates.values()) > 0:
            raise UserError(
                f"--examples-per-second {word}: must be FRAMES=NUMBER, as 126=1290; "
                "python -m benchmarks.gpu --parts steps measures it"
            )
    return rates


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--devices", type=int, nargs="+", default=[1, 8, 64])
    add("--gpus-per-run", type=float, default=1.0, help="runs that share a GPU slow each other")
    add("--all", action="store_true", help="also the experiments that the paper does not have")
    add("--extractors", action="store_true", help="also the pre-training that they need")
    add("--epochs", type=int, default=20, help="of a run of at most 50, until early stopping")
    add("--overhead", type=float, default=20.0, help="s of a run beside its computing and files")
    add("--storage", type=float, default=1.0, help="GB/s of the storage that all devices share")
    add("--disk", type=float, default=1.0, help="GB/s that one run reaches")
    add("--devices-per-node", type=int, default=8)
    add("--node-memory", type=float, default=256.0, help="GB")
    device = parser.add_argument_group("speed of a device")
    device.add_argument("--examples-per-second", nargs="+", metavar="FRAMES=NUMBER")
    device.add_argument("--cpu", action="store_true", help="as measured on two cores")
    device.add_argument("--teraflops", type=float, default=ASSUMED_OPERATIONS / 1e12)
    device.add_argument("--evaluation-gain", type=float, default=3.0)
    add("--hours", type=float, help="only: what a corpus of so many hours takes")
    add("--simulate", action="store_true", help="only: the list on Ray, asleep")
    add("--seconds", type=float, default=20.0, help="of each simulation")
    add("--write", action="store_true", help="keep the JSON under results/")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Work out and report."""
    arguments = build_parser().parse_args(words)
    if arguments.examples_per_second:
        arguments.examples_per_second = rates_from(arguments.examples_per_second)
    elif not arguments.cpu:
        print(f"speed: {arguments.teraflops:g} TFLOP/s are assumed, not measured")
    if arguments.hours:
        rows = [rows_of_corpus(arguments.hours, seconds, arguments) for seconds in (1, 4)]
        report("scale_corpus", rows, arguments.write)
        return
    experiments = load_experiments(EXPERIMENTS_FOLDER).values()
    chosen = [each for each in experiments if arguments.all or each.id <= LAST_PUBLISHED]
    plans = plans_of(chosen, arguments.epochs, arguments.extractors)
    if arguments.simulate:
        from benchmarks.sleeping import simulate_all

        jobs = {number: jobs_on(plans, number, arguments) for number in arguments.devices}
        report("scale_simulation", simulate_all(jobs, arguments.seconds), arguments.write)
        return
    report("scale_datasets", rows_of_datasets(plans, device_of(arguments)), arguments.write)
    rows = [row_of(plans, number, arguments) for number in arguments.devices]
    report("scale", rows, arguments.write)
    report("scale_limits", turning_points(plans, arguments), arguments.write)


if __name__ == "__main__":
    run_command(main)
