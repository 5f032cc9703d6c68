"""IEMOCAP in miniature: ten actors whose emotions are rate, pitch and loudness of the voice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from preprocessing.miniature.sounds import (
    SAMPLE_RATE,
    Samples,
    random_stream,
    scaled_to_rms,
)
from preprocessing.miniature.speech import Speaker, Voice, draw_sentence, speak

CORPUS = "iemocap"
ACTORS = {"F": ("f1", "f2", "f3", "f4", "f5"), "M": ("m1", "m2", "m3", "m4", "m5")}
DIALOGS = ("F_impro01", "M_script01_1")
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


@dataclass(frozen=True)
class Emotion:
    """How an emotion sounds: rate (factor), pitch (steps), pitch range (0 to 99), loudness (dB)."""

    rate: float
    pitch: int
    pitch_range: int
    loudness: float


EMOTIONS = {
    "neu": Emotion(1.0, 0, 40, 0),
    "ang": Emotion(1.2, 8, 65, 6),
    "hap": Emotion(1.1, 16, 85, 2),
    "sad": Emotion(0.8, -8, 15, -6),
    "exc": Emotion(1.2, 18, 90, 4),
    "fru": Emotion(1.05, 4, 50, 3),  # the scripts leave it out
}


def make_iemocap(seed: int, utterances_per_emotion: int) -> Iterator[tuple[str, Samples | str]]:
    """Make `Session<1-5>/sentences/wav/<dialog>/<utterance>.wav` and the emotions of each dialog.

    Both actors of a session speak in each of its dialogs. Their first turns there are longer than
    the others, so that several examples are cut from them.
    """
    for session in range(1, 6):
        actors = {letter: _cast(variants[session - 1], seed) for letter, variants in ACTORS.items()}
        for index, ending in enumerate(DIALOGS):
            dialog = f"Ses{session:02}{ending}"
            labels = [
                emotion
                for repetition in range(utterances_per_emotion)
                for position, emotion in enumerate(EMOTIONS)
                if (position + repetition) % len(DIALOGS) == index
            ]
            lines = [HEADER]
            clock = 2.0
            for number, label in enumerate(labels):
                for letter, actor in actors.items():
                    turn = f"{dialog}_{letter}{number:03}"
                    stream = random_stream(seed, CORPUS, turn)
                    samples = _act(actor, EMOTIONS[label], stream, 1 if number else 4)
                    yield f"Session{session}/sentences/wav/{dialog}/{turn}.wav", samples
                    end = clock + len(samples) / SAMPLE_RATE
                    times = f"[{clock:.4f} - {end:.4f}]"
                    lines.append(f"{times}\t{turn}\t{label}\t[3.0000, 3.0000, 3.0000]\n")
                    lines.append(f"C-E1:\t{label};\t()\n\n")
                    clock = end + 0.5
            yield f"Session{session}/dialog/EmoEvaluation/{dialog}.txt", "".join(lines)


def _cast(variant: str, seed: int) -> Speaker:
    stream = random_stream(seed, CORPUS, variant)
    rate, pitch = int(stream.integers(155, 180)), int(stream.integers(38, 56))
    return Speaker(Voice(variant, rate, pitch), floor=float(stream.uniform(-66, -58)))


def _act(
    actor: Speaker, emotion: Emotion, stream: np.random.Generator, num_sentences: int
) -> Samples:
    """Say sentences with an emotion, never twice in the same way."""
    voice = Voice(
        actor.voice.variant,
        rate=round(actor.voice.rate * emotion.rate * stream.uniform(0.9, 1.1)),
        pitch=actor.voice.pitch + emotion.pitch + int(stream.integers(-7, 8)),
        pitch_range=emotion.pitch_range + int(stream.integers(-12, 13)),
    )
    text = " ".join(draw_sentence(stream) for _ in range(num_sentences))
    spoken = speak(text, voice, seed=int(stream.integers(2**31)))
    level = -26 + emotion.loudness + stream.uniform(-3, 3)
    return actor.record(scaled_to_rms(spoken, level), stream)
