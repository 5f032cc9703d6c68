"""Miniature corpora: the real layouts, the same files again, and never over anything else."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from config.ini_files import load_settings
from config.settings import Settings
from preprocessing import make_miniature_corpora
from preprocessing.corpora import goodsounds, gsc_v2, iemocap, librispeech, nsynth
from preprocessing.make_miniature_corpora import CORPORA, make_corpus
from preprocessing.miniature.folders import MARKER, Content, make_corpus_folder
from preprocessing.miniature.speech import Voice, speak
from preprocessing.pipeline.dataset import Dataset

WORDS = ["river", "father", "winter", "garden", "horse"]
INSTRUMENTS = goodsounds.INSTRUMENTS
SMALL: dict[str, dict[str, int]] = {
    "gsc": {"clips_per_word": 3, "num_voices": 2},
    "gsc_v2": {"training_voices": 1},
    "noisyspeech": {"num_sentences": 3, "files_per_noise": 1},
    "iemocap": {"utterances_per_emotion": 1},
    "goodsounds": {"sounds_per_goodness": 2},
    "librispeech": {"repetitions_per_word": 4, "num_words": 5},
    "nsynth": {"notes_per_family": 5},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Small corpora of all kinds, and settings that name their folders."""
    folder = tmp_path_factory.mktemp("corpora")
    for name, sizes in SMALL.items():
        make_corpus(name, folder / name, 1, sizes)
    overrides: dict[str, Any] = {corpus.key: folder / name for name, corpus in CORPORA.items()}
    sizes = {"items_per_class": 3, "num_classes_librispeech": 5}
    return load_settings(overrides=overrides | sizes, prefer=("preprocessing", "pretraining"))


ACTORS = [f"Ses{session:02}{letter}" for session in range(1, 6) for letter in "FM"]
SESSIONS = [f"Session{session}" for session in range(1, 6)]
LISTED: list[tuple[Dataset, str, dict[str, int], dict[str, int]]] = [
    (iemocap.RANDSPLIT, "emotion", dict.fromkeys(iemocap.EMOTIONS, 10), {}),
    (
        iemocap.ACTORSPLIT,
        "emotion",
        dict.fromkeys(iemocap.EMOTIONS, 10),
        dict.fromkeys(SESSIONS, 8),
    ),
    (iemocap.SPEAKER_RANDSPLIT, "speaker", dict.fromkeys(ACTORS, 6), {}),
    (gsc_v2.THIRTY_FIVE_WORDS, "word", dict.fromkeys(gsc_v2.WORDS, 3), {}),
    (gsc_v2.TEN_WORDS, "word", dict.fromkeys(gsc_v2.COMMANDS, 3), {}),
    (goodsounds.RANDSPLIT, "klass", dict.fromkeys(goodsounds.GOODNESS, 24), {}),
    (
        goodsounds.INSTRUMENTSPLIT,
        "klass",
        dict.fromkeys(goodsounds.GOODNESS, 24),
        dict.fromkeys(INSTRUMENTS, 10),
    ),
    (goodsounds.INSTRUMENT_RANDSPLIT, "instrument", dict.fromkeys(INSTRUMENTS, 10), {}),
    (librispeech.WORDS, "word", dict.fromkeys(WORDS, 4 + 3 + 3), {}),
    (nsynth.NOTES, "family", dict.fromkeys(nsynth.FAMILIES, 5 + 1 + 1), {}),
]


@pytest.mark.parametrize(("dataset", "label", "classes", "groups"), LISTED)
def test_the_scripts_find_every_class_and_group(
    settings: Settings,
    dataset: Dataset,
    label: str,
    classes: dict[str, int],
    groups: dict[str, int],
) -> None:
    """All clips but one of each goodness of Good-Sounds, drawn at random."""
    clips = dataset.list_clips(settings)
    num_dropped = len(goodsounds.GOODNESS) if dataset.name.startswith("goodsounds") else 0
    assert len(clips) == sum(classes.values()) - num_dropped
    for found, expected in (
        (Counter(clip.class_name for clip in clips), classes),
        (Counter(clip.group for clip in clips), groups),
    ):
        if expected:
            assert found.keys() == expected.keys()
            assert found <= Counter(expected)
    assert all(str(clip.details[label]).lower() == clip.class_name.lower() for clip in clips)
    for clip in clips:
        samples, rate = soundfile.read(clip.path)
        start = round(clip.start * rate)
        stop = start + round(clip.duration * rate) if clip.duration else None
        # A clip whose peak is 0.05 or less counts as empty if it is a spoken digit.
        assert 0.05 < np.abs(samples[start:stop]).max() < 1


