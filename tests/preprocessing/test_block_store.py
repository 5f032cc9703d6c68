"""Blocks on their way to the disk: in order, never promised before they are there."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.pipeline.block_store import BlockStore
from preprocessing.pipeline.matrix_writer import ShardedWriter

SHAPE = (3, 2)


def opened(folder: Path, plan: str = "plan") -> BlockStore:
    return BlockStore(folder / "a.npy", folder / "a.journal", plan, SHAPE)


def block(number: int, count: int = 2) -> tuple[np.ndarray, dict[str, Any]]:
    examples = np.full((count, *SHAPE), number, dtype=np.float32)
    return examples, {"number": number, "rows": list(range(count))}


def promised(folder: Path) -> list[int]:
    """Numbers of the blocks in the journal, without its first line and half of a last one."""
    lines = (folder / "a.journal").read_text().split("\n")[1:-1]
    return [json.loads(line)["number"] for line in lines]


def matrix(folder: Path) -> list[float]:
    values = np.load(folder / "a.npy.unfinished")
    assert values.shape[1:] == SHAPE
    return [float(value) for value in values[:, 0, 0]]


def test_examples_and_records_in_their_order(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(20):
        store.add(*block(number, number % 3))
    store.finish()
    store.close()
    assert [record["number"] for record in store.records] == list(range(20))
    assert promised(tmp_path) == list(range(20))
    assert matrix(tmp_path) == [number for number in range(20) for _ in range(number % 3)]


def test_closed_before_the_end_it_goes_on_there(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(5):
        store.add(*block(number))
    store.close()
    store = opened(tmp_path)
    assert [record["number"] for record in store.records] == [0, 1, 2, 3, 4]
    store.add(*block(5))
    store.finish()
    store.close()
    assert matrix(tmp_path) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_another_plan_starts_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(*block(1))
    store.close()
    store = opened(tmp_path, "another plan")
    assert store.records == []
    store.add(*block(7))
    store.finish()
    store.close()
    assert matrix(tmp_path) == [7, 7]


def test_examples_that_the_journal_lacks_are_cut_off(tmp_path: Path) -> None:
    """As after a kill between the matrix and the journal."""
    store = opened(tmp_path)
    store.add(*block(1))
    store.close()
    with (tmp_path / "a.npy.unfinished").open("ab") as file:
        file.write(bytes(37))
    store = opened(tmp_path)
    store.add(*block(2))
    store.finish()
    store.close()
    assert matrix(tmp_path) == [1, 1, 2, 2]


@pytest.mark.parametrize("spoil", ["unlink", "truncate"])
def test_without_the_examples_that_the_journal_promises_anew(tmp_path: Path, spoil: str) -> None:
    store = opened(tmp_path)
    store.add(*block(1))
    store.close()
    path = tmp_path / "a.npy.unfinished"
    path.unlink() if spoil == "unlink" else os.truncate(path, path.stat().st_size - 1)
    store = opened(tmp_path)
    assert store.records == []
    store.close()


class TestSaving:
    """The disk is asked to save one thing at a time, when the test says so."""

    @pytest.fixture
    def disk(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
        """may_save: lets saving go on; error: raised then; seen: what was promised before."""
        disk: dict[str, Any] = {"may_save": threading.Event(), "error": None, "seen": []}
        original = ShardedWriter.sync

        def sync(writer: Any) -> None:
            assert disk["may_save"].wait(20)
            disk["seen"].append((writer.num_examples, promised(tmp_path)))
            if disk["error"] is not None:
                raise disk["error"]
            original(writer)

        monkeypatch.setattr(ShardedWriter, "sync", sync)
        return disk

    def test_work_goes_on_while_the_disk_is_slow(
        self, tmp_path: Path, disk: dict[str, Any]
    ) -> None:
        """Blocks that come meanwhile are saved together."""
        store = opened(tmp_path)
        for number in range(10):
            store.add(*block(number))
        assert promised(tmp_path) == []
        disk["may_save"].set()
        store.finish()
        store.close()
        assert promised(tmp_path) == list(range(10))
        assert [numbers for _, numbers in disk["seen"]] == [[], [0]]

    def test_nothing_is_promised_before_it_is_on_the_disk(
        self, tmp_path: Path, disk: dict[str, Any]
    ) -> None:
        disk["may_save"].set()
        store = opened(tmp_path)
        for number in range(30):
            store.add(*block(number))
        store.finish()
        store.close()
        for num_examples, numbers in disk["seen"]:
            assert num_examples > 2 * len(numbers)

    def test_nothing_follows_blocks_that_could_not_be_saved(
        self, tmp_path: Path, disk: dict[str, Any]
    ) -> None:
        disk["may_save"].set()
        store = opened(tmp_path)
        store.add(*block(0))
        store._wait()
        disk["error"] = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space left"):
            for number in range(1, 10_000):
                store.add(*block(number))
                time.sleep(0.001)  # the other thread may be slow to come to its error
        disk["error"] = None
        store.close()
        assert promised(tmp_path) == [0]
        store = opened(tmp_path)
        store.add(*block(1))
        store.finish()
        store.close()
        assert matrix(tmp_path) == [0, 0, 1, 1]

    def test_an_error_of_the_last_save_comes_through(
        self, tmp_path: Path, disk: dict[str, Any]
    ) -> None:
        store = opened(tmp_path)
        store.add(*block(0))
        disk["error"] = OSError(5, "Input/output error")
        disk["may_save"].set()
        with pytest.raises(OSError, match="Input/output"):
            store.finish()
        store.close()
        assert promised(tmp_path) == []
