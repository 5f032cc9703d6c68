"""Miniature NSynth and Good-Sounds: their layouts, notes at their pitch, defects that are there."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from scipy.signal import hilbert
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from config.settings import load_settings
from preprocessing.corpora.goodsounds import INSTRUMENTSPLIT, find_sounds
from preprocessing.corpora.nsynth import NOTES
from preprocessing.miniature.audio import random_stream
from preprocessing.miniature.family_notes import Instrument, make_nsynth, synthesize_note
from preprocessing.miniature.good_sounds import make_good_sounds
from preprocessing.miniature.played_instruments import (
    DEFECTS,
    INSTRUMENTS,
    Performance,
    good_performance,
    sound_of,
    spoiled,
)
from preprocessing.miniature.tones import Resonance, Timbre, fading, held, hertz, partials

Floats = npt.NDArray[np.float64]
FAMILIES = [
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string",
    "synth_lead", "vocal",
]  # fmt: skip
QUALITIES = [
    "bright", "dark", "distortion", "fast_decay", "long_release", "multiphonic", "nonlinear_env",
    "percussive", "reverb", "tempo-synced",
]  # fmt: skip
TWELVE = {
    "flute", "clarinet", "trumpet", "violin", "cello", "sax_alto", "sax_tenor", "sax_baritone",
    "sax_soprano", "oboe", "piccolo", "bass",
}  # fmt: skip
RATE = 48000
SETS = {"train": 8, "valid": 2, "test": 2}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read_mono(path: Path) -> Floats:
    """Samples at 16 kHz."""
    samples, rate = soundfile.read(path, always_2d=True)
    mono = samples.mean(axis=1)
    return np.asarray(mono if rate == 16000 else soxr.resample(mono, rate, 16000))


def log_spectrum_statistics(samples: Floats) -> Floats:
    """Mean, spread and mean change over time of a log spectrum in 32 bands."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::256]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(512)))
    edges = np.unique(np.geomspace(1, 256, 40).astype(int))
    bands = np.log(np.add.reduceat(spectrum, edges, axis=1) / np.diff([*edges, 257]) + 1e-3)
    changes = np.abs(np.diff(bands, axis=0)).mean(axis=0)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0), changes])


def course_of(samples: Floats) -> Floats:
    """The level in each twelfth of a sound, and what its beginning has that the rest has not."""
    loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
    heard = samples[max(loud[0] - 400, 0) : loud[-1] + 400]
    levels = np.array([np.log(np.mean(part**2) + 1e-6) for part in np.array_split(heard, 12)])
    whole, beginning = log_spectrum_statistics(heard), log_spectrum_statistics(heard[:4000])
    return np.concatenate([whole, levels - levels.mean(), beginning - whole])


def classifier(strictness: float = 0.1) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strictness, max_iter=2000))


@pytest.fixture(scope="module")
def nsynth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "NSynth"
    assert make_nsynth(folder, notes_per_family=8, seed=7) == 11 * (8 + 2 + 2)
    return folder


def read_examples(folder: Path, part: str) -> dict[str, dict[str, Any]]:
    path = folder / f"nsynth-{part}" / "examples.json"
    examples: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return examples


def test_notes_have_the_layout_of_nsynth(nsynth: Path) -> None:
    numbers: list[int] = []
    instruments: list[set[int]] = []
    for part, per_family in SETS.items():
        examples = read_examples(nsynth, part)
        audio = sorted((nsynth / f"nsynth-{part}" / "audio").iterdir())
        assert [path.name for path in audio] == sorted(f"{name}.wav" for name in examples)
        families = Counter(note["instrument_family_str"] for note in examples.values())
        assert families == dict.fromkeys(FAMILIES, per_family)
        numbers += [note["note"] for note in examples.values()]
        instruments.append({note["instrument"] for note in examples.values()})
        for path in audio:
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert info.frames == 4 * 16000
    assert len(set(numbers)) == len(numbers)
    assert len(set.union(*instruments)) == sum(map(len, instruments))


