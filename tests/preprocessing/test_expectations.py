"""A corpus that is not what it should be: both numbers, or one line that says where to get it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from preprocessing.pipeline.expectations import (
    corpus_folder,
    expect,
    expect_names,
    wrong_folder,
)

from config.errors import UserError
from config.settings import Settings
from preprocessing.corpora.gsc import choose_balanced

KEY, SOURCE = "input_tiny_folder", "https://example.org/tiny"


def test_both_numbers_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    expect("Tiny", "utterances", 10_039, 1_200)
    assert capsys.readouterr().out == "warning: Tiny: expected 10,039 utterances, found 1,200\n"


def test_nothing_is_said_of_a_whole_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    expect("Tiny", "utterances", 3, 3)
    expect_names("Tiny", "colours", ("red", "blue"), ["blue", "red", "red"])
    assert capsys.readouterr().out == ""


def test_names_that_differ_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    expect_names("Tiny", "colours", ("red", "blue", "green"), {"blue", "pink", "grey", "green"})
    assert capsys.readouterr().out == (
        "warning: Tiny: expected 3 colours, found 4 (missing: red; unknown: grey, pink)\n"
    )
    expect_names("Tiny", "colours", ("red", "blue"), ["blue"])
    assert capsys.readouterr().out.endswith("expected 2 colours, found 1 (missing: red)\n")


def test_an_empty_key(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        corpus_folder(None, KEY, "Tiny v1", SOURCE)
    assert str(caught.value) == (
        "[preprocessing] input_tiny_folder is empty: get Tiny v1 from https://example.org/tiny "
        "and put its folder there, or pass --set input_tiny_folder=FOLDER"
    )


def test_a_wrong_folder(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        corpus_folder(missing, KEY, "Tiny v1", SOURCE)
    assert str(caught.value) == (
        f"{missing}: there is no such folder; [preprocessing] input_tiny_folder must be Tiny v1, "
        "from https://example.org/tiny"
    )
    assert "holds no a/*.wav; " in str(wrong_folder(tmp_path, "holds no a/*.wav", KEY, "T", "U"))
    assert corpus_folder(tmp_path, KEY, "Tiny v1", SOURCE) == tmp_path


def test_speech_commands(
    speech_commands: Path,
    make_settings: Callable[..., Settings],
    write_wav: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Eleven words of four clips, and a background noise, which counts too."""
    write_wav(speech_commands / "_background_noise_" / "running_tap.wav", 1.0, seed=1)
    assert len(choose_balanced(make_settings())) == 30
    assert capsys.readouterr().out == (
        "warning: Google Speech Commands v0.01: expected 64,727 audio files, found 45\n"
    )
