"""Where miniature corpora are written: whole, once, and never over anything else."""

import json
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from config.errors import UserError
from preprocessing import make_miniature_corpora
from preprocessing.miniature.folders import MARKER, make_corpus_folder

RECIPE = {"corpus": "gsc", "seed": 1, "sizes": {"clips_per_word": 2}}


def make(folder: Path) -> None:
    (folder / "zero").mkdir()
    (folder / "zero" / "a.wav").write_bytes(b"sound")


def never(folder: Path) -> None:
    raise AssertionError("must not be made")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_corpus_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "gsc"
    assert make_corpus_folder(folder, RECIPE, make)
    assert names(tmp_path / "deep") == ["gsc", f"gsc/{MARKER}", "gsc/zero", "gsc/zero/a.wav"]
    marker = json.loads((folder / MARKER).read_text())
    assert marker["sizes"] == {"clips_per_word": 2}
    assert marker["files"] == ["zero/a.wav"]
    assert not make_corpus_folder(folder, RECIPE, never)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "gsc").mkdir()
    assert make_corpus_folder(tmp_path / "gsc", RECIPE, make)


@pytest.mark.parametrize("name", ["README.md", "zero/00176480_nohash_0.wav", "a/b/c"])
def test_a_real_corpus_is_left_alone(tmp_path: Path, name: str) -> None:
    real = tmp_path / "gsc" / name
    real.parent.mkdir(parents=True)
    real.write_text("real")
    with pytest.raises(UserError, match=f"holds {name}, which this script did not make"):
        make_corpus_folder(tmp_path / "gsc", RECIPE, never)
    assert real.read_text() == "real"
    assert [path.name for path in tmp_path.iterdir()] == ["gsc"]


def test_real_files_among_miniature_ones_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gsc"
    make_corpus_folder(folder, RECIPE, make)
    (folder / "zero" / "real.wav").write_text("real")
    assert not make_corpus_folder(folder, RECIPE, never)
    with pytest.raises(UserError, match=r"holds zero/real\.wav"):
        make_corpus_folder(folder, RECIPE | {"seed": 2}, never)
    assert (folder / "zero" / "real.wav").read_text() == "real"
    assert (folder / "zero" / "a.wav").exists()


def test_another_recipe_replaces_a_miniature_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "gsc"
    make_corpus_folder(folder, RECIPE, make)

    def make_other(folder: Path) -> None:
        (folder / "b.wav").write_bytes(b"other")

    assert make_corpus_folder(folder, RECIPE | {"seed": 2}, make_other)
    assert names(folder) == ["b.wav", MARKER]


def test_a_corpus_that_lost_a_file_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "gsc"
    make_corpus_folder(folder, RECIPE, make)
    (folder / "zero" / "a.wav").unlink()
    assert make_corpus_folder(folder, RECIPE, make)
    assert (folder / "zero" / "a.wav").exists()


def test_an_interrupted_making_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "gsc"

    def fail(folder: Path) -> None:
        make(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_corpus_folder(folder, RECIPE, fail)
    assert list(tmp_path.iterdir()) == []
    make_corpus_folder(folder, RECIPE, make)
    with pytest.raises(KeyboardInterrupt):
        make_corpus_folder(folder, RECIPE | {"seed": 2}, fail)
    assert not make_corpus_folder(folder, RECIPE, never)


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / ".gsc.miniature-partial"
    left.mkdir()
    (left / "half.wav").write_bytes(b"ha")
    assert make_corpus_folder(tmp_path / "gsc", RECIPE, make)
    assert names(tmp_path) == ["gsc", f"gsc/{MARKER}", "gsc/zero", "gsc/zero/a.wav"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "\udcff"])
def test_a_broken_marker_protects_what_is_there(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "gsc"
    make_corpus_folder(folder, RECIPE, make)
    (folder / MARKER).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="did not make"):
        make_corpus_folder(folder, RECIPE, never)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "gsc").write_text("text")
    with pytest.raises(UserError, match="is no folder"):
        make_corpus_folder(tmp_path / "gsc", RECIPE, never)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["make_miniature_corpora.py", *map(str, arguments)])
    make_miniature_corpora.main()


