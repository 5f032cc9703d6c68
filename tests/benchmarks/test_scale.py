"""The cost model against hand computations, lower bounds, torch's own counts, and sleeping Ray."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cost, scale, sizes, sleeping
from benchmarks.cost import Device, Job, Limits, Plan
from config.errors import UserError
from config.experiments import load_experiments
from config.words import EXPERIMENTS_FOLDER
from preprocessing.corpora import all_datasets
from training.models.vgg import VGG16

NUM_PUBLISHED_RUNS = 442
PLAN = Plan(
    group="1",
    after=frozenset(),
    dataset="gsc_randsplit",
    dataset_bytes=1000,
    num_frames=126,
    train=700,
    validation=200,
    test=100,
    num_epochs=10,
)
DEVICE = Device(operations=1e9, rates={126: 100.0}, evaluation_gain=4.0)


def job(group: str, seconds: float, *after: str) -> Job:
    return Job(group, frozenset(after), seconds)


@pytest.mark.parametrize(("num_slots", "seconds"), [(1, 13), (2, 8), (3, 7), (4, 6), (9, 5)])
def test_runs_are_done_when_a_plan_on_paper_says(num_slots: int, seconds: float) -> None:
    """A takes 3, B 1, C 2, D 2, E 5. Two slots: A 0-3, B 0-1, C 1-3, D 3-5, E 3-8. Three: A 0-3,
    B 0-1, C 0-2, D 1-3, E 2-7. Four: the first of them to end, B, makes room for E, 1-6.
    """
    jobs = [job("a", 3), job("b", 1), job("c", 2), job("d", 2), job("e", 5)]
    assert cost.makespan(jobs, num_slots) == seconds


def test_who_waits_for_others_begins_after_all_of_them() -> None:
    """The slots: 4, and 1 then idle until 4, as both of the second group wait; then 2 and 3."""
    jobs = [job("first", 4), job("first", 1), job("second", 2, "first"), job("second", 3, "first")]
    assert cost.makespan(jobs, 2) == 7
    assert cost.longest_chain(jobs) == 7
    # One that waits for nobody goes ahead of those that do.
    assert cost.makespan([*jobs, job("third", 3)], 2) == 7


def test_the_longest_first_may_be_done_sooner() -> None:
    jobs = [job("a", 1), job("a", 1), job("a", 2)]
    assert cost.makespan(jobs, 2) == 3
    assert cost.makespan(jobs, 2, longest_first=True) == 2


def test_runs_that_wait_for_each_other_are_an_error() -> None:
    with pytest.raises(ValueError, match="wait for each other"):
        cost.makespan([job("a", 1, "b"), job("b", 1, "a")], 1)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 10)), min_size=1, max_size=20),
    st.integers(1, 8),
)
def test_no_schedule_falls_short_of_the_limits(
    listed: list[tuple[str, float]], num_slots: int
) -> None:
    """Nor does it take longer than Graham's bound for lists with an order: work and chain."""
    before = {"a": (), "b": ("a",), "c": ("b",)}
    jobs = [job(group, seconds, *before[group]) for group, seconds in listed]
    seconds = cost.makespan(jobs, num_slots)
    work, chain = sum(each.seconds for each in jobs) / num_slots, cost.longest_chain(jobs)
    assert seconds >= max(work, chain) * (1 - 1e-9)
    assert seconds <= (work + chain) * (1 + 1e-9)


@pytest.mark.parametrize("num_frames", [40, 126])
def test_operations_are_those_that_torch_counts(num_frames: int) -> None:
    width = 1 / 32
    model = VGG16(10, width=width)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 1, num_frames, cost.NUM_BINS)).sum().backward()
    assert cost.training_operations(num_frames, width, 10) == counter.get_total_flops()


def test_seconds_of_a_run_by_hand() -> None:
    """An epoch: 700 / 100 + 900 / 400 = 9.25 s. In the end 1000 / 400; features 900 / 400 each."""
    assert cost.compute_seconds(PLAN, DEVICE) == pytest.approx(92.5 + 2.5)
    both = replace(PLAN, num_frozen=2)
    assert cost.compute_seconds(both, DEVICE) == pytest.approx(92.5 + 2.5 + 4.5)


@pytest.mark.parametrize(
    ("save", "expected"),
    [(0.0, 10), (1.0, 10), (1.1, 5), (4.0, 3), (1000.0, 1)],
)
def test_states_are_written_for_a_tenth_of_the_time(save: float, expected: int) -> None:
    """Ten epochs of 10 s; after each: each second one; after 1, 5 and 9; the first alone."""
    assert cost.num_saves(10, 10.0, save) == expected


def test_price_of_a_run_by_hand() -> None:
    """10 classes: 134,300,362 parameters. At 1e12 bytes/s a state of four times that each epoch."""
    model = 4 * 134_300_362
    found = cost.job_of(PLAN, DEVICE, overhead=7.0, bandwidth=1e12)
    assert found.written_bytes == 41 * model
    assert found.seconds == pytest.approx(95 + 7 + 41 * model / 1e12)
    shared = cost.job_of(PLAN, DEVICE, overhead=7.0, bandwidth=1e12, runs_per_device=4)
    assert shared.seconds == pytest.approx(4 * 95 + 7 + 41 * model / 1e12)