def test_words_are_where_the_labels_say(settings: Settings) -> None:
    clips = librispeech.list_words(settings)
    for path in {clip.path for clip in clips}:
        samples, rate = soundfile.read(path)
        is_pause = np.ones(len(samples), dtype=bool)
        for clip in clips:
            if clip.path == path:
                assert clip.duration is not None
                start = round(clip.start * rate)
                is_pause[start : start + round(clip.duration * rate)] = False
        assert np.abs(samples[is_pause]).max() < 0.1 * np.abs(samples).max()


def made(name: str, seed: int) -> dict[str, bytes]:
    """Return the files of a small corpus as they come out of its recipe."""
    files = CORPORA[name].make(seed=seed, **dict.fromkeys(SMALL[name], 1))
    return {
        path: content if isinstance(content, bytes) else _bytes(content) for path, content in files
    }


def _bytes(content: Content) -> bytes:
    return content.encode() if isinstance(content, str) else np.asarray(content).tobytes()


@pytest.mark.parametrize("name", CORPORA)
def test_the_seed_decides_every_file(name: str) -> None:
    first = made(name, 1)
    speak("something in between", Voice("whisper"), seed=9)
    assert made(name, 1) == first
    other = {path: content for path, content in made(name, 2).items() if path.endswith("wav")}
    assert not set(other.values()) & set(first.values())


RECIPE = {"corpus": "gsc", "seed": 1}
OTHER = {"corpus": "gsc", "seed": 2}


def make(folder: Path, recipe: dict[str, Any] = RECIPE, text: str = "sound") -> bool:
    return make_corpus_folder(folder, recipe, [("zero/a.txt", text)], 16000)


LOCK = ".gsc.lock"  # stays, as one that waits for it would lose it


def interrupted() -> Iterator[tuple[str, Content]]:
    yield "zero/a.txt", "half"
    raise KeyboardInterrupt


def test_a_corpus_is_made_once_and_replaced_by_another_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "gsc"
    left = tmp_path / "deep" / ".gsc.miniature-partial"  # by a run that was killed
    left.mkdir(parents=True)
    (left / "half.wav").touch()
    assert make(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == [LOCK, "gsc"]
    assert json.loads((folder / MARKER).read_text())["files"] == ["zero/a.txt"]
    assert not make_corpus_folder(folder, RECIPE, interrupted(), 16000)
    (folder / "zero" / "a.txt").unlink()
    assert make(folder)
    assert make(folder, OTHER, "other")
    assert (folder / "zero" / "a.txt").read_text() == "other"


def test_an_interrupted_making_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "gsc"
    for is_there in (False, True):
        with pytest.raises(KeyboardInterrupt):
            make_corpus_folder(folder, OTHER, interrupted(), 16000)
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, *["gsc"] * is_there]
        make(folder)
    assert (folder / "zero" / "a.txt").exists()


@pytest.mark.parametrize("marker", [None, "whole", "[]"])
def test_files_of_others_are_left_alone(tmp_path: Path, marker: str | None) -> None:
    folder = tmp_path / "gsc"
    make(folder)
    if marker is None:
        (folder / MARKER).unlink()
    elif marker != "whole":
        (folder / MARKER).write_text(marker)
    (folder / "zero" / "real.wav").write_text("real")
    with pytest.raises(UserError, match=r"holds zero/\S+, which this script did not make"):
        make(folder, OTHER)
    assert (folder / "zero" / "real.wav").read_text() == "real"
    with pytest.raises(UserError, match="is no folder"):
        make(folder / "zero" / "real.wav")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["make_miniature_corpora.py", *map(str, arguments)])
    make_miniature_corpora.main()


def test_the_command_fills_the_folders_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = tmp_path / "mini.ini"
    overlay.write_text(
        f"[preprocessing]\nseed = 4\ninput_gsc_raw_folder = {tmp_path}/gsc\n"
        f"input_nsynth_folder = {tmp_path}/nsynth\n"
    )
    options = ("--config", overlay, "--tiny")
    run(monkeypatch, *options)
    made = {path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")}
    assert made == {"gsc", "nsynth", "mini.ini"}
    marker = json.loads((tmp_path / "gsc" / MARKER).read_text())
    assert (marker["seed"], marker["sizes"]) == (4, {"clips_per_word": 4, "num_voices": 4})
    assert len(marker["files"]) == 40
    output = capsys.readouterr().out
    assert output.count("written to") == 2
    assert "input_good-sounds_folder: is empty, no miniature Good-Sounds" in output
    (tmp_path / "nsynth" / "mine.txt").write_text("mine")
    run(monkeypatch, *options)
    assert capsys.readouterr().out.count("already there") == 2
    run(monkeypatch, "gsc", *options, "--set", "seed=5")
    assert json.loads((tmp_path / "gsc" / MARKER).read_text())["seed"] == 5
    with pytest.raises(UserError, match="input_noisyspeech_repo: is empty"):
        run(monkeypatch, "gsc", "noisyspeech", *options)
