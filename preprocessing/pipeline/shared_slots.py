"""Memory that worker processes fill and their parent reads: no array goes through a pipe."""

import mmap
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Examples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class InSlot:
    """What a worker sends in place of an array: where it lies."""

    slot: int
    shape: tuple[int, ...]


class SharedSlots:
    """Pieces of memory for one array each, shared with the processes that are forked afterwards.

    A piece takes up no memory before it is written. An array that is too large for a piece has
    memory of its own and goes through the pipe; with pieces of 0 bytes all arrays do.
    """

    def __init__(self, num_slots: int, bytes_each: int) -> None:
        self._bytes_each = -(-bytes_each // mmap.PAGESIZE) * mmap.PAGESIZE
        total = num_slots * self._bytes_each
        self._memory = mmap.mmap(-1, total) if total else b""

    def empty(self, slot: int, shape: tuple[int, ...]) -> Examples:
        """A float32 array to fill, in the slot if it is large enough."""
        if self._fits(shape):
            return self._array(InSlot(slot, shape))
        return np.empty(shape, dtype=np.float32)

    def to_send(self, slot: int, examples: Examples) -> Examples | InSlot:
        """What a worker returns for an array that it got from empty()."""
        return InSlot(slot, examples.shape) if self._fits(examples.shape) else examples

    def received(self, sent: Examples | InSlot) -> Examples:
        """The array that a worker returned, in the slot until the slot is filled again."""
        return self._array(sent) if isinstance(sent, InSlot) else sent

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return 0 < 4 * int(np.prod(shape)) <= self._bytes_each

    def _array(self, place: InSlot) -> Examples:
        start = place.slot * self._bytes_each
        count = int(np.prod(place.shape))
        values = np.frombuffer(self._memory, dtype=np.float32, count=count, offset=start)
        return values.reshape(place.shape)