def test_script_fills_the_folders_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = tmp_path / "mini.ini"
    overlay.write_text(
        f"[preprocessing]\nseed = 4\ninput_gsc_raw_folder = {tmp_path}/gsc\n"
        f"input_noisyspeech_repo = {tmp_path}/snsd\n"
    )
    small = ("--clips-per-word", "1", "--num-voices", "1", "--num-sentences", "1")
    options = ("--config", overlay, *small, "--files-per-noise", "1")
    run(monkeypatch, *options)
    assert len(list((tmp_path / "gsc").glob("*/*_nohash_0.wav"))) == 10
    assert len(list((tmp_path / "snsd" / "noise_train").iterdir())) == 13
    marker = json.loads((tmp_path / "gsc" / MARKER).read_text())
    assert marker["seed"] == 4
    assert marker["sizes"] == {"clips_per_word": 1, "num_voices": 1}
    assert capsys.readouterr().out.count("written to") == 2
    run(monkeypatch, *options)
    assert capsys.readouterr().out.count("already there") == 2
    (tmp_path / "snsd" / "mine.txt").write_text("mine")
    run(monkeypatch, "gsc", *options, "--set", "seed=5")
    assert json.loads((tmp_path / "gsc" / MARKER).read_text())["seed"] == 5


def test_script_makes_what_has_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--tiny", "--set", f"input_librispeech_folder={tmp_path}/words")
    run(monkeypatch, *options, "--num-words", "5")
    output = capsys.readouterr().out
    assert "miniature LibriSpeech written to" in output
    assert "input_good-sounds_folder: is empty, no miniature Good-Sounds" in output
    marker = json.loads((tmp_path / "words" / MARKER).read_text())
    assert marker["sizes"] == {"repetitions_per_word": 3, "num_words": 5}
    assert len(list((tmp_path / "words").rglob("*.flac"))) == 9
    with pytest.raises(UserError, match="input_good-sounds_folder: is empty"):
        run(monkeypatch, "librispeech", "goodsounds", *options)


def test_script_knows_the_folders_of_all_corpora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(folder: Path, seed: int, **sizes: int) -> int:
        (folder / "made.txt").write_text(f"{seed} {sizes}")
        made.append(sizes)
        return 1

    corpora = make_miniature_corpora.CORPORA
    for name, corpus in corpora.items():
        monkeypatch.setitem(corpora, name, replace(corpus, make=make))
    keys = {name: corpus.key for name, corpus in corpora.items()}
    folders = [("--set", f"{key}={tmp_path / name}") for name, key in keys.items()]
    run(monkeypatch, *chain.from_iterable(folders))
    assert {path.name for path in tmp_path.iterdir()} == {
        "gsc", "noisyspeech", "iemocap", "goodsounds", "librispeech", "nsynth",
    }  # fmt: skip
    assert {"sounds_per_goodness": 4} in made
    run(monkeypatch, "goodsounds", "--tiny", *chain.from_iterable(folders))
    assert made[-1] == {"sounds_per_goodness": 1}
    run(monkeypatch, "nsynth", "--tiny", "--notes-per-family", "5", *chain.from_iterable(folders))
    assert made[-1] == {"notes_per_family": 5}


def test_script_names_the_empty_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"input_gsc_raw_folder: is empty.*config/demo\.ini"):
        run(monkeypatch)
    with pytest.raises(UserError, match="input_noisyspeech_repo: is empty"):
        run(monkeypatch, "noisyspeech")


def test_script_refuses_impossible_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"input_gsc_raw_folder={tmp_path}/gsc"
    with pytest.raises(UserError, match="--num-voices 1000"):
        run(monkeypatch, "gsc", "--set", folder, "--num-voices", "1000")
    for number in ("4", "41"):
        with pytest.raises(UserError, match=f"--num-words {number}: must be 5 to 40"):
            run(monkeypatch, "librispeech", "--set", folder, "--num-words", number)
    for wrong in ("0", "-3", "many"):
        with pytest.raises(SystemExit):
            run(monkeypatch, "gsc", "--set", folder, "--clips-per-word", wrong)
        assert f"must be 1 to 100000, is {wrong}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(monkeypatch, "timit", "--set", folder)
    assert "must be one of gsc, noisyspeech" in capsys.readouterr().err
