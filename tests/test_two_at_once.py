"""Two of the same at the same time: one works, the other waits and finds it done."""

import io
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from config import files
from preprocessing import get_corpus
from preprocessing.corpora import gsc
from preprocessing.miniature import folders
from preprocessing.pipeline import extraction, noise_mixing
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Archive, Clip, Corpus, Dataset
from preprocessing.pipeline.noise_mixing import Mixture
from pretraining import pretrain
from training.probing import analysis

if TYPE_CHECKING:
    from tests.conftest import Suite

PATIENCE = 60.0
RATE = 16000
CPU = -1

Start = Callable[[], object]


def write_noises(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).standard_normal(RATE // 2)
        soundfile.write(path, 0.1 * noise, RATE)
    return paths


def preparation(suite: "Suite") -> Start:
    clips = [
        Clip(path, path.name, number % 2, "ab"[number % 2], path.name)
        for number, path in enumerate(write_noises(suite.folder / "corpus", 8))
    ]
    dataset = Dataset("tiny", "TINY", "test", 1.0, RANDOM_BY_CLIP, lambda _: clips)
    return lambda: extraction.preprocess(dataset, suite.settings(workers=1))


def mixing(suite: "Suite") -> Start:
    speech, noise = write_noises(suite.folder / "sounds", 2)
    mixtures = [Mixture((speech,), (noise,), "Typing", None, (0.0,), ("noisy.wav",))]
    folder = suite.folder / "noisy"
    return lambda: noise_mixing.write_mixtures(mixtures, folder, suite.settings(workers=1))


def balancing(suite: "Suite") -> Start:
    for word in gsc.DIGITS:
        write_noises(suite.folder / "commands" / word, 2)
    settings = suite.settings(
        input_gsc_raw_folder=suite.folder / "commands",
        augmented_gsc_folder=suite.folder / "augmented",
        items_per_class=1,
    )
    return lambda: gsc.write_balanced(settings)


def pre_training(suite: "Suite") -> Start:
    suite.write_matrices("noisyspeech_randsplit")
    settings = suite.settings(extractor_num_epochs=1)
    extractor = settings.extractors["noisyspeech"]
    return lambda: pretrain.pretrain(extractor, settings, [CPU])


def miniature(suite: "Suite") -> Start:
    content = [("a.txt", "text"), ("b.txt", "text")]
    return lambda: folders.make_corpus_folder(suite.folder / "tiny", {"seed": 0}, content, RATE)


def download(suite: "Suite") -> Start:
    archive = Archive("http://127.0.0.1:9/corpus.zip", None)
    corpus = Corpus("tiny", "Tiny", "key", "tiny", "a folder", "page", (archive,))
    return lambda: get_corpus.get_corpus(corpus, suite.folder / "corpora")


def downloaded(_archive: Archive, folder: Path) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.txt", "text")
    (folder / "corpus.zip").write_bytes(content.getvalue())
    return folder / "corpus.zip"


def probing(suite: "Suite") -> Start:
    from training import invariance

    suite.write_matrices()
    suite.write_experiment(5, {"num_epochs": 1})
    suite.manage("[5]", str(CPU))
    words = [*suite.arguments, "[5]", str(CPU)]
    return lambda: invariance.main(invariance.build_parser().parse_intermixed_args(words))


# What starts it, and of what it calls, what is called only where there is work left.
MEMBERS: list[tuple[Callable[["Suite"], Start], Any, str]] = [
    (preparation, extraction, "_write_examples"),
    (mixing, noise_mixing, "_write_mixture"),
    (balancing, gsc, "begin"),
    (pre_training, pretrain, "_train"),
    (miniature, folders, "write_json"),
    (download, get_corpus, "download"),
    (probing, analysis.Analyst, "_analyse"),
]


@pytest.mark.parametrize(
    ("make", "owner", "name"), MEMBERS, ids=[member[0].__name__ for member in MEMBERS]
)
def test_one_works_and_the_other_waits(
    make: Callable[["Suite"], Start],
    owner: Any,
    name: str,
    suite: "Suite",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = make(suite)
    real = downloaded if owner is get_corpus else getattr(owner, name)
    is_at_work, may_go_on, is_waiting = (threading.Event() for _ in range(3))
    calls: list[int] = []
    failures: list[BaseException] = []

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        is_at_work.set()
        assert may_go_on.wait(PATIENCE)
        return real(*arguments, **options)

    def say(text: str) -> None:
        assert "another process is at it; waiting until it ends" in text
        is_waiting.set()

    def run() -> None:
        try:
            start()
        except BaseException as failure:
            failures.append(failure)

    monkeypatch.setattr(owner, name, slow)
    # Two processes have a matplotlib each; two threads would share its settings.
    monkeypatch.setattr(pretrain, "_draw_history", lambda *_: None)
    monkeypatch.setattr(files, "logger", SimpleNamespace(info=say))
    threads = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    threads[0].start()
    assert is_at_work.wait(PATIENCE), failures
    threads[1].start()
    try:
        assert is_waiting.wait(PATIENCE), failures
    finally:
        may_go_on.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures
    assert len(calls) == 1
