"""NSynth: families, sets and the draw against a tiny corpus with the real examples.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from config.settings import Settings
from preprocessing.corpora import nsynth
from preprocessing.corpora.nsynth import FAMILIES, NOTES, PARTS
from preprocessing.pipeline.extraction import preprocess
from tests.conftest import message_of
from tests.preprocessing.conftest import RATE, MakeSettings, prepared

# As in the corpus itself: synth_lead is heard in the training set only.
NOTES_OF_SETS = {
    "train": [(family, 40 + number) for number, family in enumerate(FAMILIES)],
    "valid": [("bass", 30), ("vocal", 60), ("organ", 61)],
    "test": [("reed", 70), ("flute", 80)],
}


def entry(family: str, pitch: int, number: int) -> dict[str, Any]:
    """What examples.json says of a note, field by field as in the corpus."""
    instrument = f"{family}_acoustic_{number:03}"
    return {
        "note": 100000 + number,
        "sample_rate": 16000,
        "instrument_family": FAMILIES.index(family),
        "qualities": [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        "instrument_source_str": "acoustic",
        "note_str": f"{instrument}-{pitch:03}-075",
        "instrument_family_str": family,
        "instrument_str": instrument,
        "pitch": pitch,
        "instrument": number,
        "instrument_source": 0,
        "velocity": 75,
        "qualities_str": ["dark"],
    }


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixteen notes of 4 s."""
    for set_number, (name, notes) in enumerate(NOTES_OF_SETS.items()):
        folder = tmp_path / "NSynth" / f"nsynth-{name}"
        (folder / "audio").mkdir(parents=True)
        entries = [entry(family, pitch, n) for n, (family, pitch) in enumerate(notes)]
        examples = {values["note_str"]: values for values in entries}
        (folder / "examples.json").write_text(json.dumps(examples), encoding="utf-8-sig")
        for number, note in enumerate(examples):
            generator = np.random.default_rng([set_number, number])
            samples = generator.uniform(-0.5, 0.5, 4 * RATE)
            soundfile.write(folder / "audio" / f"{note}.wav", samples, RATE, subtype="PCM_16")
    return tmp_path / "NSynth"


@pytest.fixture
def settings(corpus: Path, make_settings: MakeSettings) -> Settings:
    return make_settings(input_nsynth_folder=corpus)


def test_families_and_sets(settings: Settings) -> None:
    clips = NOTES.list_clips(settings)
    found = [(clip.fixed_set, clip.class_name, clip.label) for clip in clips]
    assert sorted(found) == sorted(
        [
            *(("train", family, label) for label, family in enumerate(FAMILIES)),
            ("validation", "bass", 0),
            ("validation", "vocal", 10),
            ("validation", "organ", 6),
            ("test", "reed", 7),
            ("test", "flute", 2),
        ]
    )
    assert all(clip.path.is_file() for clip in clips)


def test_large_sets_are_drawn_from(
    corpus: Path, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(part: str, seed: int = 0) -> list[str]:
        changes = {"input_nsynth_folder": corpus, "preprocessing.seed": seed}
        clips = NOTES.list_clips(make_settings(**changes))
        return [clip.name for clip in clips if clip.fixed_set == part]

    every = names("train")
    assert nsynth.MOST_NOTES == 56_001
    monkeypatch.setattr(nsynth, "MOST_NOTES", 8)
    drawn = names("train")
    assert len(drawn) == len(set(drawn)) == 8
    assert set(drawn) < set(every)
    assert len(names("validation")) == 3
    assert names("train") == drawn
    others = [names("train", seed) for seed in range(1, 30)]
    assert all(len(set(other)) == 8 for other in others)
    assert any(other != drawn for other in others)
    assert set(every) == set(drawn).union(*others)


class TestWrongFolders:
    def test_all_that_is_wrong_with_notes_is_named_at_once(
        self, corpus: Path, settings: Settings
    ) -> None:
        def change(part: str, **notes: dict[str, Any] | None) -> None:
            path = corpus / f"nsynth-{part}" / "examples.json"
            path.write_text(json.dumps(json.loads(path.read_bytes()) | notes))

        wrong = entry("bass", 1, 1) | {"instrument_family": 11}
        change("train", a=wrong, b=None, **{"../e": entry("bass", 1, 1)})
        (corpus / "nsynth-valid" / "examples.json").write_text("[]")
        (corpus / "nsynth-test" / "examples.json").write_text("")
        said = message_of(NOTES.list_clips, settings)
        assert "NSynth: 5 problems: " in said
        for problem in (
            "nsynth-train/examples.json, a instrument_family: Input should be less than 11",
            "nsynth-train/examples.json, b: ",
            "nsynth-train/examples.json, ../e [key]: ",
            "nsynth-valid/examples.json: Input should be an object",
            "nsynth-test/examples.json: Invalid JSON",
        ):
            assert problem in said

    def test_a_family_that_no_list_has(self, corpus: Path, settings: Settings) -> None:
        """Said at once, with the sets that nothing is left for."""
        for part in PARTS:
            path = corpus / f"nsynth-{part}" / "examples.json"
            notes = json.loads(path.read_bytes())
            kept = {name: note for name, note in notes.items() if note["instrument_family"] > 1}
            path.write_text(json.dumps(kept))
        with pytest.raises(UserError, match="no example of 2 of 11 classes: bass, brass"):
            preprocess(NOTES, settings)


def test_notes_are_padded_to_six_seconds_and_keep_the_corpus_s_own_split(
    settings: Settings,
) -> None:
    matrices = prepared(NOTES, settings)
    # 6 s at 16 kHz: 96000 / 128 + 1 frames, 4 s: 64000 / 128 + 1.
    assert matrices.predictors.shape == (16, 751, 129)
    assert set(matrices.index["num_frames"]) == {501}
    assert matrices.classes == list(FAMILIES)
    (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [11, 3, 2]
    assert set(fold.test) == {"reed_acoustic_000-070-075", "flute_acoustic_001-080-075"}