def test_examples_describe_their_notes(nsynth: Path) -> None:
    for name, note in read_examples(nsynth, "train").items():
        assert set(note) == {
            "note", "note_str", "instrument", "instrument_str", "pitch", "velocity", "sample_rate",
            "qualities", "qualities_str", "instrument_family", "instrument_family_str",
            "instrument_source", "instrument_source_str",
        }  # fmt: skip
        source = ["acoustic", "electronic", "synthetic"][note["instrument_source"]]
        family = FAMILIES[note["instrument_family"]]
        assert (source, family) == (note["instrument_source_str"], note["instrument_family_str"])
        assert note["instrument_str"] == f"{family}_{source}_{note['instrument']:03}"
        key = f"{note['pitch']:03}-{note['velocity']:03}"
        assert name == note["note_str"] == f"{note['instrument_str']}-{key}"
        flags = [int(quality in note["qualities_str"]) for quality in QUALITIES]
        assert note["qualities"] == flags
        assert sum(flags) == len(note["qualities_str"])
        assert note["sample_rate"] == 16000
        assert note["velocity"] in (25, 50, 75, 100, 127)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mallet"])
def test_notes_have_their_pitch_and_end_after_3_s(family: str) -> None:
    instrument = Instrument(0, f"{family}_acoustic_000", family, 0)
    for pitch in (48, 64):
        samples = synthesize_note(instrument, pitch, 100, seed=3)
        power = np.abs(np.fft.rfft(samples[8000:40000] * np.hanning(32000))) ** 2
        frequencies = np.fft.rfftfreq(32000, 1 / 16000)
        shares = []
        for semitones in range(-6, 7):
            candidate = 440 * 2 ** ((pitch + semitones - 69) / 12)
            number = np.rint(frequencies / candidate)
            near = np.abs(frequencies / candidate - number) < 0.02 * number
            shares.append(power[near & (number >= 1) & (number <= 6)].sum())
        assert int(np.argmax(shares)) == 6
        held_level, end_level = np.std(samples[24000:40000]), np.std(samples[-1600:])
        assert end_level < 0.2 * held_level


def test_harder_keys_are_louder() -> None:
    for family in FAMILIES:
        instrument = Instrument(0, f"{family}_acoustic_000", family, 0)
        peaks = [np.abs(synthesize_note(instrument, 60, force, 3)).max() for force in (25, 75, 127)]
        assert peaks[0] * 1.5 < peaks[1]
        assert peaks[1] * 1.5 < peaks[2] < 1


def test_families_are_learnable_from_other_instruments_and_not_trivial(nsynth: Path) -> None:
    features: dict[str, list[Floats]] = {}
    families: dict[str, list[str]] = {}
    for part in SETS:
        examples = read_examples(nsynth, part)
        audio = nsynth / f"nsynth-{part}" / "audio"
        features[part] = [log_spectrum_statistics(read_mono(audio / f"{n}.wav")) for n in examples]
        families[part] = [note["instrument_family_str"] for note in examples.values()]
    model = classifier().fit(features["train"], families["train"])
    unheard = features["valid"] + features["test"]
    accuracy = model.score(unheard, families["valid"] + families["test"])
    assert 0.35 < accuracy < 0.98  # chance: 0.09


def test_the_reader_finds_every_note(nsynth: Path) -> None:
    settings = load_settings(overrides={"input_nsynth_folder": nsynth}, prefer=("preprocessing",))
    clips = NOTES.list_clips(settings)
    expected = {
        (name, note["instrument_family_str"])
        for part in SETS
        for name, note in read_examples(nsynth, part).items()
    }
    assert {(clip.name, clip.class_name) for clip in clips} == expected
    counts = Counter(clip.fixed_set for clip in clips)
    assert counts == {"train": 88, "validation": 22, "test": 22}


@pytest.fixture(scope="module")
def good_sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "good-sounds"
    make_good_sounds(folder, sounds_per_goodness=2, seed=7)
    return folder


def query(folder: Path, text: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "database.sqlite")) as database:
        return database.execute(text).fetchall()


def test_files_have_the_layout_of_good_sounds(good_sounds: Path) -> None:
    takes = query(
        good_sounds,
        "SELECT takes.filename, packs.name, takes.microphone, sounds.pack_filename FROM takes "
        "JOIN sounds ON sounds.id = takes.sound_id JOIN packs ON packs.id = sounds.pack_id",
    )
    formats, microphones = Counter[tuple[int, str]](), Counter[tuple[str, str]]()
    for filename, pack, microphone, name in takes:
        assert filename == f"sound_files/{pack}/{microphone}/{name}"
        info = soundfile.info(good_sounds / filename)
        assert info.samplerate == 48000
        assert 1 < info.duration < 4
        formats[info.channels, info.subtype] += 1
        microphones[pack, microphone] += 1
    assert set(formats) == {(1, "PCM_16"), (1, "PCM_24"), (2, "PCM_16")}
    packs = Counter(pack for pack, _ in microphones)
    assert len(packs) == 24
    assert set(packs.values()) == {1, 2}
    # What else lies there are tables, and files that no sound has.
    others = set(contents(good_sounds)) - {filename for filename, *_ in takes}
    assert {Path(name).suffix for name in others} == {".sqlite", ".csv", ".wav"}
    strays = [name for name in others if name.endswith(".wav")]
    assert strays
    assert all("_" in Path(*Path(n).parts[2:]).as_posix() or "#" in n for n in strays)


