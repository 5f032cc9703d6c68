"""eSpeak NG through ctypes: the same speech again, and words where it says they are."""

import hashlib
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import UserError
from preprocessing.miniature.espeak import Voice, speak, voice_variants
from preprocessing.miniature.speakers import distinct_variants, draw_speakers, trimmed

# A plain, two breathy, a formant-filter and an echoing variant: each keeps other hidden state.
VARIANTS = ("m3", "whisper", "croak", "klatt3", "Marco")


def digest(text: str, voice: Voice, seed: int = 0) -> str:
    return hashlib.sha256(speak(text, voice, seed).samples.tobytes()).hexdigest()


def test_known_variants_are_the_files_of_the_library() -> None:
    files = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    assert voice_variants() == tuple(sorted(path.name for path in files.iterdir()))
    assert len(distinct_variants()) >= 90
    assert not {"steph2", "steph3", "klatt5"} & set(distinct_variants())


@pytest.mark.parametrize("variant", VARIANTS)
def test_speech_does_not_depend_on_what_was_said_before(variant: str) -> None:
    voice = Voice(variant, rate=200)
    first = digest("seven", voice, seed=5)
    for other in VARIANTS:
        speak("something else, and longer", Voice(other, rate=300, pitch=90), seed=9)
        assert digest("seven", voice, seed=5) == first


def test_another_process_says_the_same() -> None:
    script = (
        "import hashlib\n"
        "from preprocessing.miniature.espeak import Voice, speak\n"
        "samples = speak('seven', Voice('whisper'), 5).samples\n"
        "print(hashlib.sha256(samples.tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    speak("first something else", Voice("croak"))
    assert done.stdout.strip() == digest("seven", Voice("whisper"), 5)


def test_the_seed_changes_a_whisper() -> None:
    assert digest("seven", Voice("whisper"), 1) != digest("seven", Voice("whisper"), 2)


def test_threads_take_turns() -> None:
    voices = [Voice(variant) for variant in VARIANTS] * 3
    alone = [digest("five", voice) for voice in voices]
    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(lambda voice: digest("five", voice), voices)) == alone


def test_unknown_variant_and_accent_are_refused() -> None:
    with pytest.raises(ValueError, match="no such voice variant: nobody"):
        speak("seven", Voice("nobody"))
    with pytest.raises(ValueError, match="no such accent: gmw/nowhere"):
        speak("seven", Voice("m3", accent="gmw/nowhere"))


@pytest.mark.parametrize(
    "numbers", [{"rate": 79}, {"rate": 451}, {"pitch": 100}, {"pitch_range": -1}, {"volume": 201}]
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(numbers))):
        Voice("m3", **numbers)


def test_samples_are_floats_at_16_khz() -> None:
    speech = speak("one two three", Voice("f2", rate=150))
    assert speech.samples.dtype == np.float32
    assert speech.samples.ndim == 1
    assert 0.1 < np.abs(speech.samples).max() <= 1
    # The library's own times are in s of its 22,050 Hz; they fit only if the rate was changed.
    seconds = len(speech.samples) / 16000
    assert speech.words[-1].end <= seconds <= speech.words[-1].end + 0.5


def test_nothing_to_say_is_silence() -> None:
    speech = speak("", Voice("f2"))
    assert not speech.samples.any()
    assert speech.words == ()


def test_faster_speech_is_shorter_and_higher_pitch_is_higher() -> None:
    text = "we were away a year ago"
    slow, fast = (speak(text, Voice("m3", rate=rate)).samples for rate in (100, 200))
    assert 1.6 < len(trimmed(slow)) / len(trimmed(fast)) < 2.4
    low, high = (speak(text, Voice("m3", pitch=pitch, pitch_range=0)) for pitch in (20, 80))
    assert fundamental(high.samples) > 1.4 * fundamental(low.samples)


