"""Datasets that a user declares: from a table or a folder to clips, matrices and sets."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.errors import ConfigError, UserError
from config.ini_files import load_settings
from config.settings import Settings
from preprocessing.corpora import find_dataset
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.matrices import Matrices
from tests.conftest import FRACTIONS
from tests.preprocessing.conftest import WriteWav, prepared, spectrum

SECTION = {"manifest": "rooms.csv", "label": "word", "sequence_length": "0.25"}
# Twelve clips: three words, six speakers of two clips, two rooms; the sets divide speakers.
WORDS = ("NA", "007", "None")
ROWS = [
    {
        "path": f"audio/c{number:02}.wav",
        "word": WORDS[number % 3],
        "speaker": f"{number // 2:03}",
        "room": "" if number == 5 else f"room {number % 2}",
        "loudness": f"{number / 7:.4f}",
        "set": ("train", "train", "train", "Training", "dev", "test")[number // 2],
        "fold": str(9 + number // 2 % 3),
        "label": "x",
    }
    for number in range(12)
]

Declare = Callable[..., Settings]


def written(rows: list[dict[str, Any]], separator: str = ",") -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


@pytest.fixture
def declare(tmp_path: Path, write_wav: WriteWav) -> Declare:
    """Write a table and a section [dataset rooms] beside a corpus; return the settings."""
    folder = tmp_path / "corpus"
    for number, row in enumerate(ROWS):
        write_wav(folder / str(row["path"]), 0.25 + 0.125 * (number == 0), seed=number)

    def declare(
        text: str | bytes | None = None, overrides: Mapping[str, Any] | None = None, **section: Any
    ) -> Settings:
        content = written(ROWS) if text is None else text
        data = content.encode() if isinstance(content, str) else content
        (folder / "rooms.csv").write_bytes(data)
        values = {**SECTION, **section}
        lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
        (folder / "my.ini").write_text("\n".join(["[dataset rooms]", *lines]))
        own = {"output_folder": tmp_path / "matrices", "workers": 1, **(overrides or {})}
        return load_settings(folder / "my.ini", overrides=own)

    return declare


def clips_of(settings: Settings) -> list[Clip]:
    return find_dataset("rooms", settings).list_clips(settings)


def rooms(settings: Settings) -> Matrices:
    return prepared(find_dataset("rooms", settings), settings)


def test_a_row_becomes_a_clip(declare: Declare, tmp_path: Path) -> None:
    text = (
        "speaker,path,start,end,word,clip\n"
        '007,audio/c00.wav,,0.125,"yes, sir",7\n'
        '007,audio/c00.wav,0.125,,"say ""no""",7\n'
        '008,"audio/../audio/c01.wav",,,NA,\n'
    )
    clips = clips_of(declare(text, group="speaker"))
    first = Clip(
        path=tmp_path / "corpus" / "audio" / "c00.wav",
        name="audio/c00.wav#-0.125",
        label=2,
        class_name="yes, sir",
        group="007",
        details={
            "speaker": "007",
            "path": "audio/c00.wav",
            "start": "",
            "end": "0.125",
            "word": "yes, sir",
            "manifest_clip": "7",
        },
        start=0.0,
        duration=0.125,
    )
    assert clips[0] == first
    found = [(each.name, each.label, each.start, each.duration, each.path.name) for each in clips]
    assert found[1:] == [
        ("audio/c00.wav#0.125-", 1, 0.125, None, "c00.wav"),
        ("audio/../audio/c01.wav", 0, 0.0, None, "c01.wav"),
    ]
    assert [clip.class_name for clip in clips] == ["yes, sir", 'say "no"', "NA"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_all_programs_are_read_alike(
    declare: Declare, separator: str, encoding: str
) -> None:
    rows = [{**row, "room": f"Küche; {row['room']},\t1"} for row in ROWS]
    expected = clips_of(declare(written(rows)))
    assert expected[0].details["room"] == "Küche; room 0,\t1"
    assert clips_of(declare(written(rows, separator).encode(encoding))) == expected
    spaced = "\n\n".join(
        f"{separator} ".join(f'"{cell}"' for cell in cells)
        for cells in (list(rows[0]), *(list(row.values()) for row in rows))
    )
    assert clips_of(declare(f"{spaced}\n{separator * 7}\n".encode(encoding))) == expected


def test_the_matrices_hold_what_the_table_says(declare: Declare) -> None:
    settings = declare(group="speaker", orthogonal="room, speaker, label")
    matrices = rooms(settings)
    assert matrices.name == "rooms_spectrum_fast"
    assert matrices.classes == ["007", "NA", "None"]
    # Clip 0 lasts 0.375 s: of its 48 frames and one, an example of 33 is cut from the end.
    assert matrices.target.tolist() == [1, 0, 2] * 4
    samples, _ = soundfile.read(settings.datasets["rooms"].manifest.parent / "audio/c03.wav")  # type: ignore[union-attr]
    np.testing.assert_allclose(matrices.predictors[3], spectrum(samples), rtol=1e-4, atol=1e-7)
    index = matrices.index
    for column in ("path", "word", "speaker", "room", "loudness", "set", "fold"):
        assert index[column].astype(str).tolist() == [row[column] for row in ROWS]
    assert index["manifest_label"].tolist() == ["x"] * 12
    assert matrices.orthogonal_labels == ["room", "speaker", "manifest_label"]
    assert matrices.info["split"].startswith("by speaker, at random: ")
    assert matrices.info["command"] == "python preprocessing/preprocess.py rooms"


def test_a_stretch_is_cut_out_of_its_file(declare: Declare, tmp_path: Path) -> None:
    table = changed(None, start="0.0625", end="0.1875")
    matrices = rooms(declare(table, sequence_length=0.125))
    samples, _ = soundfile.read(tmp_path / "corpus/audio/c07.wav")
    np.testing.assert_allclose(
        matrices.predictors[7], spectrum(samples[1000:3000]), rtol=1e-4, atol=1e-7
    )


def test_the_targets_of_a_regression_are_its_values(declare: Declare) -> None:
    matrices = rooms(declare(label="loudness", task="regression"))
    assert matrices.task == "regression"
    assert matrices.target.dtype == np.float32
    expected = np.array([float(row["loudness"]) for row in ROWS], dtype=np.float32)
    np.testing.assert_array_equal(matrices.target, expected)
    np.testing.assert_array_equal(matrices.index["label"], expected)
    assert matrices.classes == []


def test_groups_are_shuffled_and_stay_together(declare: Declare) -> None:
    tests = set()
    for seed in range(4):
        settings = declare(group="speaker", overrides={"preprocessing.seed": seed})
        (fold,) = rooms(settings).folds(FRACTIONS, 1)
        assert sorted((*fold.train, *fold.validation, *fold.test)) == sorted(
            {row["speaker"] for row in ROWS}
        )
        tests.add(tuple(fold.test))
    assert len(tests) > 1


def test_the_sets_are_those_of_the_column(declare: Declare) -> None:
    (fold,) = rooms(declare(group="speaker", split="set")).folds(FRACTIONS, 1)
    assert (fold.validation, fold.test) == (["004"], ["005"])
    assert sorted(fold.train) == ["000", "001", "002", "003"]


@pytest.mark.parametrize("names", [("9", "10", "11"), ("anna", "ben", "zoe")])
def test_folds_of_the_column_take_turns(declare: Declare, names: tuple[str, ...]) -> None:
    """The test set of a fold is the fold itself, the next one is for validation."""
    rows = [{**row, "fold": names[int(row["fold"]) - 9]} for row in ROWS]
    matrices = rooms(declare(written(rows), group="speaker", split="fold"))
    folds = matrices.folds(FRACTIONS, 3)
    members = [{"000", "003"}, {"001", "004"}, {"002", "005"}]
    for number, fold in enumerate(folds):
        turned = members[number:] + members[:number]
        assert [set(fold.test), set(fold.validation), set(fold.train)] == turned
    assert matrices.folds((0.5, 0.25, 0.25), 1) == folds[:1]
    with pytest.raises(UserError, match="has 3 folds of its own; only num_folds = 1 or 3 is"):
        matrices.folds(FRACTIONS, 2)


def changed(number: int | None, **cells: str) -> str:
    """The table with other cells in one row, counted from 0, or in all."""
    rows = enumerate(ROWS)
    return written([row | cells if number in (at, None) else row for at, row in rows])


LOUD = {"label": "loudness", "task": "regression"}
STRETCHES = "path,word,speaker,start,end\naudio/c00.wav,a,ann,0,0.2\naudio/c00.wav,b,ben,0.1,\n"
BAD_INPUT: list[tuple[str | bytes, dict[str, Any], str]] = [
    ("", {}, r"rooms\.csv: has no column path; its columns: none"),
    ("file;word\na.wav;b\n", {}, "has no column path; its columns: file, word"),
    ("path,word,word\na,b,c\n", {}, "has the column word twice"),
    (
        "path,word\na.wav,b,c\n\nd.wav\n",
        {},
        "2 problems: line 2 has 3 cells, the header 2; line 4 has 1 cell",
    ),
    ('path,word\na.wav,"b\n', {}, "line 2: unexpected end of data"),
    ("path,word\na.wav,Küche\n".encode("latin-1"), {}, "line 2 is no utf-8; save it as UTF-8"),
    (b"path,word\n\0\0", {}, r"rooms\.csv: is no CSV file: it holds zeros"),
    (
        written(ROWS),
        {"label": "wrod", "group": "speakers"},
        r"\[dataset rooms\] label = wrod, group = speakers: no such column in \S*rooms\.csv; its "
        "columns: path, word, speaker, room, loudness, set, fold, label$",
    ),
    (
        written(ROWS),
        {"orthogonal": "room, mood", "confounder": "hall"},
        "confounder = hall, orthogonal = mood: no such column",
    ),
    (
        changed(3, speaker=" ", word=""),
        {"group": "speaker"},
        "2 problems: line 5: word is empty; line 5: speaker is",
    ),
    (changed(0, path="audio/./c01.wav"), {}, r"line 3: audio/c01\.wav stands in line 2, too"),
    (
        changed(None, word="a"),
        {},
        "word is the same in all rows; there is not",
    ),
    *(
        (changed(2, loudness=text), LOUD, f"line 4: loudness = {text} is no finite number")
        for text in ("nan", "inf", "1e39", "loud")
    ),
    (changed(None, end="-1"), {}, "line 2: end = -1 is no number of sec"),
    (
        changed(None, start="0.2", end="0.1"),
        {},
        "line 2: end = 0.1 is not after start = 0.2; line 3: .* and 2 more",
    ),
    (STRETCHES, {"group": "speaker"}, "line 3: overlaps line 2 of the same file, but is of an"),
    (changed(0, set="trian"), {"split": "set"}, "line 2: set = trian is none of train, valid"),
    (
        changed(None, set="train"),
        {"split": "set"},
        "no row has set = validation; no row has set = test",
    ),
    (
        written(ROWS),
        {"split": "fold", "group": "word"},
        "3 problems: line 5: word NA is in 10, in line 2 in 9; line 6: word 007 .*; line 7: word",
    ),
    (
        changed(11, set="train"),
        {"split": "set", "group": "speaker"},
        "line 13: speaker 005 is in train, in line 12 in test",
    ),
]


@pytest.mark.parametrize(("text", "section", "message"), BAD_INPUT)
def test_all_that_is_wrong_is_named_before_a_clip_is_read(
    declare: Declare,
    tmp_path: Path,
    text: str | bytes,
    section: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = declare(text, **section)
    monkeypatch.setattr(soundfile, "SoundFile", None)
    with pytest.raises(UserError, match=message) as caught:
        rooms(settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "matrices").exists()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"manifest": None}, r"my\.ini \[dataset rooms\] manifest: must be given, or folder"),
        ({"folder": "audio"}, r"folder = audio: manifest is given, too"),
        ({"label": None}, r"label: must be the name of a column"),
        ({"manifest": None, "folder": "audio"}, r"label = word: needs a manifest"),
        ({"sequence_length": None}, r"\[dataset rooms\] sequence_length: must be given"),
        ({"orthogonal": "room, word"}, "orthogonal = room, word: word is the label, which the"),
        ({"confounder": "word"}, "confounder = word: word is the label, which the"),
        ({"task": "regression", "confounder": "room"}, "confounder = room: needs classes"),
        ({"task": "regresion"}, "task = regresion: must be 'classification' or 'regression'; did"),
    ],
)
def test_a_section_that_cannot_be_is_one_line(
    declare: Declare, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        declare(**section)


def test_a_missing_table_and_names_that_are_taken_or_unknown(
    declare: Declare, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv: cannot be read: No such file"):
        rooms(declare(manifest="nowhere.csv"))
    with pytest.raises(UserError, match=r"dataset roms: not known; did you mean rooms\?"):
        find_dataset("roms", declare())
    (tmp_path / "taken.ini").write_text(
        "[dataset nsynth]\nmanifest = a.csv\nlabel = b\nsequence_length = 1\n"
    )
    with pytest.raises(UserError, match=r"\[dataset nsynth\]: is the name of a built-in dataset"):
        find_dataset("nsynth", load_settings(tmp_path / "taken.ini"))


def test_a_folder_of_classes(
    declare: Declare, tmp_path: Path, write_wav: WriteWav, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "corpus" / "birds"
    for name in ("wren/a.wav", "wren/deep/b.WAV", "owl/c.wav", "owl/._c.wav", ".cache/d.wav"):
        write_wav(folder / name, 0.1, seed=len(name))
    for name in ("e.wav", "owl/notes.txt", "owl/Thumbs.db"):
        (folder / name).write_text("")
    settings = declare(manifest=None, label=None, folder="birds")
    clips = [(clip.name, clip.label, clip.class_name, clip.group) for clip in clips_of(settings)]
    assert clips == [
        ("owl/c.wav", 0, "owl", "owl/c.wav"),
        ("wren/a.wav", 1, "wren", "wren/a.wav"),
        ("wren/deep/b.WAV", 1, "wren", "wren/deep/b.WAV"),
    ]
    assert "2 files in no class or with an extension of no audio left out: e.wav, notes.txt" in (
        capsys.readouterr().out
    )
    (folder / "crow").mkdir()
    with pytest.raises(UserError, match="birds: crow holds no audio"):
        clips_of(settings)
    with pytest.raises(UserError, match="holds no folder with audio; each of its folders is a"):
        clips_of(declare(manifest=None, label=None, folder="birds/wren/deep"))


def test_other_labels_of_a_table_make_other_matrices(
    declare: Declare, capsys: pytest.CaptureFixture[str]
) -> None:
    first = rooms(declare(orthogonal="room"))
    described = declare(orthogonal="room", licence="CC0", confounder="label")
    assert find_dataset("rooms", described).licence == "CC0"
    assert find_dataset("rooms", described).confounder == "manifest_label"
    assert rooms(described).fingerprint == first.fingerprint
    assert "already there, unchanged" in capsys.readouterr().out
    assert rooms(declare(orthogonal="speaker")).orthogonal_labels == ["speaker"]
    assert rooms(declare(label="fold", group="speaker")).classes == ["10", "11", "9"]
