"""Disks that are full or read-only, folders without permission, inputs that vanish during a run.

A limit on the size of files (RLIMIT_FSIZE) refuses a write in the middle as a full disk does, and
works everywhere; where file systems can be mounted, a small one is filled and made read-only.
"""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import experiments_manager
from config.command_line import run_command
from config.extractors import EXTRACTORS
from config.files import make_folder, write_json, write_text, written_aside
from config.ini_files import load_settings
from experiments_manager import build_parser, main
from plotting.figures import new_figure, write_figures
from preprocessing.pipeline import examples, noise_mixing
from preprocessing.pipeline.audio import write_audio
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.manifests import write_table
from preprocessing.pipeline.matrices import open_matrices
from preprocessing.pipeline.noise_mixing import Mixture, write_mixtures
from pretraining.pretrain import pretrain
from training.engine.checkpoints import Checkpoint
from training.models.weights import save_extractor, save_weights
from training.results.dictionary import InstanceFiles, write_result
from training.results.spreadsheet import write_spreadsheet

if TYPE_CHECKING:
    from tests.conftest import Suite

RATE = 16000
ROOM = 20_000  # bytes, less than any of the files below has
NOBODY = 65534
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}

Limit = Callable[[], Any]
Capture = pytest.CaptureFixture[str]


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """Within the block no file of this process grows beyond so much (Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB of its own."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder: Path, yes: bool) -> None:
    option = f"remount,{'ro' if yes else 'rw'}"
    subprocess.run(["mount", "-o", option, str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room but a few kB."""
    path = folder / "ballast"
    path.write_bytes(bytes(shutil.disk_usage(folder).free - ROOM))
    return path


@contextmanager
def without_privileges() -> Iterator[None]:
    """Within the block root is denied what others are."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def partial_files(folder: Path) -> list[str]:
    return [name for name in files_below(folder) if "partial" in name or name.endswith(".new")]


def outcome(command: Callable[[], Any], capsys: Capture) -> tuple[object, list[str]]:
    """Exit code of a script's main function, and the lines that it wrote to stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: None if (code := command()) is None or isinstance(code, Path) else code)
    return caught.value.code, capsys.readouterr().err.strip().split("\n")


def refusal(command: Callable[[], Any], capsys: Capture) -> str:
    """The one line with which a command ends."""
    code, lines = outcome(command, capsys)
    errors = [line for line in lines if line.startswith("error: ")]
    assert (code, len(errors)) == (2, 1)
    assert errors[0] == lines[-1]
    assert "Traceback" not in "".join(lines)
    return errors[0]


def tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.randn(200, 200), "b": torch.randn(200, 200)}


def write_a_result(path: Path) -> None:
    names = ("loss", "acc", "f1", "precision", "recall")
    fold: dict[str, Any] = {f"{s}_{name}": 0.5 for s in ("train", "val", "test") for name in names}
    fold |= {"history": np.random.default_rng(0).random(5000).tolist()}
    parameters = {"task": "classification"}
    files = InstanceFiles(path.parent, 1, 1, "tiny", "spectrum_fast")
    write_result(files, [fold], parameters, {}, {})


def write_a_spreadsheet(path: Path) -> None:
    random = np.random.default_rng(0)
    names = ("loss", "acc", "f1", "precision", "recall")
    rows = []
    for number in range(200):
        values = {kind: float(random.random()) for n in names for kind in kinds_of(n)}
        summary = dict.fromkeys(("training", "validation", "test"), values)
        parameters = {"dataset": "tiny", "comment_1": random.bytes(60).hex()}
        model = {"split": "random"}
        result = {"number": number, "summary": summary, "parameters": parameters, "model": model}
        rows.append(({**result, "0": {}}, path.parent / "parameters" / f"{number}.txt"))
    write_spreadsheet(path, rows, "classification")


def kinds_of(name: str) -> Sequence[str]:
    return f"mean_{name}", f"{name}_std"


def write_a_figure(path: Path) -> None:
    figure, (panel,) = new_figure(6, 4)
    panel.imshow(np.random.default_rng(0).random((200, 200)))
    write_figures({path.stem: figure}, path.parent)


