"""LibriSpeech in miniature, as prepared for SpeechVGG: words, and when each of them is said."""

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

CORPUS = "librispeech"
WORDS = (
    "river", "father", "winter", "garden", "horse", "letter", "captain", "window", "music",
    "village", "morning", "doctor", "mountain", "soldier", "island", "table", "money", "flower",
    "kitchen", "sister", "forest", "candle", "battle", "picture", "teacher", "summer", "bottle",
    "paper", "castle", "pocket", "army", "church", "dinner", "finger", "hammer", "lion",
    "market", "number", "orange", "people",
)  # fmt: skip
WORDS_PER_UTTERANCE = 5
NUM_READERS = {"train-clean-100": 12, "dev-clean": 4, "test-clean": 4}
CHAPTER = 1000
FEWEST_REPETITIONS = 3  # of a word in each set


def make_librispeech(
    seed: int, repetitions_per_word: int, num_words: int
) -> Iterator[tuple[str, Samples | str]]:
    """Make `split/<set>/<speaker>/<chapter>/<utterance>.flac` and `word_labels`.

    The sets have no reader in common. Those of dev-clean and test-clean say each word a quarter
    as often as those of train-clean-100, but at least 3 times.
    """
    vocabulary = WORDS[:num_words]
    speakers = draw_speakers(sum(NUM_READERS.values()), seed, CORPUS)
    readers = list(enumerate(speakers, start=100))
    for part, num_readers in NUM_READERS.items():
        stream = random_stream(seed, CORPUS, part)
        repetitions = repetitions_per_word // (1 if part == "train-clean-100" else 4)
        repetitions = max(repetitions, FEWEST_REPETITIONS)
        deck = np.concatenate([stream.permutation(vocabulary) for _ in range(repetitions)])
        labels = []
        for number in range(-(-len(deck) // WORDS_PER_UTTERANCE)):
            words = deck[number * WORDS_PER_UTTERANCE :][:WORDS_PER_UTTERANCE]
            reader, speaker = readers[number % num_readers]
            samples, stretches = _read(speaker, words, stream)
            utterance = f"{reader}-{CHAPTER}-{number:04}"
            yield f"split/{part}/{reader}/{CHAPTER}/{utterance}.flac", samples
            labels += [
                # The labels are in capitals and the list of words is not, as SpeechVGG has them.
                f"{utterance} 1 {start:.3f} {seconds:.3f} {word.upper()} 1.00\n"
                for word, (start, seconds) in zip(words, stretches, strict=True)
            ]
        del readers[:num_readers]
        yield f"word_labels/{part}-selected-{num_words}.txt", "".join(labels)
    yield f"word_labels/{num_words}-mostfreq", "\n".join(vocabulary) + "\n"


def _read(
    speaker: Speaker, words: np.ndarray, stream: np.random.Generator
) -> tuple[Samples, list[tuple[float, float]]]:
    """Read words with short pauses; returns samples, and start and duration of each word in s."""
    parts: list[Samples] = []
    stretches = []
    position = 0
    for word in words:
        pause = np.zeros(round(stream.uniform(0.05, 0.3) * SAMPLE_RATE))
        spoken = speaker.say(f"{word},", stream)
        stretches.append(((position + len(pause)) / SAMPLE_RATE, len(spoken) / SAMPLE_RATE))
        parts += [pause, spoken]
        position += len(pause) + len(spoken)
    samples = scaled_to_peak(np.concatenate(parts), gain(stream.uniform(-12, -3)))
    return speaker.record(samples, stream), stretches
