"""Extraction over several processes: the same bytes, after kills and interruptions, too."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from config.settings import PROJECT_FOLDER, Settings
from preprocessing.pipeline import extraction, processes, torchaudio_features
from preprocessing.pipeline.audio import Clip
from preprocessing.pipeline.block_store import BlockStore
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.features import features_of_clips
from preprocessing.pipeline.processes import CAN_FORK

RATE = 16000
NUM_CLIPS = 40
# Prepares the clips of a folder, three to a block, and takes its time over each of them.
SCRIPT = """
import sys, time
from pathlib import Path
from config.settings import load_settings
from preprocessing.pipeline import blocks, extraction
from preprocessing.pipeline.audio import Clip, read_audio
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset

def slowly(*arguments):
    time.sleep(0.02)
    return read_audio(*arguments)

corpus, output, workers = sys.argv[1:]
clips = [
    Clip(path, path.name, number % 3, f"class{number % 3}", path.name)
    for number, path in enumerate(sorted(Path(corpus).iterdir()))
]
extraction.BLOCK_CLIPS = 3
blocks.read_audio = slowly
settings = load_settings(
    overrides={"output_folder": output, "workers": workers, "preprocessing.seed": 4}
)
dataset = Dataset("tiny", "preprocessing_TINY", "test", 0.2, RANDOM_BY_CLIP, lambda _: clips)
extraction.preprocess(dataset, settings)
"""

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def corpus(tmp_path: Path, write_wav: WriteWav) -> Path:
    """Clips of 0.1 to 0.7 s: one to three examples each; one of them is silent."""
    for number in range(NUM_CLIPS):
        peak = 0.01 if number == 7 else 0.3
        path = tmp_path / "corpus" / f"c{number:02}.wav"
        write_wav(path, 0.1 + 0.6 * (number % 5) / 4, seed=number, peak=peak)
    return tmp_path / "corpus"


@pytest.fixture
def dataset(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The corpus as examples of 0.2 s, prepared three clips at a time."""
    monkeypatch.setattr(extraction, "BLOCK_CLIPS", 3)
    clips = [
        Clip(path, path.name, number % 3, f"class{number % 3}", path.name)
        for number, path in enumerate(sorted(corpus.iterdir()))
    ]
    return Dataset("tiny", "preprocessing_TINY", "test", 0.2, RANDOM_BY_CLIP, lambda _: clips)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def output_of(
    dataset: Dataset, make_settings: MakeSettings, folder: Path, workers: int, **changes: Any
) -> dict[str, bytes]:
    settings = make_settings(output_folder=folder, workers=workers, **changes)
    return contents(preprocess(dataset, settings))


