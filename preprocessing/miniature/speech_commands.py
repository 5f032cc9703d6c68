"""Google Speech Commands in miniature, spoken by distinct voices.

Of v0.01 the digits; of v0.02 all 35 words with the official lists and test set.
"""

from collections.abc import Iterator

import numpy as np

from preprocessing.miniature.sounds import (
    SAMPLE_RATE,
    Samples,
    coloured_noise,
    gain,
    random_stream,
    scaled_to_peak,
    scaled_to_rms,
)
from preprocessing.miniature.speech import Speaker, draw_speakers

CORPUS = "gsc"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CORPUS_V2 = "gsc_v2"
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS_V2 = (
    *("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow"),
    *("backward", "forward", "follow", "learn", "visual"),
)
NOISE_SECONDS = 20
TEST_SET = "speech_commands_test_set_v0.02"


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
            yield name, _word_clip(speaker, word, random_stream(seed, CORPUS, name))


def make_speech_commands_v2(seed: int, training_voices: int) -> Iterator[tuple[str, Samples | str]]:
    """Make 35 words by every voice, `_background_noise_`, both lists, and the official test set.

    One more voice validates, and one is tested: the test set has all its commands, and a tenth as
    many of its other words and of stretches of noise, rounded up.
    """
    speakers = draw_speakers(training_voices + 2, seed, CORPUS_V2)
    validating, tested = speakers[-2:]
    spoken: dict[str, Samples] = {}
    for word in (*COMMANDS, *WORDS, *OTHER_WORDS_V2):
        for speaker in speakers:
            name = f"{word}/{speaker.hash}_nohash_0.wav"
            spoken[name] = _word_clip(speaker, word, random_stream(seed, CORPUS_V2, name))
            yield name, spoken[name]
    stream = random_stream(seed, CORPUS_V2, "noise")
    noise = scaled_to_rms(coloured_noise(stream, NOISE_SECONDS * SAMPLE_RATE, 1.0), -30)
    yield "_background_noise_/pink_noise.wav", noise
    for speaker, file in ((validating, "validation_list.txt"), (tested, "testing_list.txt")):
        yield file, "".join(f"{name}\n" for name in spoken if speaker.hash in name)
    for word in COMMANDS:
        name = f"{word}/{tested.hash}_nohash_0.wav"
        yield f"{TEST_SET}/{name}", spoken[name]
    unknown = f"marvin/{tested.hash}_nohash_0.wav"
    yield f"{TEST_SET}/_unknown_/{unknown.replace('/', '_')}", spoken[unknown]
    yield f"{TEST_SET}/_silence_/0.wav", noise[-SAMPLE_RATE:] / 2


def _word_clip(speaker: Speaker, word: str, stream: np.random.Generator) -> Samples:
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