def test_sounds_are_of_all_instruments_and_kinds(good_sounds: Path) -> None:
    rows = query(good_sounds, "SELECT instrument, klass FROM sounds WHERE pack_id IS NOT NULL")
    assert {instrument for instrument, _ in rows} == TWELVE
    by_kind = {
        kind: Counter(instrument for instrument, klass in rows if (klass or "").startswith(kind))
        for kind in ("good-sound", "bad-attack", "bad-dynamics", "bad-pitch", "bad-timbre", "scale")
    }
    assert by_kind["good-sound"] == dict.fromkeys(TWELVE, 3)
    assert by_kind["bad-pitch"] == dict.fromkeys(TWELVE, 2)
    assert by_kind["scale"].total() > 5
    klasses = {klass for _, klass in rows}
    assert None in klasses
    assert any(klass and klass.count("bad") == 2 and " " not in klass for klass in klasses)
    assert any(klass and klass.count("bad") == 2 and " " in klass for klass in klasses)
    assert query(good_sounds, "SELECT COUNT(*) FROM sounds WHERE pack_id IS NULL") == [(1,)]
    semitones = query(good_sounds, "SELECT note, octave, semitone FROM sounds WHERE semitone > 0")
    names = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    assert all(12 * octave + names.index(note) == number for note, octave, number in semitones)


def test_sounds_begin_and_end_where_the_database_says(good_sounds: Path) -> None:
    rows = query(
        good_sounds,
        "SELECT filename, attack, sounds.offset FROM takes JOIN sounds ON sounds.id = sound_id "
        "WHERE klass = 'good-sound'",
    )
    for filename, attack, offset in rows:
        samples = np.abs(soundfile.read(good_sounds / filename, always_2d=True)[0]).max(axis=1)
        loud = np.flatnonzero(samples > 0.1 * samples.max())
        assert attack - 480 < loud[0] < attack + 0.15 * RATE
        # A plucked string has died away before.
        assert loud[-1] < offset + 480
        assert loud[-1] > offset - 0.2 * RATE or "bass" in filename


def test_two_microphones_record_the_same_note_otherwise(good_sounds: Path) -> None:
    pack = next(
        path for path in (good_sounds / "sound_files").iterdir() if (path / "iphone").is_dir()
    )
    for path in (pack / "earth").glob("????.wav"):
        one, other = read_mono(path), read_mono(pack / "iphone" / path.name)
        one, other = (mono[: min(len(one), len(other))] for mono in (one, other))
        gain = (one @ other) / (one @ one)
        rest = np.std(other - gain * one) / np.std(other)
        assert 0.002 < rest < 0.7


def perform(klass: str, number: int) -> tuple[Performance, Floats]:
    """A note of some instrument with the defects of its tags, 2 s at 48 kHz."""
    # No bass: a plucked string falls in level by itself.
    names = sorted(set(INSTRUMENTS) - {"bass"})
    instrument = INSTRUMENTS[names[number % len(names)]]
    stream = random_stream(1, klass, number)
    performance = spoiled(good_performance(instrument, 2.0, stream), klass, stream)
    return performance, sound_of(performance, instrument.pitches[0] + 7, stream)


