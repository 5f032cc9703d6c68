"""Corpora and datasets: registered in one place, and what is said of a corpus that is not there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.errors import UserError
from config.settings import Settings
from config.text import PROJECT_FOLDER
from preprocessing import corpora
from preprocessing.corpora import all_corpora, all_datasets, find_dataset, register
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Corpus, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import open_matrices

MakeSettings = Callable[..., Settings]
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
    monkeypatch.setattr(corpora, "_datasets", dict(all_datasets()))
    yield


def test_every_dataset_has_its_script() -> None:
    datasets = all_datasets()
    assert len(datasets) == 14
    for dataset in datasets.values():
        script = PROJECT_FOLDER / "preprocessing" / f"{dataset.script}.py"
        assert script.is_file()
    assert sorted(all_corpora()) == [
        "good-sounds",
        "gsc",
        "iemocap",
        "librispeech",
        "ms-snsd",
        "nsynth",
    ]


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
    folder = preprocess(find_dataset("tiny"), make_settings())
    matrices = open_matrices(folder, "tiny")
    assert matrices.classes == ["one", "two"]
    assert len(matrices.target) == 8
    assert all_corpora()["tiny"] is TINY


def test_an_unknown_dataset_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean gsc_randsplit"):
        find_dataset("gsc_randsplitt")


def test_a_folder_that_is_not_set_or_not_there(make_settings: MakeSettings, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        TINY.folder(make_settings(input_gsc_raw_folder=""))
    assert str(caught.value) == (
        "[preprocessing] input_gsc_raw_folder is empty: get Tiny v1 from https://example.org/tiny "
        "and put the path of a folder of words there, or pass --set input_gsc_raw_folder=FOLDER"
    )
    missing = tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        TINY.folder(make_settings(input_gsc_raw_folder=missing))
    assert str(caught.value) == (
        f"{missing}: there is no such folder; [preprocessing] input_gsc_raw_folder must be a "
        "folder of words, from https://example.org/tiny"
    )
    assert TINY.folder(make_settings(input_gsc_raw_folder=tmp_path)) == tmp_path


def test_what_differs_from_the_published_corpus_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    TINY.expect("utterances", 3, 3)
    assert capsys.readouterr().out == ""
    TINY.expect("utterances", 10_039, 1_200)
    warning = "warning: Tiny v1: expected 10,039 utterances, found 1,200\n"
    assert capsys.readouterr().out == warning
