"""Finished blocks on their way to the disk: examples into the matrix, then a line in the journal.

A journal line promises that the examples before it are on the disk. Waiting for the disk after
every block would cost more than the features, so another thread does it for all the blocks that
have come in the meantime.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from preprocessing.pipeline.jobs import Journal, fingerprint_of
from preprocessing.pipeline.matrix_writer import ShardedWriter
from preprocessing.pipeline.shared_slots import Examples


class BlockStore:
    """A growing matrix, one file or shards, and its journal; a restart goes on where they end."""

    def __init__(
        self,
        path: Path,
        journal_path: Path,
        plan: str,
        shape: tuple[int, int],
        shard_capacity: int = 0,
    ) -> None:
        """Open both.

        Args:
            path: of the matrix, which has other names while it is unfinished.
            plan: what the examples depend on; blocks of another one are forgotten.
            shape: of an example, (frames, bins).
            shard_capacity: examples of a shard, 0: one file; blocks of another one are forgotten.
        """
        if shard_capacity:
            plan = fingerprint_of([plan, shard_capacity])
        self._journal: Journal[dict[str, Any]] = Journal(journal_path, plan)
        self._writer = _continued(path, self._journal, shape, shard_capacity)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._saving: Future[None] | None = None
        self._unsaved: list[dict[str, Any]] = []

    @property
    def records(self) -> list[dict[str, Any]]:
        """What is known of the blocks on the disk, in their order."""
        return self._journal.records

    def add(self, examples: Examples, record: dict[str, Any]) -> None:
        """Write the next block; its record, with the rows of the examples, follows soon after.

        Raises:
            OSError: this block or an earlier one cannot be written.
        """
        self._writer.write(examples)
        self._unsaved.append(record)
        if self._saving is None or self._saving.done():
            self._wait()
            records, self._unsaved = self._unsaved, []
            self._saving = self._thread.submit(self._save, records)

    def finish(self) -> None:
        """Complete the matrix: all of it is on the disk when this returns."""
        self._save_all()
        self._writer.finish()

    def close(self) -> None:
        """Leave both for a restart; blocks that cannot be saved are worked on again."""
        with suppress(OSError):
            self._save_all()
        self._thread.shutdown()
        for file in (self._writer, self._journal):
            with suppress(OSError):
                file.close()

    def _save_all(self) -> None:
        self._wait()
        records, self._unsaved = self._unsaved, []
        if records:
            self._save(records)

    def _wait(self) -> None:
        """Raise what saving raised, now and ever after: nothing may follow blocks that are lost."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def _save(self, records: list[dict[str, Any]]) -> None:
        self._writer.sync()
        self._journal.append(*records)


def _continued(
    path: Path, journal: Journal[dict[str, Any]], shape: tuple[int, int], capacity: int
) -> ShardedWriter:
    """A writer that goes on where the journal ends; without the examples it promises, anew."""
    keep = sum(len(record["rows"]) for record in journal.records)
    try:
        return ShardedWriter(path, shape, capacity, keep)
    except (OSError, ValueError):
        journal.forget()
        return ShardedWriter(path, shape, capacity)
