"""A mistake in the code is a traceback wherever it happens, and never told as the user's own."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch

from config.errors import UserError
from config.settings import Settings
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Archive, Clip, Dataset
from preprocessing.pipeline.downloads import download
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import open_matrices
from preprocessing.pipeline.noise_mixing import Mixture, write_mixtures
from training.engine.folds import load_fold
from training.sweep.execute import attempt

if TYPE_CHECKING:
    from tests.conftest import Suite

MISTAKES = [KeyError("x"), ValueError("x"), RuntimeError("x")]


def mix(suite: "Suite", wav: Path, settings: Settings) -> None:
    mixture = Mixture((wav,), (wav,), "Typing", None, (10.0,), ("a.wav",))
    write_mixtures([mixture], suite.folder / "mixed", settings)


def prepare(_suite: "Suite", wav: Path, settings: Settings) -> None:
    clips = [Clip(wav, f"clip {number}", 0, "yes", f"group {number}") for number in range(10)]
    preprocess(
        Dataset("tiny", "TINY", "test", 1.0, RANDOM_BY_CLIP, lambda _: clips, ("yes",)), settings
    )


def load(suite: "Suite", _wav: Path, _settings: Settings) -> None:
    suite.write_matrices()
    matrices = open_matrices(suite.matrices, "tiny")
    load_fold(matrices, matrices.folds((0.7, 0.2, 0.1), 1)[0], torch.device("cpu"))


def fetch(suite: "Suite", _wav: Path, _settings: Settings) -> None:
    download(Archive("http://127.0.0.1:9/corpus.zip", "sha256:" + "0" * 64), suite.folder)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A second of noise."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write(tmp_path / "Typing_1.wav", samples, 16000)
    return tmp_path / "Typing_1.wav"


@pytest.mark.parametrize("mistake", MISTAKES, ids=repr)
@pytest.mark.parametrize(
    ("function", "action"),
    [
        ("preprocessing.pipeline.noise_mixing.write_audio", mix),
        ("preprocessing.pipeline.noise_mixing.signal_to_noise_ratio", mix),
        ("preprocessing.pipeline.extraction.open_matrices", prepare),
        ("preprocessing.pipeline.features.log_floor", prepare),
        ("preprocessing.pipeline.examples.altered_copy", prepare),
        ("preprocessing.pipeline.downloads._fetch_rest", fetch),
        ("training.engine.folds.training_statistics", load),
    ],
)
def test_a_mistake_is_not_the_users(
    function: str,
    action: Callable[..., None],
    mistake: Exception,
    suite: "Suite",
    wav: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken(*_arguments: Any, **_options: Any) -> Any:
        raise mistake

    monkeypatch.setattr(function, mistaken)
    with pytest.raises(type(mistake)) as caught:
        action(suite, wav, suite.settings(workers=1, augmentation=True, compression="log"))
    assert caught.value is mistake


@pytest.mark.parametrize("error", [*MISTAKES, UserError("x"), OSError(28, "no space")], ids=repr)
def test_of_one_of_several_runs_only_a_mistake_has_its_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise error

    assert attempt("experiment 20 run 1", failing).startswith("experiment 20 run 1: ")
    said = capsys.readouterr().out
    is_mistake = error in MISTAKES
    assert said.startswith("Traceback (most recent call last):\n") == is_mistake
    assert (", in failing\n" in said) == is_mistake
    assert bool(said) == is_mistake
