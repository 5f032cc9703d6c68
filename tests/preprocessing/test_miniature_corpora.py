"""Miniature corpora: the real layouts, the same files again, and noises that can be told apart."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from preprocessing.miniature.espeak import Voice, speak
from preprocessing.miniature.noises import (
    LEFT_OUT_NOISES,
    NOISES,
    make_ms_snsd,
    synthesize_noise,
)
from preprocessing.miniature.sound_design import (
    burst,
    coloured_noise,
    event_times,
    filtered,
    harmonics,
    phase_of,
    placed,
    reverberated,
)
from preprocessing.miniature.spoken_digits import make_speech_commands

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# The eleven labels of the noise-type task, in label order.
NOISE_TYPES = [
    "AirConditioner",
    "AirportAnnouncements",
    "Babble",
    "CopyMachine",
    "Munching",
    "NeighborSpeaking",
    "ShuttingDoor",
    "SqueakyChair",
    "Typing",
    "VacuumCleaner",
    "WasherDryer",
]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "gsc"
    assert make_speech_commands(folder, clips_per_word=5, seed=7, num_voices=2) == 53
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "snsd"
    assert make_ms_snsd(folder, 3, 2, seed=7, noise_seconds=2.0) == 3 + 11 * 2 + 2
    return folder


def test_digits_have_the_layout_of_speech_commands(digits: Path) -> None:
    assert {path.name for path in digits.iterdir()} == {*DIGITS, "_background_noise_"}
    for word in DIGITS:
        parts = [
            re.fullmatch(r"([0-9a-f]{8})_nohash_(\d+)\.wav", path.name)
            for path in (digits / word).iterdir()
        ]
        counts = Counter(part.group(1) for part in parts if part)
        assert sorted(counts.values()) == [2, 3]
        assert sorted(int(part.group(2)) for part in parts if part) == [0, 0, 1, 1, 2]
    hashes = {path.name[:8] for word in DIGITS for path in (digits / word).iterdir()}
    assert len(hashes) == 2


def test_digit_clips_are_loud_enough_and_about_1_s(digits: Path) -> None:
    peaks = []
    for path in [path for word in DIGITS for path in (digits / word).iterdir()]:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 0.8 * 16000 <= info.frames <= 16000
        peaks.append(np.abs(soundfile.read(path)[0]).max())
    # A clip whose peak is 0.05 or less would count as empty.
    assert min(peaks) > 0.2
    assert max(peaks) > 2 * min(peaks)
    assert max(peaks) < 1


def test_the_same_seed_gives_the_same_digits(digits: Path, tmp_path: Path) -> None:
    speak("something in between", Voice("whisper"))
    make_speech_commands(tmp_path / "again", clips_per_word=5, seed=7, num_voices=2)
    assert contents(tmp_path / "again") == contents(digits)
    make_speech_commands(tmp_path / "other", clips_per_word=5, seed=8, num_voices=2)
    assert not set(contents(tmp_path / "other").values()) & set(contents(digits).values())


def test_fewer_clips_are_a_part_of_more(digits: Path, tmp_path: Path) -> None:
    make_speech_commands(tmp_path / "fewer", clips_per_word=3, seed=7, num_voices=2)
    fewer = contents(tmp_path / "fewer")
    assert len(fewer) == 33
    assert fewer.items() <= contents(digits).items()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make_speech_commands(tmp_path, clips_per_word=1, seed=0, num_voices=1)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError):
        make_speech_commands(tmp_path, clips_per_word=1, seed=0, num_voices=1)
    assert contents(tmp_path) == before


def test_more_voices_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_speakers must be 1 to"):
        make_speech_commands(tmp_path, clips_per_word=1, seed=0, num_voices=1000)
    assert not list(tmp_path.iterdir())


def test_noisy_speech_has_the_layout_of_ms_snsd(noisy: Path) -> None:
    files = contents(noisy)
    kinds = Counter(
        name.removeprefix("noise_train/").split("_")[0] for name in files if "noise_train" in name
    )
    assert kinds == dict.fromkeys(NOISE_TYPES, 2) | {"Car": 1, "Washing": 1}
    assert [name for name in sorted(files) if name.startswith("clean")] == [
        f"clean_train/clnsp{number}.wav" for number in (1, 2, 3)
    ]
    for name in files:
        info = soundfile.info(noisy / name)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        if name.startswith("clean"):
            assert 1.5 < info.duration < 6
        else:
            assert info.duration == 2.0


def test_the_same_seed_gives_the_same_noises(noisy: Path, tmp_path: Path) -> None:
    make_ms_snsd(tmp_path, 3, 2, seed=7, noise_seconds=2.0)
    assert contents(tmp_path) == contents(noisy)
    assert len(set(contents(noisy).values())) == len(contents(noisy))


@pytest.mark.parametrize("kind", [*NOISES, *LEFT_OUT_NOISES])
def test_noises_are_neither_silent_nor_clipped(kind: str) -> None:
    samples = synthesize_noise(kind, 1, 48000, seed=3)
    assert samples.shape == (48000,)
    assert np.abs(samples).max() <= 0.9501
    level = 10 * np.log10(np.mean(samples**2))
    assert -36 < level < -21.9
    # Every second holds some of it: clips of 1 s are cut from anywhere.
    seconds = 10 * np.log10((samples.reshape(-1, 16000) ** 2).mean(axis=1))
    assert seconds.min() > level - 10


@pytest.mark.parametrize("kind", ["Munching", "ShuttingDoor", "SqueakyChair", "Typing"])
def test_impulsive_noises_have_an_event_in_any_second(kind: str) -> None:
    for number in (1, 2, 3):
        samples = synthesize_noise(kind, number, 6 * 16000, seed=3)
        energies = (samples.reshape(-1, 160) ** 2).mean(axis=1)
        events = np.flatnonzero(energies > 100 * np.percentile(energies, 5))
        gaps = np.diff([0, *events, len(energies)])
        assert gaps.max() < 100


def noise_features(samples: np.ndarray) -> np.ndarray:
    """Mean and spread over time of a log spectrum in 32 bands, whatever the level."""
    frames = samples.reshape(-1, 512) / np.sqrt(np.mean(samples**2))
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(512)))[:, :256]
    bands = np.log(spectrum.reshape(len(frames), 32, 8).mean(axis=2) + 1e-2)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0)])


def test_types_of_noise_can_be_told_apart_in_unheard_files() -> None:
    features = np.array(
        [
            [noise_features(synthesize_noise(kind, number, 32256, seed=0)) for kind in NOISES]
            for number in (1, 2, 3)
        ]
    )
    centres, unheard = features[:2].mean(axis=0), features[2]
    distances = np.linalg.norm(unheard[:, None] - centres[None], axis=2)
    assert np.sum(distances.argmin(axis=1) == np.arange(len(NOISES))) >= 9
    # And no two files of a type are the same.
    assert np.abs(features[0] - features[1]).max(axis=1).min() > 0.1


def test_coloured_noise_falls_as_its_exponent_says() -> None:
    for exponent in (0.0, 1.0, 2.0):
        noise = coloured_noise(np.random.default_rng(0), 160_000, exponent)
        frequencies, density = welch(noise, 16000, nperseg=1024)
        kept = (frequencies > 100) & (frequencies < 4000)
        slope = np.polyfit(np.log(frequencies[kept]), np.log(density[kept]), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.1)
        assert np.mean(noise**2) == pytest.approx(1)


@pytest.mark.parametrize(("low", "high"), [(None, 1000), (1000, None), (500, 2000)])
def test_filters_pass_what_lies_between(low: float | None, high: float | None) -> None:
    seconds = np.arange(16000) / 16000
    for frequency in (100, 750, 1500, 6000):
        kept = filtered(np.sin(2 * np.pi * frequency * seconds), low, high)[8000:]
        passes = (low or 0) < frequency < (high or 8000)
        assert (np.abs(kept).max() > 0.85) == passes
        assert (np.abs(kept).max() < 0.5) != passes
    with pytest.raises(ValueError, match="low and high"):
        filtered(seconds)


def test_harmonics_are_multiples_of_the_frequency() -> None:
    tone = harmonics(phase_of(np.full(16000, 300.0)), (1, 0, 0.5))
    spectrum = np.abs(np.fft.rfft(tone)) / 8000
    assert np.flatnonzero(spectrum > 0.01).tolist() == [300, 900]
    assert spectrum[[300, 900]] == pytest.approx([1, 0.5], rel=1e-6)


def test_events_keep_their_distance() -> None:
    times = event_times(np.random.default_rng(0), 160_000, per_second=2.0, jitter=0.4)
    gaps = np.diff(times) / 16000
    assert times[0] < 4001
    assert times[-1] > 160_000 - 0.71 * 16000
    assert gaps.min() > 0.299
    assert gaps.max() < 0.701


def test_sounds_are_added_where_they_belong() -> None:
    sounds = [(1, np.array([1.0, 2.0])), (2, np.array([10.0, 20.0])), (9, np.ones(3))]
    assert placed(sounds, 4).tolist() == [0, 1, 12, 20]


def test_bursts_and_rooms_die_away_in_their_time() -> None:
    stream = np.random.default_rng(0)
    bang = burst(stream, 1.0, None, 4000)
    assert np.abs(bang).max() == 1
    early, late = (np.sqrt(np.mean(bang[i : i + 800] ** 2)) for i in (1600, 9600))
    # Half a second apart at 60 dB per second.
    assert 20 * np.log10(early / late) == pytest.approx(30, abs=2)
    impulse = np.zeros(16000)
    impulse[0] = 1
    room = reverberated(stream, impulse, seconds=1.0, wet=0.5)
    assert room[0] == pytest.approx(1, abs=0.1)
    assert np.sum(room[1:] ** 2) == pytest.approx(0.5, rel=0.05)
