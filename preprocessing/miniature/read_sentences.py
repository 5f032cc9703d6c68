"""Read sentences in the layout of LibriSpeech as SpeechVGG prepares it: when each word is said."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from preprocessing.miniature.audio import (
    Samples,
    decibels_to_gain,
    random_stream,
    scaled_to_peak,
    write_clips,
)
from preprocessing.miniature.espeak import SAMPLE_RATE, Word
from preprocessing.miniature.sound_design import coloured
from preprocessing.miniature.speakers import Speaker, draw_speakers

CORPUS = "librispeech"
# eSpeak NG says each of these as one word, whatever stands around it.
NOUNS = (
    "river", "father", "winter", "garden", "horse", "letter", "captain", "window", "music",
    "village", "morning", "doctor", "mountain", "soldier", "island", "table", "money", "flower",
    "kitchen", "sister", "forest", "candle", "battle", "picture", "teacher", "summer", "bottle",
    "paper", "castle", "pocket", "army", "church", "dinner", "finger", "hammer", "lion",
    "market", "number", "orange", "people",
)  # fmt: skip
_SENTENCES = (
    "the {} and the {} were near the {}, but nobody saw the {} or the {}.",
    "a {} stood beside the {}, and the {} had no {} without a {}.",
    "when the {} was over, the {} took the {} to the {} behind the {}.",
    "one {} was older than the {}, as the {} said about the {} and the {}.",
    "that {} belonged to her {}; he left his {} with a {} under the {}.",
)
_NOUNS_PER_SENTENCE = 5
FEWEST_WORDS = _NOUNS_PER_SENTENCE


@dataclass(frozen=True)
class _Set:
    """A set of the real corpus: how many read it, and how much less they read than in training."""

    name: str
    num_speakers: int
    part: float


_SETS = (
    _Set("train-clean-100", 12, 1.0),
    _Set("dev-clean", 4, 0.25),
    _Set("test-clean", 4, 0.25),
)
FEWEST_REPETITIONS = 3
_PEAKS = (-12.0, -3.0)  # dBFS
_COLOUR = 2.0  # dB, how far an octave's level strays from one chapter to the next
# Voices without a pitch: what they say is hardly to be understood.
_WHISPERS = ("whisper", "whisperf")


@dataclass(frozen=True)
class Utterance:
    """A sentence to be read.

    Attributes:
        name: as in 103-1240-0007: speaker, chapter, number.
        speaker: who reads it.
        text: lower case, with punctuation.
    """

    name: str
    speaker: Speaker
    text: str

    @property
    def folder(self) -> str:
        """The chapter's folder in a set's."""
        speaker, chapter, _ = self.name.split("-")
        return f"{speaker}/{chapter}"


def make_librispeech(folder: Path, repetitions_per_word: int, num_words: int, seed: int) -> int:
    """Write `split/<set>/<speaker>/<chapter>/<utterance>.flac` and `word_labels`.

    The sets have no speaker in common; each has each word several times. Word labels hold where in
    its utterance each word is said, as eSpeak NG knows it. The same arguments give the same files,
    bit for bit.

    Args:
        folder: takes the two folders; made if need be.
        repetitions_per_word: how often training speakers say each word, rounded up to whole
            sentences. The others say it a quarter as often, but at least 3 times.
        num_words: words with a label, 5 to `len(NOUNS)`.
        seed: of speakers, sentences and how each is read.

    Returns:
        How many audio files were written.

    Raises:
        FileExistsError: a file is there already.
        ValueError: there are not that many words.
    """
    if not FEWEST_WORDS <= num_words <= len(NOUNS):
        raise ValueError(f"num_words must be {FEWEST_WORDS} to {len(NOUNS)}, is {num_words}")
    vocabulary = NOUNS[:num_words]
    num_written = 0
    frequencies: Counter[str] = Counter()
    for part, utterances in _all_utterances(vocabulary, repetitions_per_word, seed).items():
        spoken: list[tuple[str, Word]] = []
        clips = _clips(part, utterances, spoken, seed)
        num_written += write_clips(folder, clips, len(utterances), part)
        _write_transcripts(folder / "split" / part, utterances)
        labelled = [(name, word) for name, word in spoken if word.text.lower() in vocabulary]
        _write_word_labels(folder / "word_labels" / f"{part}-selected-{num_words}.txt", labelled)
        frequencies.update(word.text.lower() for _, word in labelled)
    words = [word for word, _ in frequencies.most_common()]
    path = folder / "word_labels" / f"{num_words}-mostfreq"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return num_written


def _all_utterances(
    vocabulary: tuple[str, ...], repetitions_per_word: int, seed: int
) -> dict[str, list[Utterance]]:
    """What is read in each set; a speaker reads one chapter."""
    num_speakers = sum(chosen.num_speakers for chosen in _SETS)
    stream = random_stream(seed, CORPUS, "numbers")
    speaker_numbers = stream.choice(np.arange(100, 9000), num_speakers, replace=False)
    chapter_numbers = stream.choice(np.arange(100_000, 200_000), num_speakers, replace=False)
    readers = zip(_readers(num_speakers, seed), speaker_numbers, chapter_numbers, strict=True)
    utterances: dict[str, list[Utterance]] = {}
    for chosen in _SETS:
        those = list(islice(readers, chosen.num_speakers))
        repetitions = max(round(repetitions_per_word * chosen.part), FEWEST_REPETITIONS)
        texts = _sentences(vocabulary, repetitions, random_stream(seed, CORPUS, chosen.name))
        utterances[chosen.name] = []
        for index, text in enumerate(texts):
            speaker, speaker_number, chapter_number = those[index % len(those)]
            name = f"{speaker_number}-{chapter_number}-{index // len(those):04}"
            utterances[chosen.name].append(Utterance(name, speaker, text))
    return utterances


def _readers(num_speakers: int, seed: int) -> list[Speaker]:
    speakers = draw_speakers(num_speakers + len(_WHISPERS), seed, CORPUS)
    voiced = [speaker for speaker in speakers if speaker.voice.variant not in _WHISPERS]
    return voiced[:num_speakers]


def _sentences(
    vocabulary: tuple[str, ...], repetitions: int, stream: np.random.Generator
) -> list[str]:
    """Sentences in which each word occurs at least so many times."""
    num_sentences = -(-len(vocabulary) * repetitions // _NOUNS_PER_SENTENCE)
    deck: list[str] = []
    while len(deck) < num_sentences * _NOUNS_PER_SENTENCE:
        deck += [str(word) for word in stream.permutation(vocabulary)]
    return [
        str(stream.choice(_SENTENCES)).format(
            *deck[index * _NOUNS_PER_SENTENCE : (index + 1) * _NOUNS_PER_SENTENCE]
        )
        for index in range(num_sentences)
    ]


def _clips(
    part: str, utterances: list[Utterance], spoken: list[tuple[str, Word]], seed: int
) -> Iterator[tuple[str, Samples]]:
    """All utterances of a set; `spoken` takes their words."""
    for utterance in utterances:
        samples, words = _read(utterance, seed)
        spoken += [(utterance.name, word) for word in words]
        yield f"split/{part}/{utterance.folder}/{utterance.name}.flac", samples


def _read(utterance: Utterance, seed: int) -> tuple[Samples, list[Word]]:
    """An utterance with a short silence at both ends, and its words."""
    stream = random_stream(seed, CORPUS, utterance.name)
    speech = utterance.speaker.say(utterance.text, stream)
    before, after = (round(stream.uniform(0.1, 0.5) * SAMPLE_RATE) for _ in range(2))
    samples = np.pad(speech.samples.astype(np.float64), (before, after))
    chapter = random_stream(seed, CORPUS, utterance.folder)
    samples = coloured(chapter, samples, depth=_COLOUR)
    samples = scaled_to_peak(samples, decibels_to_gain(stream.uniform(*_PEAKS)))
    delay = before / SAMPLE_RATE
    words = [Word(word.text, word.start + delay, word.end + delay) for word in speech.words]
    return utterance.speaker.record(samples, stream), words


def _write_transcripts(folder: Path, utterances: list[Utterance]) -> None:
    """Write each chapter's text beside its audio, as the real corpus has it."""
    chapters: dict[Path, list[str]] = {}
    for utterance in utterances:
        speaker, chapter, _ = utterance.name.split("-")
        path = folder / utterance.folder / f"{speaker}-{chapter}.trans.txt"
        text = re.sub(r"[^A-Z ]", "", utterance.text.upper())
        chapters.setdefault(path, []).append(f"{utterance.name} {text}\n")
    for path, lines in chapters.items():
        path.write_text("".join(lines), encoding="utf-8")


def _write_word_labels(path: Path, labelled: list[tuple[str, Word]]) -> None:
    """Write one word occurrence a line: utterance, channel, start (s), duration (s), word, 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            # The labels are in capitals and the list of words is not, as SpeechVGG has them.
            f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text.upper()} 1.00\n"
            for name, word in labelled
        ),
        encoding="utf-8",
    )
