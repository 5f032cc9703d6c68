"""Spoken digits in the layout of Google Speech Commands v0.01, by several dozen distinct voices."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from preprocessing.miniature.audio import (
    Samples,
    decibels_to_gain,
    random_stream,
    scaled_to_peak,
    scaled_to_rms,
    write_clips,
)
from preprocessing.miniature.espeak import SAMPLE_RATE
from preprocessing.miniature.sound_design import coloured_noise, filtered, wander
from preprocessing.miniature.speakers import Speaker, draw_speakers, trimmed

CORPUS = "gsc"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BACKGROUND_FOLDER = "_background_noise_"
BACKGROUND_SECONDS = 10
# As in the real corpus: one clip in ten is a little shorter than 1 s.
_SHORTER_CLIPS = 0.1
_SHORTEST_SECONDS = 0.8
_PEAKS = (-12.0, -1.0)  # dBFS; a clip below -26 dBFS would count as empty
_ENDINGS = (".", "?", "!")  # each gives the word another intonation


def make_speech_commands(folder: Path, clips_per_word: int, seed: int, num_voices: int = 60) -> int:
    """Write `<word>/<speaker hash>_nohash_<n>.wav` for the ten digits, and background noise.

    The voices say each word about equally often; n counts one voice's clips of a word. The same
    arguments give the same files, bit for bit.

    Args:
        folder: takes the word folders; made if need be.
        clips_per_word: clips of each digit.
        seed: of voices, rates, pitches, levels and noise.
        num_voices: at most `len(distinct_variants())`.

    Returns:
        How many files were written.

    Raises:
        FileExistsError: a file is there already.
        ValueError: there are not that many voices.
    """
    speakers = draw_speakers(num_voices, seed, CORPUS)
    backgrounds = dict(_background_noises(seed))
    clips = _all_clips(speakers, clips_per_word, seed)
    num_clips = clips_per_word * len(WORDS)
    num_written = write_clips(folder, clips, num_clips, "spoken digits")
    return num_written + write_clips(
        folder, backgrounds.items(), len(backgrounds), "background noise"
    )


def _all_clips(
    speakers: list[Speaker], clips_per_word: int, seed: int
) -> Iterator[tuple[str, Samples]]:
    for word in WORDS:
        order = random_stream(seed, CORPUS, word).permutation(len(speakers))
        for index in range(clips_per_word):
            speaker = speakers[order[index % len(speakers)]]
            name = f"{word}/{speaker.hash}_nohash_{index // len(speakers)}.wav"
            yield name, _digit_clip(speaker, word, random_stream(seed, CORPUS, name))


def _digit_clip(speaker: Speaker, word: str, stream: np.random.Generator) -> Samples:
    """A word said once, somewhere in a clip of about 1 s; longer words lose their end."""
    spoken = trimmed(speaker.say(word + stream.choice(_ENDINGS), stream).samples)[:SAMPLE_RATE]
    length = SAMPLE_RATE
    if stream.random() < _SHORTER_CLIPS:
        length = max(len(spoken), round(stream.uniform(_SHORTEST_SECONDS, 1) * SAMPLE_RATE))
    # Speakers aim at the middle of the clip and mostly meet it.
    start = round(stream.beta(5, 5) * (length - len(spoken)))
    clip = np.zeros(length)
    clip[start : start + len(spoken)] = spoken
    clip = scaled_to_peak(clip, decibels_to_gain(stream.uniform(*_PEAKS)))
    return speaker.record(clip, stream)


def _background_noises(seed: int) -> Iterator[tuple[str, Samples]]:
    """The folder of long noises that the real corpus has beside its words."""
    num_samples = BACKGROUND_SECONDS * SAMPLE_RATE
    for name, exponent in (("white_noise", 0.0), ("pink_noise", 1.0)):
        stream = random_stream(seed, CORPUS, name)
        noise = coloured_noise(stream, num_samples, exponent)
        yield f"{BACKGROUND_FOLDER}/{name}.wav", scaled_to_rms(noise, -25)
    stream = random_stream(seed, CORPUS, "running_tap")
    hiss = filtered(coloured_noise(stream, num_samples, 0.5), low=800, high=6000)
    tap = hiss * wander(stream, num_samples, rate=8.0, depth=0.5)
    yield f"{BACKGROUND_FOLDER}/running_tap.wav", scaled_to_rms(tap, -25)
