"""Arrays that a forked process fills and its parent reads."""

import os

import numpy as np
import pytest

from preprocessing.pipeline.processes import CAN_FORK
from preprocessing.pipeline.shared_slots import InSlot, SharedSlots


@pytest.mark.skipif(not CAN_FORK, reason="processes are not forked here")
def test_what_a_child_writes_the_parent_reads() -> None:
    slots = SharedSlots(num_slots=3, bytes_each=4 * 6)
    child = os.fork()
    if child == 0:
        for slot in range(3):
            slots.empty(slot, (2, 3))[:] = slot + 1
        os._exit(0)
    os.waitpid(child, 0)
    for slot in range(3):
        array = slots.received(InSlot(slot, (2, 3)))
        assert array.dtype == np.float32
        assert array.tolist() == [[slot + 1] * 3] * 2


def test_slots_do_not_overlap() -> None:
    slots = SharedSlots(num_slots=2, bytes_each=5000)
    first, second = slots.empty(0, (1250,)), slots.empty(1, (1250,))
    first[:] = 1
    second[:] = 2
    assert set(first) == {1.0}
    assert set(second) == {2.0}


def test_nothing_is_copied() -> None:
    slots = SharedSlots(num_slots=1, bytes_each=400)
    examples = slots.empty(0, (10, 10))
    sent = slots.to_send(0, examples)
    assert sent == InSlot(0, (10, 10))
    examples[3, 4] = 7
    assert slots.received(sent)[3, 4] == 7


@pytest.mark.parametrize("bytes_each", [0, 4096])
def test_what_does_not_fit_is_sent_itself(bytes_each: int) -> None:
    slots = SharedSlots(num_slots=1, bytes_each=bytes_each)
    examples = slots.empty(0, (1025,))
    examples[:] = 5
    sent = slots.to_send(0, examples)
    assert isinstance(sent, np.ndarray)
    assert slots.received(sent) is examples


def test_no_examples() -> None:
    slots = SharedSlots(num_slots=1, bytes_each=4096)
    examples = slots.empty(0, (0, 3, 2))
    assert slots.received(slots.to_send(0, examples)).shape == (0, 3, 2)
