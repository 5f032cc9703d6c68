"""Matrices that are complete, copied from one file into shards, into others, or back.

Nothing is computed anew, and their fingerprint stays: the values are the same.
"""

from pathlib import Path
from typing import Any

import numpy as np

from config.files import write_json
from config.settings import display_path
from preprocessing.pipeline.matrices import mark_of, open_matrices, part_path
from preprocessing.pipeline.matrix_writer import (
    ShardedWriter,
    put_in_place,
    remove_unfinished,
    shard_capacity,
    shard_lengths,
    shard_path,
)

CHUNK_BYTES = 32 * 2**20


def with_shards(info: dict[str, Any], lengths: list[int], whole: Path) -> dict[str, Any]:
    """What info.json says of matrices with shards of these lengths; none: of one file.

    Args:
        whole: path of the predictors, were they one file; the shards are in place.
    """
    others = {key: value for key, value in info.items() if key not in ("shards", "shard_marks")}
    if not lengths:
        return others
    marks = [mark_of(np.load(shard_path(whole, n), mmap_mode="r")) for n in range(len(lengths))]
    return others | {"shards": lengths, "shard_marks": marks}


def lay_out(folder: Path, name: str, gigabytes: float) -> None:
    """Make sure that no file of complete matrices is larger than asked for, and none too small.

    A run that is killed while the new files take the place of the old ones leaves matrices that
    count as incomplete.

    Args:
        gigabytes: [preprocessing] shard_gigabytes.

    Raises:
        UserError: the matrices are missing or unusable.
        OSError: the disk does not hold them twice.
    """
    whole = part_path(folder, name, "predictors")
    remove_unfinished(whole)
    matrices = open_matrices(folder, name)
    predictors, example_shape = matrices.predictors, matrices.predictors.shape[1:]
    capacity = shard_capacity(example_shape, gigabytes)
    lengths = shard_lengths(len(predictors), capacity)
    if lengths == matrices.info.get("shards", []):
        return
    writer = ShardedWriter(whole, example_shape, capacity)
    step = max(1, CHUNK_BYTES // (4 * int(np.prod(example_shape))))
    try:
        for first in range(0, len(predictors), step):
            writer.write(predictors[first : first + step])
        writer.finish()
    except BaseException:
        writer.close()
        remove_unfinished(whole)
        raise
    info = part_path(folder, name, "info")
    info.unlink()
    put_in_place(whole, lengths)
    write_json(info, with_shards(matrices.info, lengths, whole))
    print(f"{name}: now in {max(1, len(lengths))} files, in {display_path(folder)}")
