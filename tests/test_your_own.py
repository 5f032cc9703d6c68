"""docs/your_own.md as it stands: the user's folder is written from the page, its commands run."""

import csv
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib import get_configdir

from config.command_line import CONFIG_VARIABLE
from config.text import PROJECT_FOLDER
from tests.conftest import run_script
from training.results.loading import load_results

RATE = 16_000
PAGE = (PROJECT_FOLDER / "docs" / "your_own.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


def write_corpus(folder: Path) -> None:
    """Write 96 clips of four speakers: a word is a tone's pitch, a room is its band of noise."""
    generator = np.random.default_rng(0)
    (folder / "wav").mkdir(parents=True)
    seconds = np.arange(RATE) / RATE
    rows = []
    for number in range(96):
        word, room, speaker = number % 3, number // 3 % 2, number // 24
        noise = np.fft.rfft(generator.standard_normal(RATE))
        band = slice(3000 * room + 500, 3000 * room + 3500)
        kept = np.zeros_like(noise)
        kept[band] = noise[band]
        tone = 0.3 * np.sin(2 * np.pi * (300 + 200 * word + 10 * speaker) * seconds)
        soundfile.write(folder / "wav" / f"{number}.wav", tone + 0.1 * np.fft.irfft(kept), RATE)
        rows.append(
            {
                "path": f"wav/{number}.wav",
                "word": ("yes", "no", "NA")[word],
                "speaker": f"speaker{speaker}",
                "room": ("kitchen", "hall")[room],
            }
        )
    with (folder / "rooms.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_files(folder: Path) -> None:
    """Write the files of the page where it says."""
    settings, foreign, *experiments = blocks("ini")
    assert foreign.startswith("[network cnn14]")
    (folder / "my.ini").write_text(settings)
    network, recipe = blocks("python")
    (folder / "networks.py").write_text(network)
    (folder / "embed.py").write_text(recipe)
    names = re.findall(r"`(\d_\w+\.ini)`", PAGE)
    assert len(names) == len(experiments) == 4
    (folder / "experiments").mkdir()
    for name, text in zip(names, experiments, strict=True):
        (folder / "experiments" / name).write_text(text)


def write_model(folder: Path) -> None:
    """Write a wav2vec 2 of two narrow layers with random weights."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        conv_dim=(8, 8),
        conv_stride=(16, 10),
        conv_kernel=(16, 10),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)


@pytest.mark.timeout(600)
def test_the_page_from_wav_files_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rooms"
    write_corpus(folder)
    write_files(folder)
    write_model(tmp_path / "model")
    monkeypatch.setenv("MPLCONFIGDIR", get_configdir())  # its list of fonts takes long to make
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CONFIG_VARIABLE, str(folder / "my.ini"))
    lines = "".join(blocks("bash")).splitlines()
    commands = [shlex.split(line.replace("~", str(tmp_path)))[1:] for line in lines]
    assert f"{CONFIG_VARIABLE}={folder}/my.ini" in commands[1]
    for words in (commands[0], *commands[2:]):
        if words[0].endswith("embed.py"):
            monkeypatch.setattr(sys, "argv", [words[0], str(tmp_path / "model"), "1"])
            runpy.run_path(words[0])
        else:
            assert run_script(*("-1" if word == "0" else word for word in words)) == 0, words
    matrices = folder / "matrices" / "rooms_log_mel_predictors.npy"
    assert np.load(matrices).shape[0] == 96
    results = folder / "results"
    assert [len(load_results(results, number)) for number in (1, 2, 3, 4)] == [2, 4, 4, 2]
    assert len([*results.glob("experiment_*/invariance/*.json")]) == 12
    page = (results / "report" / "report.html").read_text(encoding="utf-8")
    for words_of_page in ("rooms", "room", "embedding:wav2vec2", "random", "convolutions.4"):
        assert words_of_page in page