def write_an_array(path: Path) -> None:
    with written_aside(path) as aside:
        np.save(aside, np.zeros(10_000))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text.txt": lambda path: write_text(path, "text" * 10_000),
    "value.json": lambda path: write_json(path, list(range(20_000))),
    "weights.pt": lambda path: save_weights(path, tensors()),
    "state.pt": lambda path: Checkpoint(path, "fingerprint").save(tensors()),
    "model.pt": lambda path: save_extractor(path.parent, tensors(), {}),
    "array.npy": write_an_array,
    "sound.wav": lambda path: write_audio(path, np.zeros(RATE), RATE),
    "sound.flac": lambda path: write_audio(
        path, np.random.default_rng(0).uniform(-1, 1, RATE), RATE
    ),
    "table.csv": lambda path: write_table(path, [{"a": "b" * 100}] * 1000, ["a"]),
    "experiment_1/results/results_tiny_spectrum_fast_exp1_run1.npy": lambda path: write_a_result(
        path.parents[1]
    ),
    "sheet.xlsx": write_a_spreadsheet,
    "figure.png": write_a_figure,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
class TestWriters:
    def test_a_write_that_is_refused_names_the_file_and_leaves_nothing(
        self, name: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "folder" / name
        with files_up_to(ROOM), pytest.raises(OSError, match="File too large") as caught:
            WRITERS[name](path)
        assert caught.value.filename == str(path)
        assert files_below(tmp_path) == []
        WRITERS[name](path)
        assert path.is_file()
        assert partial_files(tmp_path) == []

    def test_what_was_there_before_a_full_disk_is_still_there(
        self, name: str, mounted: Path
    ) -> None:
        path = mounted / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of before")
        ballast = fill(mounted)
        with pytest.raises(OSError, match="No space left on device") as caught:
            WRITERS[name](path)
        assert caught.value.filename == str(path)
        assert path.read_text() == "of before"
        assert len(files_below(mounted)) == 2
        ballast.unlink()
        WRITERS[name](path)
        assert path.stat().st_size > ROOM
        assert partial_files(mounted) == []

    def test_a_read_only_disk(self, name: str, mounted: Path) -> None:
        read_only(mounted, True)
        with pytest.raises(OSError, match="Read-only file system") as caught:
            WRITERS[name](mounted / name)
        assert str(caught.value.filename).startswith(str(mounted))
        read_only(mounted, False)
        WRITERS[name](mounted / name)
        assert (mounted / name).is_file()


def test_a_library_that_cannot_open_its_file_says_why() -> None:
    """libsndfile knows no more than 'System error'."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        path = Path(name) / "sound.wav"
        with without_privileges(), pytest.raises(PermissionError) as caught:
            write_audio(path, np.zeros(9), RATE)
        assert caught.value.filename == str(path)
        with without_privileges(), pytest.raises(PermissionError) as caught:
            write_text(Path(name) / "new" / "a.txt", "text")
        assert caught.value.filename == str(Path(name) / "new")


def test_a_file_in_place_of_a_folder(tmp_path: Path, capsys: Capture) -> None:
    in_the_way = tmp_path / "results"
    in_the_way.write_text("precious")
    text = refusal(partial(write_text, in_the_way / "a.txt", "text"), capsys)
    assert text == f"error: {in_the_way}: File exists"
    text = refusal(partial(write_text, in_the_way / "a" / "b.txt", "text"), capsys)
    assert text == f"error: {in_the_way / 'a'}: Not a directory"
    assert in_the_way.read_text() == "precious"


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(path, "text")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


def test_errors_that_are_not_the_disks_stay_what_they_are(tmp_path: Path) -> None:
    def write(action: Callable[[], object]) -> None:
        with written_aside(tmp_path / "a.txt") as aside:
            aside.write_text("text")
            action()

    with pytest.raises(ZeroDivisionError):
        write(lambda: 1 // 0)
    missing = tmp_path / "input.wav"
    with pytest.raises(FileNotFoundError) as caught:
        write(missing.read_bytes)
    assert caught.value.filename == str(missing)
    assert list(tmp_path.iterdir()) == []


def manage(suite: "Suite", *words: str) -> int:
    return main(build_parser().parse_intermixed_args([*suite.arguments, *words]))


@pytest.fixture
def sweep(suite: "Suite") -> "Suite":
    """Matrices, an extractor, and two instances of an anti-transfer experiment (28)."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(28, AGAINST_NOISE | {"num_epochs": 1}, {"repeat": 2})
    return suite


def failures_of(lines: Sequence[str]) -> list[str]:
    """What is said at the end, which repeats what was said at each failure."""
    said = [line for line in lines if line.startswith("failed: ")]
    assert "Traceback" not in "".join(lines)
    assert sorted(set(said)) == sorted(said[len(said) // 2 :])
    return said[len(said) // 2 :]


class TestSweep:
    def test_a_full_disk(self, sweep: "Suite", capsys: Capture) -> None:
        with files_up_to(100_000):
            code, lines = outcome(lambda: manage(sweep, "[28]", "-1"), capsys)
        failed = failures_of(lines)
        assert code == 1
        assert len(failed) == 2
        for number, line in enumerate(failed, start=1):
            assert line.startswith(f"failed: experiment 28 run {number} ")
            assert "File too large" in line
            assert f"{sweep.results}/experiment_28/" in line
        assert partial_files(sweep.folder) == []
        assert not list(sweep.results.rglob("*.npy"))
        assert not list(sweep.results.rglob("*.pt"))
        assert manage(sweep, "[28]", "-1") == 0
        assert partial_files(sweep.folder) == []
        assert not list(sweep.results.rglob("*unfinished/*.pt"))

    def test_one_instance_cannot_write(self, sweep: "Suite", capsys: Capture) -> None:
        in_the_way = sweep.files(28, 1).model(0)
        in_the_way.mkdir(parents=True)
        code, lines = outcome(lambda: manage(sweep, "[28]", "-1"), capsys)
        (failed,) = failures_of(lines)
        assert code == 1
        assert failed.startswith("failed: experiment 28 run 1 ")
        assert str(in_the_way) in failed
        assert sweep.files(28, 2).json_path.exists()
        assert partial_files(sweep.folder) == []
        in_the_way.rmdir()
        capsys.readouterr()
        assert manage(sweep, "[28]", "-1") == 0
        assert "1 of 2 instances are finished, 1 to run" in capsys.readouterr().out

    def test_results_folder_is_a_file(self, sweep: "Suite", capsys: Capture) -> None:
        sweep.results.write_text("precious")
        code, lines = outcome(lambda: manage(sweep, "[28]", "-1"), capsys)
        assert code == 2
        assert any(str(sweep.results) in line for line in lines)
        assert "Traceback" not in "".join(lines)
        assert sweep.results.read_text() == "precious"

    def test_a_read_only_disk(self, sweep: "Suite", mounted: Path, capsys: Capture) -> None:
        words = ["[28]", "-1", "--set", f"results_folder={mounted}"]
        read_only(mounted, True)
        code, lines = outcome(lambda: manage(sweep, *words), capsys)
        assert code in (1, 2)
        assert "Read-only file system" in lines[-1]
        assert "Traceback" not in "".join(lines)
        read_only(mounted, False)
        assert manage(sweep, *words) == 0

    @pytest.mark.parametrize(
        ("victim", "hint"),
        [
            ("matrices/tiny_spectrum_fast_predictors.npy", "tiny_spectrum_fast_predictors.npy"),
            ("matrices/tiny_spectrum_fast_splits.json", "tiny_spectrum_fast_splits.json"),
            ("pretraining_vgg/noisyspeech/model.pt", "pretraining_vgg/noisyspeech"),
        ],
    )
    def test_inputs_vanish_after_the_check(
        self,
        victim: str,
        hint: str,
        sweep: "Suite",
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = sweep.folder / victim
        kept = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(experiments_manager, "describe_inputs", lambda *_: path.unlink())
            code, lines = outcome(lambda: manage(sweep, "[28]", "-1"), capsys)
        assert code in (1, 2)
        if code == 1:
            assert len(failures_of(lines)) == 2
        assert hint in lines[-1]
        assert "Traceback" not in "".join(lines)
        assert not list(sweep.results.rglob("results_*.json"))
        path.write_bytes(kept)
        assert manage(sweep, "[28]", "-1") == 0


@pytest.mark.parametrize(("num_epochs", "first"), [(1, "model.pt"), (2, "unfinished_state.pt")])
def test_pretraining_on_a_full_disk(
    num_epochs: int, first: str, suite: "Suite", capsys: Capture
) -> None:
    suite.write_matrices("noisyspeech_randsplit")
    settings = suite.settings(extractor_num_epochs=num_epochs)

    def train() -> Path:
        return pretrain(EXTRACTORS["noisyspeech"], settings, -1)

    with files_up_to(100_000):
        text = refusal(train, capsys)
    folder = suite.extractors / "noisyspeech"
    assert text == f"error: {folder / first}: File too large"
    assert partial_files(folder) == []
    assert not list(folder.glob("*.pt"))
    assert not (folder / "extractor.json").exists()
    assert train() == folder
    assert not (folder / "unfinished_state.pt").exists()
    assert partial_files(folder) == []


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Eight clips of 0.5 s, of two classes."""
    random = np.random.default_rng(0)
    clips = []
    for number in range(8):
        path = tmp_path / "corpus" / f"{number}.wav"
        write_audio(path, random.uniform(-0.5, 0.5, RATE // 2), RATE)
        clips.append(Clip(path, path.name, number % 2, f"class{number % 2}", path.name))
    return clips


@pytest.fixture
def dataset(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The clips as a dataset, worked on two at a time."""
    monkeypatch.setattr(examples, "BLOCK_CLIPS", 2)
    return Dataset("tiny", "preprocessing_TINY", "test", 0.5, RANDOM_BY_CLIP, lambda _: clips)


class TestPreprocessing:
    # An example has 63 frames of 129 bins: a block of two takes 65 kB.
    @pytest.mark.parametrize("room", [50, 10_000, 140_000, 200_000])
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_full_disk(
        self, room: int, workers: int, suite: "Suite", dataset: Dataset, capsys: Capture
    ) -> None:
        settings = suite.settings(workers=workers)
        with files_up_to(room):
            text = refusal(lambda: preprocess(dataset, settings), capsys)
        assert text.endswith("File too large")
        assert partial_files(suite.matrices) == []
        assert not list(suite.matrices.glob("*.npy"))
        with files_up_to(room):
            assert refusal(lambda: preprocess(dataset, settings), capsys) == text
        undisturbed = suite.settings(output_folder=suite.folder / "undisturbed")
        preprocess(dataset, undisturbed)
        preprocess(dataset, settings)
        names = files_below(suite.matrices)
        assert names == files_below(suite.folder / "undisturbed")
        for name in names:
            expected = (suite.folder / "undisturbed" / name).read_bytes()
            assert (suite.matrices / name).read_bytes() == expected, name

    @pytest.mark.parametrize("part", ["target.npy", "index.csv", "splits.json", "info.json"])
    def test_the_last_files_cannot_be_written(
        self, part: str, suite: "Suite", dataset: Dataset, capsys: Capture
    ) -> None:
        settings = suite.settings(workers=1)
        path = suite.matrices / f"tiny_spectrum_fast_{part}"
        make_folder(path)
        text = refusal(lambda: preprocess(dataset, settings), capsys)
        assert str(path) in text
        assert partial_files(suite.matrices) == []
        path.rmdir()
        preprocess(dataset, settings)
        open_matrices(suite.matrices, "tiny").check()

    def test_a_clip_vanishes(
        self, suite: "Suite", dataset: Dataset, clips: list[Clip], capsys: Capture
    ) -> None:
        settings = suite.settings(workers=1)
        kept = clips[5].path.read_bytes()
        listed = Dataset(**{**vars(dataset), "list_clips": lambda _: _without(clips, 5)})
        text = refusal(lambda: preprocess(listed, settings), capsys)
        assert "1 of 8 clips cannot be used (missing" in text
        assert not (suite.matrices / "tiny_spectrum_fast_info.json").exists()
        clips[5].path.write_bytes(kept)
        preprocess(dataset, settings)
        assert open_matrices(suite.matrices, "tiny").info["num_examples"] == 8


def _without(clips: list[Clip], number: int) -> list[Clip]:
    """The list of clips, one of whose files is gone by the time that it is read."""
    clips[number].path.unlink()
    return clips


@pytest.mark.parametrize("workers", [1, 2])
def test_mixing_on_a_full_disk(workers: int, tmp_path: Path, capsys: Capture) -> None:
    random = np.random.default_rng(0)
    speech, noise = tmp_path / "speech.wav", tmp_path / "noise.wav"
    for path in (speech, noise):
        write_audio(path, random.uniform(-0.5, 0.5, RATE), RATE)
    folder = tmp_path / "mixed"
    mixtures = [
        Mixture((speech,), (noise,), "hum", None, (float(number),), (f"{number}.wav",))
        for number in range(4)
    ]

    def mix() -> None:
        overrides = {"workers": workers, "max_skipped_fraction": 0}
        write_mixtures(mixtures, folder, load_settings(overrides=overrides))

    with files_up_to(ROOM):
        text = refusal(mix, capsys)
    assert text == f"error: {folder / '0.wav'}: File too large"
    assert not list(folder.glob("*.wav"))
    assert partial_files(folder) == []
    mix()
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"{number}.wav" for number in range(4)),
        noise_mixing.LEFT_OUT,
        "manifest.csv",
        "plan.json",
    ]


def test_a_map_of_frozen_features_has_its_place_before_it_is_written(
    sweep: "Suite", capsys: Capture
) -> None:
    """A map of a file that has no place on the disk would kill the process."""
    words = ["[28]", "-1", "1", "1", "--set", "at_cache=disk"]
    cache = sweep.folder / "cache"
    with files_up_to(2000):
        code, lines = outcome(
            lambda: manage(sweep, *words, "--set", f"cache_folder={cache}"), capsys
        )
    assert code == 1
    assert "File too large" in failures_of(lines)[0]
    assert f"{cache}/frozen_" in failures_of(lines)[0]
    assert files_below(cache) == []
