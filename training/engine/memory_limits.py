"""What fits into the memory there is: a batch size, data kept for speed; else an error that helps.

No torch here, as in training/engine/memory.py, whose estimates these are.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from config.errors import UserError
from training.engine.memory import (
    GIGABYTE,
    MemoryEstimate,
    TrainingPlan,
    estimate_memory,
    feature_bytes,
)

# Shares of the free memory for what is kept there for speed alone: examples, frozen features.
RESIDENT_SHARE, MEMORY_SHARE = 0.4, 0.5
LARGEST_BATCH_SIZE = 1_000_000
OUT_OF_MEMORY = (
    "out of memory",
    "defaultcpuallocator",
    "alloc_failed",
    "bad_alloc",
)


def room_for_speed(free_bytes: int, needed_bytes: int, share: float) -> int:
    """Bytes for what is kept on a device for speed alone: a share, and never what a training needs.

    Args:
        free_bytes: on the device.
        needed_bytes: by the training, of those.
        share: RESIDENT_SHARE or MEMORY_SHARE.
    """
    return max(0, min(int(share * free_bytes), free_bytes - needed_bytes))


def with_kept_data(
    plan: TrainingPlan,
    batch_size: int,
    num_examples: int,
    free_bytes: int,
    keeps_features: bool = True,
) -> TrainingPlan:
    """The plan with the examples and frozen features that will lie on the device.

    Args:
        num_examples: of all sets together.
        free_bytes: on the device, before anything of the training is there.
        keeps_features: whether frozen features are kept on the device (at_cache = auto).
    """
    needed = estimate_memory(replace(plan, kept_bytes=0), batch_size).total
    data = 4 * num_examples * plan.num_frames * plan.num_bins
    data = min(data, room_for_speed(free_bytes, needed, RESIDENT_SHARE))
    features = feature_bytes(plan, num_examples) if keeps_features else 0
    if features > room_for_speed(free_bytes - data, needed, MEMORY_SHARE):
        features = 0
    return replace(plan, kept_bytes=data + features)


def largest_batch_size(
    plan: TrainingPlan, free_bytes: int, held: Collection[str] = ()
) -> int | None:
    """The largest batch size whose training fits into so many bytes; None: not even 1 does.

    Args:
        held: parts that are on the device already, and so are not among the free bytes.
    """
    if not _fits(plan, 1, free_bytes, held):
        return None
    fitting, too_large = 1, LARGEST_BATCH_SIZE + 1
    while too_large - fitting > 1:
        middle = min(2 * fitting, (fitting + too_large) // 2)
        if _fits(plan, middle, free_bytes, held):
            fitting = middle
        else:
            too_large = middle
    return fitting


def _fits(plan: TrainingPlan, batch_size: int, free_bytes: int, held: Collection[str]) -> bool:
    return estimate_memory(plan, batch_size).without(held) <= free_bytes


def require_memory(
    plan: TrainingPlan,
    batch_size: int,
    free_bytes: int,
    device_name: str,
    held: Collection[str] = (),
    key: str = "batch_size",
) -> MemoryEstimate:
    """Refuse a training that will not fit; returns the estimate of one that does.

    Args:
        free_bytes: on the device.
        device_name: "the CPU" or "GPU 0".
        held: parts that are on the device already, and so are not among the free bytes.
        key: of the batch size in the configuration.

    Raises:
        UserError: names what is needed, what is free, and a batch size that fits.
    """
    estimate = estimate_memory(plan, batch_size)
    needed = estimate.without(held)
    if needed <= free_bytes:
        return estimate
    raise UserError(
        f"too little memory on {device_name}: {gigabytes(needed)} are needed and "
        f"{gigabytes(free_bytes)} are free; the training takes {estimate}; "
        + _advice(plan, batch_size - 1, free_bytes, held, key)
    )


@contextmanager
def memory_errors_explained(
    plan: TrainingPlan,
    batch_size: int,
    free_bytes: int,
    device_name: str,
    held: Collection[str] = (),
    key: str = "batch_size",
) -> Iterator[None]:
    """Within the block, running out of memory is a UserError that names a smaller batch size.

    Args:
        free_bytes: on the device, before the block. The others are those of `require_memory`.

    Raises:
        UserError: in place of torch's, CUDA's and NumPy's errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # It was expected to fit, so others took memory meanwhile, or the estimate is too low here.
        raise UserError(
            f"{device_name} ran out of memory: the training was expected to take "
            f"{estimate_memory(plan, batch_size)}, and {gigabytes(free_bytes)} were free before "
            f"it; {_advice(plan, batch_size // 2, free_bytes, held, key)}"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, a library of CUDA, or NumPy could not get memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)


def _advice(plan: TrainingPlan, most: int, free_bytes: int, held: Collection[str], key: str) -> str:
    """What to do, given that no batch larger than most is worth a try."""
    fitting = largest_batch_size(plan, free_bytes, held)
    if fitting is not None and most >= 1:
        return f"--set {key}={min(fitting, most)} should fit"
    smallest = estimate_memory(plan, 1).without(held)
    return (
        f"even {key} = 1 needs {gigabytes(smallest)}: a device with more memory or a smaller "
        "--set width is needed"
    )


def gigabytes(num_bytes: int) -> str:
    """As in '5.3 GB'."""
    return f"{num_bytes / GIGABYTE:.1f} GB"
