"""Corpora and datasets: registered in one place, and what is said of a corpus that is not there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.ini_files import load_settings
from config.settings import Settings
from preprocessing import corpora
from preprocessing.corpora import all_corpora, all_datasets, find_dataset, register
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Corpus, Dataset
from tests.preprocessing.conftest import MakeSettings, prepared

TINY = Corpus(
    name="tiny",
    title="Tiny v1",
    key="input_gsc_raw_folder",
    folder_name="tiny",
    layout="a folder of words",
    page="https://example.org/tiny",
)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it."""
    monkeypatch.setattr(corpora, "_corpora", dict(all_corpora()))
    monkeypatch.setattr(corpora, "_datasets", dict(all_datasets(load_settings())))
    yield


@pytest.mark.usefixtures("registry")
def test_a_corpus_from_elsewhere_is_prepared_like_the_built_in_ones(
    make_settings: MakeSettings, speech_commands: Path
) -> None:
    def list_clips(settings: Settings) -> list[Clip]:
        return [
            Clip(path, f"{word}/{path.name}", label, word, f"{word}/{path.name}")
            for label, word in enumerate(("one", "two"))
            for path in sorted((TINY.folder(settings) / word).glob("*.wav"))
        ]

    register(TINY, Dataset("tiny", "own", "word", 1.0, RANDOM_BY_CLIP, list_clips))
    matrices = prepared(find_dataset("tiny", make_settings()), make_settings())
    assert matrices.classes == ["one", "two"]
    assert len(matrices.target) == 8
    assert all_corpora()["tiny"] is TINY


def test_the_licence_of_every_built_in_corpus_and_dataset_is_one_line() -> None:
    corpora, datasets = all_corpora(), all_datasets(load_settings())
    licences = {name: corpus.licence for name, corpus in corpora.items()}
    licences |= {name: dataset.licence for name, dataset in datasets.items()}
    assert [name for name, line in licences.items() if len(line.splitlines()) != 1] == []
    mixed = datasets["gsc_confounded_speakersplit"].licence
    assert all(corpora[name].licence in mixed for name in ("gsc", "ms-snsd"))
