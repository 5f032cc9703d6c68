"""Google Speech Commands v0.01 in miniature: digits, spoken by several dozen distinct voices."""

from collections.abc import Iterator

import numpy as np

from preprocessing.miniature.sounds import (
    SAMPLE_RATE,
    Samples,
    gain,
    random_stream,
    scaled_to_peak,
)
from preprocessing.miniature.speech import Speaker, draw_speakers

CORPUS = "gsc"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def make_speech_commands(
    seed: int, clips_per_word: int, num_voices: int
) -> Iterator[tuple[str, Samples]]:
    """Make `<word>/<speaker hash>_nohash_<n>.wav`; n counts one voice's clips of a word."""
    speakers = draw_speakers(num_voices, seed, CORPUS)
    for word in WORDS:
        order = random_stream(seed, CORPUS, word).permutation(len(speakers))
        for index in range(clips_per_word):
            speaker = speakers[order[index % len(speakers)]]
            name = f"{word}/{speaker.hash}_nohash_{index // len(speakers)}.wav"
            yield name, _digit_clip(speaker, word, random_stream(seed, CORPUS, name))


def _digit_clip(speaker: Speaker, word: str, stream: np.random.Generator) -> Samples:
    """Say a word once, somewhere in a clip of about 1 s; longer words lose their end."""
    ending = stream.choice((".", "?", "!"))  # each gives the word another intonation
    spoken = speaker.say(word + ending, stream)[:SAMPLE_RATE]
    length = SAMPLE_RATE
    if stream.random() < 0.1:  # as in the real corpus, one clip in ten is a little shorter
        length = max(len(spoken), round(stream.uniform(0.8, 1) * SAMPLE_RATE))
    # Speakers aim at the middle of the clip and mostly meet it.
    start = round(stream.beta(5, 5) * (length - len(spoken)))
    clip = np.zeros(length)
    clip[start : start + len(spoken)] = spoken
    # A clip below -26 dBFS would count as empty.
    return speaker.record(scaled_to_peak(clip, gain(stream.uniform(-12, -1))), stream)