class TestSameBytes:
    @pytest.mark.parametrize("features_type", ["spectrum_fast", "stft"])
    def test_whatever_the_number_of_processes(
        self, dataset: Dataset, make_settings: MakeSettings, tmp_path: Path, features_type: str
    ) -> None:
        outputs = [
            output_of(dataset, make_settings, tmp_path / str(n), n, features_type=features_type)
            for n in (1, 2, 5)
        ]
        assert outputs[0] == outputs[1] == outputs[2]

    @pytest.mark.parametrize("largest", [0, 30_000, 200_000])
    def test_however_the_examples_reach_the_parent(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        largest: int,
    ) -> None:
        """Through memory that is shared if they fit, else through a pipe."""
        expected = output_of(dataset, make_settings, tmp_path / "1", 1)
        monkeypatch.setattr(extraction, "LARGEST_SHARED", largest)
        assert output_of(dataset, make_settings, tmp_path / "2", 2) == expected

    def test_where_processes_cannot_be_forked(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = output_of(dataset, make_settings, tmp_path / "1", 1)
        monkeypatch.setattr(processes, "CAN_FORK", False)
        monkeypatch.setattr(extraction, "CAN_FORK", False)
        assert output_of(dataset, make_settings, tmp_path / "2", 2) == expected

    def test_on_a_gpu_features_are_taken_in_the_parent(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With the CPU's features in the place of the GPU's; only the note of it differs."""
        expected = output_of(dataset, make_settings, tmp_path / "1", 1)
        seen = set()

        def batched_features(*arguments: Any) -> list[np.ndarray]:
            seen.add(os.getpid())
            return features_of_clips(*arguments)

        monkeypatch.setattr(torchaudio_features, "batched_features", batched_features)
        monkeypatch.setattr(torchaudio_features, "check_torchaudio", lambda _: None)
        output = output_of(dataset, make_settings, tmp_path / "2", 2, features_backend="torchaudio")
        assert seen == {os.getpid()}
        different = {name for name in expected if output[name] != expected[name]}
        assert different == {"tiny_spectrum_fast_info.json"}

    def test_the_silent_clip_is_left_out(
        self, dataset: Dataset, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        output = output_of(dataset, make_settings, tmp_path / "2", 2)
        assert b"c07.wav,silent: no sample" in output["tiny_spectrum_fast_left_out.csv"].replace(
            str(tmp_path / "corpus").encode() + b"/c07.wav,", b""
        )
        assert b"c07.wav" not in output["tiny_spectrum_fast_index.csv"]


@pytest.mark.skipif(not CAN_FORK, reason="the script changes what its processes do")
class TestKilled:
    @pytest.fixture
    def undisturbed(self, corpus: Path, tmp_path: Path) -> dict[str, bytes]:
        """What the script writes in one go."""
        folder = tmp_path / "undisturbed"
        with self.running(corpus, folder, 1) as process:
            assert process.wait() == 0
        return contents(folder)

    @staticmethod
    def running(corpus: Path, output: Path, workers: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", SCRIPT, str(corpus), str(output), str(workers)]
        return subprocess.Popen(command, cwd=PROJECT_FOLDER, stderr=subprocess.DEVNULL)

    @staticmethod
    def wait_for_lines(journal: Path, count: int, process: subprocess.Popen[bytes]) -> None:
        """A process on a busy machine may as well end before it can be stopped."""
        while process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= count:
                return
            time.sleep(0.005)

    @pytest.mark.parametrize(
        ("workers", "signals"),
        [(1, [signal.SIGKILL] * 2), (2, [signal.SIGKILL] * 3), (2, [signal.SIGINT] * 2)],
    )
    def test_again_and_again_it_ends_the_same(
        self,
        corpus: Path,
        tmp_path: Path,
        undisturbed: dict[str, bytes],
        workers: int,
        signals: list[int],
    ) -> None:
        folder = tmp_path / "disturbed"
        journal = folder / "tiny_spectrum_fast_predictors.journal"
        for number, sent in enumerate(signals):
            with self.running(corpus, folder, workers) as process:
                self.wait_for_lines(journal, 2 + 2 * number, process)
                process.send_signal(sent)
                process.wait()
            if process.returncode != 0:
                assert journal.read_bytes().count(b"\n") >= 2 + 2 * number
                assert not (folder / "tiny_spectrum_fast_info.json").exists()
        with self.running(corpus, folder, workers) as process:
            assert process.wait() == 0
        assert contents(folder) == undisturbed


class TestInterrupted:
    @pytest.fixture
    def interrupted(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        """Ctrl-C when the fourth block is to be written."""
        written: list[int] = []
        original = BlockStore.add

        def add(store: BlockStore, *arguments: Any) -> None:
            if len(written) == 3:
                raise KeyboardInterrupt
            written.append(1)
            original(store, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(BlockStore, "add", add)
            yield written

    def test_no_process_and_no_finished_block_is_left_behind(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
        interrupted: list[int],
    ) -> None:
        before = psutil.Process().children()
        with pytest.raises(KeyboardInterrupt):
            output_of(dataset, make_settings, tmp_path / "2", 2)
        assert psutil.Process().children() == before
        journal = tmp_path / "2" / "tiny_spectrum_fast_predictors.journal"
        assert journal.read_bytes().count(b"\n") == 1 + len(interrupted)


def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a clip a few hundred bytes stay; its only example takes 13 kB."""
    monkeypatch.setattr(extraction, "BLOCK_CLIPS", 8)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 41 * 3200)
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    os.link(tmp_path / "a.wav", tmp_path / "b.wav")

    def peak_of(num_clips: int) -> int:
        """Bytes that are taken at a time besides the list of clips."""
        clips = [
            Clip(
                path=tmp_path / ("a.wav" if number // 8 % 2 else "b.wav"),
                name=f"clip{number:05}",
                label=number % 3,
                class_name=f"class{number % 3}",
                group=f"clip{number:05}",
                start=0.2 * (number % 40),
                duration=0.2,
            )
            for number in range(num_clips)
        ]
        dataset = Dataset("tiny", "script", "test", 0.2, RANDOM_BY_CLIP, lambda _: clips)
        settings = make_settings(output_folder=tmp_path / str(num_clips))
        tracemalloc.start()
        preprocess(dataset, settings)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_of(16)  # modules that are imported late
    assert (peak_of(1200) - peak_of(200)) / 1000 < 900