def test_what_nodes_read() -> None:
    """Three runs of a dataset that fits: once for each of two nodes; else 11 times for each run."""
    plans = [PLAN] * 3
    assert cost.read_bytes(plans, 2, node_memory=2000) == 2000
    assert cost.read_bytes(plans, 64, node_memory=2000) == 3000
    assert cost.read_bytes(plans, 2, node_memory=1999) == 33_000


def test_the_limit_that_binds() -> None:
    assert Limits(3, 2, 1).binding == "devices"
    assert Limits(1, 2, 1).binding == "storage"
    assert Limits(1, 2, 3).binding == "chain"
    assert Limits(1, 2, 3).longest == 3


def test_the_published_runs_are_planned() -> None:
    experiments = load_experiments(EXPERIMENTS_FOLDER).values()
    published = [each for each in experiments if each.id <= scale.LAST_PUBLISHED]
    assert len(published) == 41
    plans = scale.plans_of(published, 20, extractors=False)
    assert len(plans) == NUM_PUBLISHED_RUNS
    dual = next(plan for plan in plans if plan.group == "34")
    assert dual.after == {"31"}
    assert (dual.num_frames, dual.train, dual.validation, dual.test) == (126, 7000, 2000, 1000)
    assert (dual.num_epochs, dual.num_frozen) == (20, 1)
    weights = next(plan for plan in plans if plan.group == "100")
    assert (weights.num_frames, weights.num_frozen, weights.after) == (501, 0, frozenset())
    extractors = scale.plans_of(published, 20, extractors=True)
    assert len(extractors) == NUM_PUBLISHED_RUNS + 6
    dual = next(plan for plan in extractors if plan.group == "34")
    assert dual.after == {"31", "noisyspeech"}
    assert len(scale.plans_of(experiments, 20, extractors=False)) == 762


def test_every_dataset_has_a_size() -> None:
    assert set(sizes.SIZES) == set(all_datasets())
    assert [sizes.frames_of(seconds) for seconds in (1, 4, 6)] == [126, 501, 751]
    assert sizes.bytes_per_example(126) == 65_016


def test_more_devices_take_less_time_but_never_less_than_the_limits() -> None:
    experiments = [load_experiments(EXPERIMENTS_FOLDER)[number] for number in (31, 34)]
    arguments = scale.build_parser().parse_args([])
    plans = scale.plans_of(experiments, 20, extractors=False)
    rows = [scale.row_of(plans, number, arguments) for number in (1, 8, 64)]
    assert [row["runs"] for row in rows] == [26, 26, 26]
    assert rows[0]["hours"] > rows[1]["hours"]
    for row in rows:
        longest = max(row["device time"], row["storage"], row["longest chain"])
        assert row["hours"] >= longest * (1 - 1e-9)
    assert rows[0]["binds"] == "devices"


def test_runs_that_share_a_device_slow_each_other_and_are_more_at_a_time() -> None:
    """13 runs on 4 devices take turns four times, 52 quarters of a device in one."""
    experiments = [load_experiments(EXPERIMENTS_FOLDER)[31]]
    plans = scale.plans_of(experiments, 20, extractors=False)
    options = ["--overhead", "0", "--storage", "1e9", "--disk", "1e9"]
    alone = scale.row_of(plans, 4, scale.build_parser().parse_args(options))
    shared_options = scale.build_parser().parse_args([*options, "--gpus-per-run", "0.25"])
    shared = scale.row_of(plans, 4, shared_options)
    assert shared["longest chain"] == pytest.approx(4 * alone["longest chain"], rel=1e-4)
    assert shared["device time"] == pytest.approx(alone["device time"], rel=1e-4)
    assert shared["hours"] == pytest.approx(alone["hours"], rel=1e-4)
    assert alone["hours"] == pytest.approx(4 * alone["longest chain"], rel=1e-4)


def test_a_speed_of_one_length_is_that_of_the_others_by_operations() -> None:
    arguments = scale.build_parser().parse_args([])
    arguments.examples_per_second = scale.rates_from(["126=1000"])
    device = scale.device_of(arguments)
    ratio = cost.training_operations(501) / cost.training_operations(126)
    assert device.examples_per_second(126) == 1000
    assert device.examples_per_second(501) == pytest.approx(1000 / ratio)


@pytest.mark.parametrize("word", ["1290", "126=", "126=fast", "126=0", "0=5", "126=nan"])
def test_a_speed_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="FRAMES=NUMBER"):
        scale.rates_from([word])


def test_a_corpus_by_hand() -> None:
    """10,000 h: 36 million examples of 1 s, 65,016 bytes each; 480 us of processor time for 1 s."""
    arguments = scale.build_parser().parse_args([])
    row = scale.rows_of_corpus(10_000, 1, arguments)
    assert row["examples"] == 36_000_000
    assert row["matrices TB"] == pytest.approx(2.340576)
    assert row["preprocessing core h"] == pytest.approx(4.8)
    assert row["reading it h"] == pytest.approx(2340.576 / 3600)


def test_ray_takes_what_was_predicted() -> None:
    """Two slots; what waits begins after what it waits for, which only a wrong order would beat."""
    jobs = [job("a", 2), job("a", 1), job("b", 1, "a"), job("b", 2, "a")]
    (row,) = sleeping.simulate_all({2: jobs}, seconds=4.0)
    assert cost.makespan(jobs, 2) == 4
    assert row["measured s"] >= 4.0
    assert row["measured s"] == pytest.approx(4.0, rel=0.5)