def fundamental_of(samples: Floats, pitch_range: tuple[float, float]) -> Floats:
    """Frequencies in Hz of short frames, from the autocorrelation of the lowest partials."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 4096)[::1200]
    shortest, longest = round(RATE / pitch_range[1]), round(RATE / pitch_range[0])
    spectrum = np.fft.rfft(frames * np.hanning(4096), 8192)
    spectrum[:, 340:] = 0  # above 2 kHz
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, shortest:longest]
    return np.asarray(RATE / (shortest + correlation.argmax(axis=1)))


def steadiness(samples: Floats) -> float:
    """Spread of the level in dB while the note is held."""
    parts = samples[int(0.6 * RATE) : int(1.85 * RATE)].reshape(-1, 2400)
    return float(np.std(10 * np.log10((parts**2).mean(axis=1) + 1e-12)))


def rise(samples: Floats) -> float:
    """How much louder the middle of a note is than its first 150 ms, in dB."""
    middle = np.mean(samples[int(0.9 * RATE) : int(1.4 * RATE)] ** 2)
    return float(10 * np.log10(middle / np.mean(samples[: int(0.15 * RATE)] ** 2)))


@pytest.mark.parametrize("klass", DEFECTS["bad-dynamics"])
def test_bad_dynamics_are_unsteady(klass: str) -> None:
    for number in range(4):
        good, bad = (
            steadiness(perform("good-sound", number)[1]),
            steadiness(perform(klass, number)[1]),
        )
        assert good < 1.5
        assert bad > good + 1.5


def test_bad_attacks_are_slow_hard_noisy_or_scooped() -> None:
    for number in range(4):
        usual = rise(perform("good-sound", number)[1])
        assert -3 < usual < 8
        assert rise(perform("bad-attack", number)[1]) > usual + 4
        assert rise(perform("bad-attack-too-strong", number)[1]) < usual - 4
        scooped = perform("bad-attack-gallo", number)[0].cents
        assert scooped[0] < -250
        assert abs(scooped[RATE:].mean()) < 40
        airy = perform("bad-attack-air", number)[0].noise
        assert airy[0] > airy[RATE:].mean() + 15


@pytest.mark.parametrize("klass", ["good-sound", *DEFECTS["bad-pitch"]])
def test_bad_pitch_strays(klass: str) -> None:
    names = sorted(set(INSTRUMENTS) - {"bass"})
    for number in range(4):
        pitch = INSTRUMENTS[names[number]].pitches[0] + 7
        expected = 442 * 2 ** ((pitch - 69) / 12)
        samples = perform(klass, number)[1][int(0.3 * RATE) : int(1.9 * RATE)]
        found = fundamental_of(samples, (expected / 1.35, expected * 1.35))
        cents = 1200 * np.log2(found / expected)
        spread = np.subtract(*np.percentile(cents, (90, 10)))
        assert (spread > 60) == (klass != "good-sound")
        if klass == "good-sound":
            assert abs(np.median(cents)) < 25


def test_bad_timbre_is_noisy_or_poor() -> None:
    def richness(samples: Floats) -> float:
        """Energy above 1.5 times the fundamental to that around it, in dB."""
        spectrum = np.abs(np.fft.rfft(samples[RATE // 2 : 3 * RATE // 2])) ** 2
        first = int(np.argmax(spectrum > 0.1 * spectrum.max()))
        return float(10 * np.log10(spectrum[int(1.5 * first) :].sum() / spectrum.sum()))

    def noisiness(samples: Floats) -> float:
        """The median of a power spectrum to its mean, up to 7 kHz, in dB."""
        spectrum = np.abs(np.fft.rfft(samples[RATE // 2 : 3 * RATE // 2])[:7000]) ** 2
        return float(10 * np.log10(np.median(spectrum) / spectrum.mean()))

    poorer = []
    for number in range(6):
        good = perform("good-sound", number)[1]
        assert noisiness(perform("bad-timbre", number)[1]) > noisiness(good) + 4
        envelope = np.abs(hilbert(perform("bad-richness-pato", number)[1][RATE // 2 : RATE]))
        assert envelope.std() > 0.1 * envelope.mean()
        poorer.append(richness(perform("bad-richness", number)[1]) - richness(good))
    assert np.median(poorer) < -3


def test_goodness_and_instruments_are_learnable_and_not_trivial(good_sounds: Path) -> None:
    settings = load_settings(
        overrides={"input_good-sounds_folder": good_sounds}, prefer=("preprocessing",)
    )
    sounds = find_sounds(settings)
    features = [course_of(read_mono(sound.path)) for sound in sounds]
    goodness = [sound.goodness for sound in sounds]
    instruments = [sound.instrument for sound in sounds]
    unheard = cross_val_score(
        classifier(0.03), features, goodness, groups=instruments, cv=GroupKFold(6)
    )
    assert 0.4 < unheard.mean() < 0.95  # chance: 0.27
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    heard = cross_val_score(classifier(0.03), features, goodness, cv=folds)
    assert 0.4 < heard.mean() < 0.95
    statistics = [log_spectrum_statistics(read_mono(sound.path)) for sound in sounds]
    instrument = cross_val_score(classifier(), statistics, instruments, cv=folds)
    assert 0.25 < instrument.mean() < 0.95  # chance: 0.08


def test_the_reader_finds_the_sounds_of_five_kinds(good_sounds: Path) -> None:
    settings = load_settings(
        overrides={"input_good-sounds_folder": good_sounds}, prefer=("preprocessing",)
    )
    clips = INSTRUMENTSPLIT.list_clips(settings)
    # Balanced to the smallest class: two of each instrument.
    names = ("good-sound", "bad-dynamics", "bad-pitch", "bad-timbre", "bad-attack")
    assert Counter(clip.class_name for clip in clips) == dict.fromkeys(names, 24)
    assert {clip.group for clip in clips} == TWELVE
    assert not any({"_", "#"} & set(clip.path.name) for clip in clips)


def tiny_nsynth(folder: Path, seed: int) -> int:
    return make_nsynth(folder, 1, seed)


def one_instrument(folder: Path, seed: int) -> int:
    return make_good_sounds(folder, 1, seed, instruments=("oboe",))


@pytest.mark.parametrize("make", [tiny_nsynth, one_instrument])
def test_the_same_seed_gives_the_same_corpus(
    tmp_path: Path, make: Callable[[Path, int], int]
) -> None:
    make(tmp_path / "first", 1)
    make(tmp_path / "again", 1)
    make(tmp_path / "other", 2)
    first, other = contents(tmp_path / "first"), contents(tmp_path / "other")
    assert first == contents(tmp_path / "again")
    audio = [data for name, data in first.items() if name.endswith(".wav")]
    assert len(set(audio)) == len(audio)
    assert not set(audio) & set(other.values())
    with pytest.raises(FileExistsError):
        make(tmp_path / "first", 1)
    assert contents(tmp_path / "first") == first


def test_partials_are_sines_at_multiples() -> None:
    seconds = np.arange(RATE) / RATE
    amplitudes = np.array([1, 0.5j, 0, -0.25])
    tone = partials(2 * np.pi * 200 * seconds, amplitudes, 0.5)
    expected = (
        0.5 * np.sin(2 * np.pi * 200 * seconds)
        + 0.5**2 * 0.5 * np.cos(2 * np.pi * 400 * seconds)
        - 0.5**4 * 0.25 * np.sin(2 * np.pi * 800 * seconds)
    )
    np.testing.assert_allclose(tone, expected, atol=1e-12)


def test_timbre_is_slope_even_partials_and_resonances() -> None:
    stream = np.random.default_rng(0)
    timbre = Timbre(slope=-6, even=-20, resonances=(Resonance(900, 0.2, 12),))
    found = 20 * np.log10(np.abs(timbre.amplitudes(300, 16000, stream)))
    octaves = [0, 1, np.log2(3), 2, np.log2(5)]
    for number, decibels in enumerate(found[:5], start=1):
        distance = np.log2(number * 300 / 900) / 0.2
        expected = -6 * octaves[number - 1] + 12 * np.exp(-(distance**2) / 2)
        assert decibels == pytest.approx(expected - (20 if number % 2 == 0 else 0), abs=1e-6)
    assert len(Timbre(0).amplitudes(1000, 16000, stream)) == 7  # below 7.2 kHz
    assert len(Timbre(-40).amplitudes(100, 16000, stream)) == 3  # the fourth is 80 dB below


def test_envelopes_rise_and_fall_in_their_time() -> None:
    envelope = held(1000, attack=100, release=200)
    assert envelope[0] == 0
    assert envelope[50] == pytest.approx(0.5)
    assert (envelope[100:800] == 1).all()
    assert envelope[899] == pytest.approx(0.5)
    assert envelope[-1] == pytest.approx(0, abs=1e-12)
    short = held(100, attack=100, release=100)
    assert short.max() > 0.99
    assert short[-1] == pytest.approx(0, abs=1e-12)
    assert 20 * np.log10(fading(RATE, 2.0, RATE)[RATE // 2]) == pytest.approx(-15)
    assert hertz(69) == 440
    assert hertz(60) == pytest.approx(261.6256, abs=1e-4)