def fundamental(samples: np.ndarray) -> float:
    """The frequency in Hz of the highest autocorrelation between 60 and 400 Hz."""
    spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    correlation = np.fft.irfft(spectrum)
    shortest, longest = 16000 // 400, 16000 // 60
    return 16000 / (shortest + int(np.argmax(correlation[shortest:longest])))


@pytest.mark.parametrize("variant", ["f2", "m3", "klatt3", "Alex"])
@pytest.mark.parametrize("rate", [120, 220])
def test_words_are_where_the_energy_is(variant: str, rate: int) -> None:
    speech = speak("nine, alarm; moon. yellow, mind", Voice(variant, rate=rate))
    assert [word.text for word in speech.words] == ["nine", "alarm", "moon", "yellow", "mind"]
    loud = np.abs(speech.samples) > 0.05 * np.abs(speech.samples).max()
    is_word = np.zeros(len(loud), dtype=bool)
    for word in speech.words:
        start, end = round(word.start * 16000), round(word.end * 16000)
        is_word[start:end] = True
        positions = start + np.flatnonzero(loud[start:end])
        # These words begin and end with a voiced sound, so energy marks them to within 60 ms.
        assert positions[0] - start < 0.06 * 16000
        assert end - positions[-1] < 0.06 * 16000
    assert loud[~is_word].sum() < 0.01 * loud.sum()


def test_words_without_pauses_follow_one_another() -> None:
    words = speak("She took one of the apples, and don't ask.", Voice("f2")).words
    # The library says "of the" as one word.
    assert [word.text for word in words] == [
        "She", "took", "one", "of the", "apples", "and", "don't", "ask",
    ]  # fmt: skip
    for word, following in itertools.pairwise(words[:5]):
        assert word.end == following.start
    assert words[4].end < words[5].start - 0.05


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_survived(text: str) -> None:
    speech = speak(text, Voice("f2", rate=400))
    assert np.isfinite(speech.samples).all()
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert times == sorted(times)


def test_a_long_data_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digest("seven", Voice("f2"))
    deep = tmp_path / ("x" * 100) / ("y" * 100) / "data"
    deep.parent.mkdir(parents=True)
    deep.symlink_to(espeakng_loader.get_data_path())
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep))
    assert digest("seven", Voice("f2")) == expected


def test_missing_data_are_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice_variants()
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere: eSpeak NG cannot read its data"):
        speak("seven", Voice("f2"))
    monkeypatch.undo()
    assert len(speak("seven", Voice("f2")).samples) > 0


def test_speakers_are_different_people() -> None:
    speakers = draw_speakers(40, seed=0, corpus="test")
    assert len({speaker.hash for speaker in speakers}) == 40
    spectra = []
    for speaker in speakers:
        samples = speak("seven nine", Voice(speaker.voice.variant)).samples
        spectrum = np.abs(np.fft.rfft(samples, 32000))[:16000]
        spectra.append(np.log(spectrum.reshape(100, -1).mean(axis=1) + 1e-3))
    distances = [
        np.abs(one - other).mean() for i, one in enumerate(spectra) for other in spectra[:i]
    ]
    assert min(distances) > 0.05
    assert np.median(distances) > 0.5


def test_speakers_depend_on_seed_and_corpus_only() -> None:
    assert draw_speakers(5, 3, "a") == draw_speakers(5, 3, "a")
    assert draw_speakers(5, 3, "a") != draw_speakers(5, 4, "a")
    assert draw_speakers(5, 3, "a") != draw_speakers(5, 3, "b")
    with pytest.raises(ValueError, match="num_speakers"):
        draw_speakers(1000, 0, "a")


def test_trimming_keeps_the_loud_part() -> None:
    samples = np.zeros(16000, dtype=np.float32)
    samples[5000:6000] = 0.5
    assert len(trimmed(samples, margin=0.01)) == 1000 + 2 * 160
    assert len(trimmed(np.zeros(10, dtype=np.float32))) == 10
