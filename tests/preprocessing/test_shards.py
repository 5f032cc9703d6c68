"""Matrices in shards: the same examples as in one file, written, read, laid out anew, damaged."""

import json
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.errors import UserError
from config.settings import Settings
from preprocessing.pipeline import extraction, layout, shards
from preprocessing.pipeline.audio import Clip
from preprocessing.pipeline.block_store import BlockStore
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import matrices_ready, open_matrices
from preprocessing.pipeline.matrix_writer import (
    ShardedWriter,
    put_in_place,
    shard_capacity,
    shard_lengths,
)
from preprocessing.pipeline.shards import ShardedExamples

NAME = "tiny_spectrum_fast"
NUM_CLIPS = 23
NUM_EXAMPLES = 23
EXAMPLE_BYTES = 26 * 129 * 4
SHAPE = (3, 2)

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]
Prepare = Callable[..., dict[str, bytes]]


def gigabytes(num_examples: int) -> float:
    """A size that so many of the examples of 0.2 s fit, and one more does not."""
    return (num_examples * EXAMPLE_BYTES + 200) / 1e9


def predictors_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "_predictors" in path.name)


def names(*ends: str) -> list[str]:
    return [f"{NAME}_predictors{end}.npy" for end in ends]


@pytest.fixture
def dataset(tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Clips of 0.2 s, an example each, prepared four at a time."""
    monkeypatch.setattr(extraction, "BLOCK_CLIPS", 4)
    clips = []
    for number in range(NUM_CLIPS):
        path = write_wav(tmp_path / "corpus" / f"c{number:02}.wav", 0.2, seed=number)
        clips.append(Clip(path, path.name, number % 3, f"class{number % 3}", path.name))
    return Dataset("tiny", "preprocessing_TINY", "test", 0.2, RANDOM_BY_CLIP, lambda _: clips)


@pytest.fixture
def prepare(dataset: Dataset, make_settings: MakeSettings, tmp_path: Path) -> Prepare:
    def prepare(name: str, examples_each: int = 0, **changes: Any) -> dict[str, bytes]:
        size = gigabytes(examples_each) if examples_each else 0
        folder = tmp_path / name
        preprocess(dataset, make_settings(output_folder=folder, shard_gigabytes=size, **changes))
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return prepare


@pytest.fixture
def both(prepare: Prepare, tmp_path: Path) -> tuple[Path, Path]:
    """The same matrices in one file, and in shards of 7, 7, 7 and 2 examples."""
    prepare("one")
    prepare("shards", 7)
    return tmp_path / "one", tmp_path / "shards"


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestLayout:
    @pytest.mark.parametrize(
        ("gigabytes", "expected"),
        [(0, 0), (1e-9, 1), (0.000_000_152, 1), (0.000_000_176, 2), (1, 41_666_661)],
    )
    def test_capacity_is_what_fits_behind_the_header(self, gigabytes: float, expected: int) -> None:
        """24 bytes an example, a header of 128 bytes."""
        assert shard_capacity(SHAPE, gigabytes) == expected

    @pytest.mark.parametrize(
        ("num_examples", "capacity", "expected"),
        [(9, 0, []), (9, 9, []), (9, 10, []), (9, 8, [8, 1]), (9, 3, [3, 3, 3]), (0, 3, [])],
    )
    def test_all_shards_but_the_last_are_full(
        self, num_examples: int, capacity: int, expected: list[int]
    ) -> None:
        assert shard_lengths(num_examples, capacity) == expected

    def test_no_file_is_larger_than_asked_for(self, both: tuple[Path, Path]) -> None:
        one, several = both
        assert predictors_of(one) == names("")
        assert predictors_of(several) == names("_00000", "_00001", "_00002", "_00003")
        assert json.loads((several / f"{NAME}_info.json").read_text())["shards"] == [7, 7, 7, 2]
        whole = np.load(one / names("")[0])
        for number, path in enumerate(predictors_of(several)):
            assert (several / path).stat().st_size <= gigabytes(7) * 1e9
            np.testing.assert_array_equal(np.load(several / path), whole[7 * number :][:7])

    def test_everything_else_is_the_same(self, both: tuple[Path, Path]) -> None:
        one, several = (open_matrices(folder, NAME) for folder in both)
        assert one.fingerprint == several.fingerprint
        several_info = {**several.info, "shards": 0, "shard_marks": 0}
        assert several_info == {**one.info, "shards": 0, "shard_marks": 0}
        for part in ("target.npy", "index.csv", "splits.json", "left_out.csv"):
            files = [(folder / f"{NAME}_{part}").read_bytes() for folder in both]
            assert files[0] == files[1]
        assert len(several.predictors_state) == 8
        state = (both[0] / names("")[0]).stat()
        assert one.predictors_state == [state.st_size, state.st_mtime_ns]

    def test_what_fits_in_one_file_is_no_shard(self, prepare: Prepare) -> None:
        assert prepare("large", NUM_EXAMPLES) == prepare("one")


class TestAnotherLayout:
    @pytest.mark.parametrize(("first", "then"), [(0, 7), (7, 0), (7, 5), (5, 7), (7, 30), (3, 23)])
    def test_copied_without_the_corpus(
        self,
        first: int,
        then: int,
        prepare: Prepare,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        expected = prepare("expected", then)
        prepare("changed", first)
        monkeypatch.setattr(extraction, "_extract_all", None)
        monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * EXAMPLE_BYTES)
        capsys.readouterr()
        assert prepare("changed", then) == expected
        lines = capsys.readouterr().out.splitlines()
        count = len(shard_lengths(NUM_EXAMPLES, then)) or 1
        assert lines[0].startswith(f"{NAME}: already there, unchanged")
        assert lines[1].startswith(f"{NAME}: now in {count} files")
        prepare("changed", then)
        assert len(capsys.readouterr().out.splitlines()) == 1

    def test_without_room_nothing_changes(
        self, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = prepare("one")

        def no_room(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(ShardedWriter, "finish", no_room)
            with pytest.raises(OSError, match="No space left"):
                prepare("one", 7)
        assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before

    def test_killed_while_copying(self, prepare: Prepare, tmp_path: Path) -> None:
        before = prepare("one")
        (tmp_path / "one" / f"{NAME}_predictors_00001.npy.unfinished").write_bytes(b"half")
        assert prepare("one") == before

    def test_shards_of_an_earlier_corpus_are_removed(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        prepare("changed", 3)
        other = tmp_path / "changed" / f"{NAME}_predictors_of_somebody.npy"
        other.touch()
        assert prepare("changed", 7, seed=3).keys() - {other.name} == prepare("new", 7).keys()
        prepare("changed", seed=4)
        assert predictors_of(tmp_path / "changed") == sorted([*names(""), other.name])


class TestReading:
    @pytest.fixture
    def pair(self, both: tuple[Path, Path]) -> tuple[np.ndarray, ShardedExamples]:
        predictors = open_matrices(both[1], NAME).predictors
        assert isinstance(predictors, ShardedExamples)
        return np.load(both[0] / names("")[0]), predictors

    def test_it_looks_like_the_array(self, pair: tuple[np.ndarray, ShardedExamples]) -> None:
        whole, examples = pair
        assert examples.shape == whole.shape == (NUM_EXAMPLES, 26, 129)
        assert (examples.dtype, examples.itemsize, examples.ndim) == (whole.dtype, 4, 3)
        assert len(examples) == NUM_EXAMPLES
        np.testing.assert_array_equal(np.asarray(examples), whole)
        assert np.asarray(examples, dtype=np.float64).dtype == np.float64
        np.testing.assert_array_equal([examples[row] for row in range(NUM_EXAMPLES)], whole)
        assert sum(1 for _ in iter(examples)) == NUM_EXAMPLES

    @pytest.mark.parametrize(
        "key",
        [
            0,
            6,
            7,
            22,
            -1,
            -23,
            np.int64(14),
            slice(None),
            slice(5, 16),
            slice(20, None, -3),
            slice(3, 3),
            [],
            [22, 0, 7, 7, 6, -1, 13],
            np.array([14, 13]),
            np.arange(NUM_EXAMPLES) % 5 == 1,
            (3, slice(4, None)),
            (8, 5, 6),
            (slice(6, 9), slice(None), slice(2, 30)),
            ([9, 2], 7),
        ],
    )
    def test_whatever_is_asked_for(
        self, pair: tuple[np.ndarray, ShardedExamples], key: Any
    ) -> None:
        whole, examples = pair
        key_of_array = np.array(key, dtype=int) if isinstance(key, list) else key
        np.testing.assert_array_equal(examples[key], whole[key_of_array], strict=True)

    @pytest.mark.parametrize("key", [23, -24, [0, 23], 1.5, "a", [[1, 2]], ([1, 2], [1, 2]), None])
    def test_what_is_not_there_is_refused(
        self, pair: tuple[np.ndarray, ShardedExamples], key: Any
    ) -> None:
        with pytest.raises(IndexError):
            pair[1][key]

    def test_into_an_array(self, pair: tuple[np.ndarray, ShardedExamples]) -> None:
        whole, examples = pair
        rows = np.random.default_rng(0).integers(0, NUM_EXAMPLES, 200)
        out = np.empty((200, 26, 129), dtype=np.float32)
        assert examples.take(rows, out=out) is out
        np.testing.assert_array_equal(out, whole[rows])

    def test_each_shard_is_read_once_from_its_start_to_its_end(
        self, pair: tuple[np.ndarray, ShardedExamples]
    ) -> None:
        parts = list(pair[1].parts(np.array([22, 3, 8, 0, 21, 3, 12])))
        assert [part.rows.tolist() for part in parts] == [[0, 3, 3], [1, 5], [0, 1]]
        assert [part.places.tolist() for part in parts] == [[3, 1, 5], [2, 6], [4, 0]]

    def test_few_are_open_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shards, "OPEN_SHARDS", 3)
        opened = []

        def open_shard(number: int) -> np.ndarray:
            opened.append(number)
            return np.full((2, *SHAPE), number, dtype=np.float32)

        examples = ShardedExamples([2] * 10, SHAPE, open_shard)
        assert opened == []
        assert examples[:, 0, 0].tolist() == [number // 2 for number in range(20)]
        assert examples[[19, 17, 15]][:, 0, 0].tolist() == [9, 8, 7]
        assert opened == list(range(10))
        assert examples[0, 0, 0] == 0
        assert opened == [*range(10), 0]

    def test_only_what_is_asked_for_is_read(self, pair: tuple[np.ndarray, ShardedExamples]) -> None:
        tracemalloc.start()
        try:
            for number in range(NUM_EXAMPLES):
                pair[1][number]
            assert tracemalloc.get_traced_memory()[1] < 4 * EXAMPLE_BYTES
        finally:
            tracemalloc.stop()


class TestDamaged:
    @pytest.mark.parametrize(
        ("spoil", "expected"),
        [
            (lambda path: path.unlink(), "cannot be read: No such file"),
            (lambda path: os.truncate(path, path.stat().st_size - 1), "is no usable matrix"),
            (lambda path: path.write_bytes(b""), "is no usable matrix"),
            (lambda path: np.save(path, np.zeros((6, 26, 129), np.float32)), "its shape is (6,"),
            (lambda path: np.save(path, np.zeros((7, 26, 128), np.float32)), "its shape is (7,"),
            (lambda path: np.save(path, np.zeros((7, 26, 129))), "holds float64"),
            (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "is no usable"),
            (
                lambda path: [path.unlink(), subprocess.run(["mkfifo", path], check=True)],
                "is no file",
            ),
        ],
    )
    def test_a_shard(
        self, both: tuple[Path, Path], spoil: Callable[[Path], object], expected: str
    ) -> None:
        path = both[1] / names("_00001")[0]
        spoil(path)
        message = message_of(lambda: open_matrices(both[1], NAME))
        assert f"{path.name}: {expected}" in message
        assert "; prepare it again: " in message

    def test_another_shard_of_the_same_shape(self, both: tuple[Path, Path]) -> None:
        first, second = (both[1] / names(f"_0000{number}")[0] for number in range(2))
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
        assert f"{first.name}: is another shard" in message_of(lambda: open_matrices(both[1], NAME))

    def test_a_missing_shard_is_not_ready(self, both: tuple[Path, Path], prepare: Prepare) -> None:
        for folder in both:
            assert matrices_ready(folder, NAME)
        expected = {path.name: path.read_bytes() for path in both[1].iterdir()}
        (both[1] / names("_00003")[0]).unlink()
        assert not matrices_ready(both[1], NAME)
        assert prepare("shards", 7) == expected

    @pytest.mark.parametrize(
        "lengths", [[7, 7, 7], [7, 7, 7, 3], [7, 7, 7, 2, 1], [7, -7], "7", [0], [1.5], [2**70]]
    )
    def test_the_list_of_shards(self, both: tuple[Path, Path], lengths: Any) -> None:
        path = both[1] / f"{NAME}_info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"shards": lengths}))
        message_of(lambda: open_matrices(both[1], NAME))

    def test_shards_may_be_links_to_a_larger_disk(self, both: tuple[Path, Path]) -> None:
        for path in [*both[1].glob("*_predictors_*.npy")]:
            shutil.move(path, both[0].parent / path.name)
            path.symlink_to(both[0].parent / path.name)
        np.testing.assert_array_equal(
            open_matrices(both[1], NAME).predictors, np.load(both[0] / names("")[0])
        )

    def test_a_shard_that_is_written_anew_while_it_is_in_use(self, both: tuple[Path, Path]) -> None:
        predictors = open_matrices(both[1], NAME).predictors
        path = both[1] / names("_00002")[0]
        os.utime(path, ns=(1, 1))
        assert predictors[0].any()
        assert f"{path.name}: was written anew" in message_of(lambda: predictors[15])


def numbered(first: int, count: int) -> np.ndarray:
    values = np.arange(first, first + count, dtype=np.float32)
    return np.broadcast_to(values[:, None, None], (count, *SHAPE)).copy()


class TestWriting:
    @pytest.mark.parametrize("capacity", [1, 2, 4, 5, 7, 24, 25, 100])
    def test_closed_after_every_block_it_ends_the_same(self, tmp_path: Path, capacity: int) -> None:
        """Also with what a kill leaves: more examples, and a file more, than were promised."""
        first = 0
        for number in range(10):
            store = BlockStore(tmp_path / "a.npy", tmp_path / "a.journal", "p", SHAPE, capacity)
            assert sum(len(record["rows"]) for record in store.records) == first
            count = number % 5 + (number == 3)
            store.add(numbered(first, count), {"rows": list(range(count))})
            first += count
            if number == 9:
                store.finish()
            store.close()
            if number < 9:
                store._writer = ShardedWriter(tmp_path / "a.npy", SHAPE, capacity, first)
                store._writer.write(numbered(-100, capacity))
                store._writer.sync()
                store._writer.close()
        store = BlockStore(tmp_path / "a.npy", tmp_path / "a.journal", "p", SHAPE, capacity)
        store.finish()  # as after a kill right before the files get their names
        store.close()
        lengths = shard_lengths(first, capacity)
        put_in_place(tmp_path / "a.npy", lengths)
        files = [path for path in sorted(tmp_path.iterdir()) if path.suffix == ".npy"]
        assert [len(np.load(path)) for path in files] == (lengths or [first])
        found = np.concatenate([np.load(path) for path in files])
        np.testing.assert_array_equal(found, numbered(0, first))
        assert not list(tmp_path.glob("*.unfinished"))

    @pytest.mark.parametrize("spoil", ["first", "last", "size"])
    def test_without_the_examples_that_the_journal_promises_anew(
        self, tmp_path: Path, spoil: str
    ) -> None:
        def opened(capacity: int) -> BlockStore:
            return BlockStore(tmp_path / "a.npy", tmp_path / "a.journal", "p", SHAPE, capacity)

        store = opened(4)
        store.add(numbered(0, 10), {"rows": list(range(10))})
        store.close()
        files = sorted(tmp_path.glob("*.unfinished"))
        assert len(files) == 3
        if spoil == "first":
            os.truncate(tmp_path / "a.npy.unfinished", 128 + 4 * 24 - 1)
        if spoil == "last":
            (tmp_path / "a_00002.npy.unfinished").unlink()
        store = opened(5 if spoil == "size" else 4)
        assert store.records == []
        assert list(tmp_path.glob("*.unfinished")) == [tmp_path / "a.npy.unfinished"]
        store.close()

    def test_another_size_starts_anew_even_if_the_files_would_fit(self, tmp_path: Path) -> None:
        """Six examples are promised; the second file, killed in time, begins with the ninth."""

        def opened(capacity: int) -> BlockStore:
            return BlockStore(tmp_path / "a.npy", tmp_path / "a.journal", "p", SHAPE, capacity)

        store = opened(8)
        store.add(numbered(0, 6), {"rows": list(range(6))})
        store._save_all()
        store._writer.write(numbered(6, 4))
        store.close()
        store = opened(4)
        assert store.records == []
        store.close()

    @pytest.mark.parametrize("at", [1, 2, 4, 6])
    def test_interrupted_it_ends_the_same(
        self, at: int, both: tuple[Path, Path], prepare: Prepare, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original, seen = BlockStore.add, []

        def add(store: BlockStore, *arguments: Any) -> None:
            seen.append(1)
            if len(seen) == at:
                raise KeyboardInterrupt
            original(store, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(BlockStore, "add", add)
            with pytest.raises(KeyboardInterrupt):
                prepare("disturbed", 7)
        expected = {path.name: path.read_bytes() for path in both[1].iterdir()}
        assert prepare("disturbed", 7) == expected
