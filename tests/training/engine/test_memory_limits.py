"""What fits into the memory there is, and what is said when a training does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import UserError
from training.engine.memory import TrainingPlan, estimate_memory
from training.engine.memory_limits import (
    is_out_of_memory,
    largest_batch_size,
    memory_errors_explained,
    require_memory,
    room_for_speed,
    with_kept_data,
)

GIGABYTE = 10**9


def a_plan(**values: Any) -> TrainingPlan:
    return TrainingPlan(
        **{"width": 1 / 16, "num_classes": 10, "num_frames": 63, "num_bins": 64, **values}
    )


@settings(deadline=None, max_examples=60)
@given(
    width=st.sampled_from([1 / 64, 1 / 8, 1.0]),
    free=st.integers(0, 60 * GIGABYTE),
    layers=st.sampled_from([(), ((1,),), ((3, 13), (7,))]),
    held=st.sampled_from([(), ("program",), ("program", "kept data")]),
)
def test_the_largest_batch_size_fits_and_the_next_does_not(
    width: float, free: int, layers: tuple[tuple[int, ...], ...], held: Any
) -> None:
    plan = TrainingPlan(width, 4, 126, 129, layers=layers, kept_bytes=GIGABYTE)
    largest = largest_batch_size(plan, free, held)
    assert estimate_memory(plan, (largest or 0) + 1).without(held) > free
    if largest is not None:
        assert estimate_memory(plan, largest).without(held) <= free


def test_the_largest_batch_size_at_its_limits() -> None:
    plan = a_plan(width=1 / 64, num_frames=751)
    assert largest_batch_size(plan, estimate_memory(plan, 1).total - 1) is None
    assert largest_batch_size(plan, estimate_memory(plan, 1).total) == 1
    assert largest_batch_size(plan, estimate_memory(plan, 2).total) == 2
    assert largest_batch_size(a_plan(), 10**18) == 1_000_000


def test_an_estimate_that_fits_is_returned() -> None:
    plan = TrainingPlan(1.0, 4, 126, 129)
    estimate = estimate_memory(plan, 30)
    assert require_memory(plan, 30, estimate.total, "the CPU") == estimate
    held = estimate.total - estimate.parts["program"]
    assert require_memory(plan, 30, held, "the CPU", ["program"]) == estimate
    with pytest.raises(UserError):
        require_memory(plan, 30, held, "the CPU")


def test_too_large_a_batch_is_refused_with_one_that_fits() -> None:
    plan = TrainingPlan(1.0, 4, 501, 129, layers=((13,),))
    with pytest.raises(UserError) as raised:
        require_memory(plan, 30, 6 * GIGABYTE, "GPU 0", key="extractor_batch_size")
    text = str(raised.value)
    needed = estimate_memory(plan, 30).total / GIGABYTE
    assert text.startswith(f"too little memory on GPU 0: {needed:.1f} GB are needed and 6.0 GB are")
    assert f"takes about {needed:.1f} GB at batch_size = 30 (activations 2.8" in text
    assert "); --set extractor_batch_size=" in text
    assert "\n" not in text
    fitting_size = int(text.split("--set extractor_batch_size=")[1].split(maxsplit=1)[0])
    assert require_memory(plan, fitting_size, 6 * GIGABYTE, "GPU 0").batch_size == fitting_size
    with pytest.raises(UserError):
        require_memory(plan, fitting_size + 1, 6 * GIGABYTE, "GPU 0")


def test_where_not_even_one_example_fits() -> None:
    with pytest.raises(UserError, match=r"even batch_size = 1 needs \d\.\d GB: a device with more"):
        require_memory(TrainingPlan(1.0, 4, 501, 129), 30, GIGABYTE, "the CPU")


def no_such_array() -> object:
    return np.empty(2**50)


def no_such_tensor() -> object:
    return torch.empty(2**50)


def no_room_on_gpu() -> object:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def no_room_in_cudnn() -> object:
    raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


@pytest.mark.parametrize("fail", [no_such_array, no_such_tensor, no_room_on_gpu, no_room_in_cudnn])
def test_running_out_of_memory_is_explained(fail: Callable[[], object]) -> None:
    plan = TrainingPlan(1.0, 4, 501, 129)
    with (
        pytest.raises(UserError, match=r"the CPU ran out of memory.*=15 should fit"),
        memory_errors_explained(plan, 30, 16 * GIGABYTE, "the CPU"),
    ):
        fail()


def test_after_running_out_of_memory_less_is_advised_if_less_was_free() -> None:
    plan = TrainingPlan(1.0, 4, 501, 129)
    free = estimate_memory(plan, 7).total
    with (
        pytest.raises(UserError, match="--set batch_size=7 should fit"),
        memory_errors_explained(plan, 100, free, "the CPU"),
    ):
        no_such_tensor()
    with (
        pytest.raises(UserError, match="even batch_size = 1 needs"),
        memory_errors_explained(plan, 1, free, "the CPU"),
    ):
        no_such_tensor()


def test_other_errors_are_left_alone() -> None:
    for error in (RuntimeError("shapes differ"), UserError("no gradient"), ValueError("nan")):
        assert not is_out_of_memory(error)
        with (
            pytest.raises(type(error), match=str(error)),
            memory_errors_explained(a_plan(), 30, GIGABYTE, "the CPU"),
        ):
            raise error


def test_room_for_speed_leaves_what_a_training_needs() -> None:
    assert room_for_speed(100, 10, 0.4) == 40
    assert room_for_speed(100, 80, 0.4) == 20
    assert room_for_speed(100, 120, 0.4) == 0


def test_kept_data_with_room_and_without() -> None:
    plan = TrainingPlan(1.0, 4, 126, 129, layers=((2,),))
    examples, features = 4 * 1000 * 126 * 129, 4 * 1000 * 64**2
    assert with_kept_data(plan, 30, 1000, 64 * GIGABYTE).kept_bytes == examples + features
    needed = estimate_memory(plan, 30).total
    assert with_kept_data(plan, 30, 1000, needed).kept_bytes == 0
    assert with_kept_data(plan, 30, 1000, needed + 1000).kept_bytes == 1000
    assert with_kept_data(plan, 30, 1000, 64 * GIGABYTE, False).kept_bytes == examples
    kept = with_kept_data(plan, 30, 1000, needed + examples + 1000)
    assert kept.kept_bytes == examples
    assert estimate_memory(kept, 30).total == needed + examples
