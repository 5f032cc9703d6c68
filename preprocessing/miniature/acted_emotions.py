"""Acted dialogs in the layout of IEMOCAP: ten actors in five sessions, emotions as prosody."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from preprocessing.miniature.audio import (
    Samples,
    decibels_to_gain,
    random_stream,
    scaled_to_rms,
    write_clips,
)
from preprocessing.miniature.espeak import SAMPLE_RATE, Voice, speak
from preprocessing.miniature.sentences import draw_line
from preprocessing.miniature.sound_design import coloured, filtered
from preprocessing.miniature.speakers import Speaker, trimmed

CORPUS = "iemocap"
NUM_SESSIONS = 5
EMOTIONS = ("neu", "ang", "hap", "sad")
# Labels that the real corpus has too and that the scripts leave out.
OTHER_LABELS = ("fru", "xxx", "exc", "sur", "oth", "fea", "dis")
DIALOGS = ("F_impro01", "F_script01_1", "M_impro01", "M_script02_2")
WOMEN = ("belinda", "f1", "f2", "f3", "f4", "f5", "linda")
MEN = ("boris", "m1", "m2", "m3", "m4", "m5", "max")
_LEVEL = -26.0  # dBFS RMS of a neutral utterance
_LEVELS = (-35.0, -16.0)
_COLOUR = 3.0  # dB, how far an octave's level strays with the actor's place
_SECONDS = (1.5, 5.0)
_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"
# What macOS leaves beside a file on a foreign disk; the real corpus is distributed with some.
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(58)


@dataclass(frozen=True)
class Prosody:
    """How an emotion sounds, relative to the actor's neutral voice.

    Attributes:
        rate: factor.
        pitch: steps of eSpeak NG's 0 to 99.
        pitch_range: 0 (monotonous) to 99 (lively).
        loudness: dB.
        effort: dB above 1.5 kHz; a loud voice is a bright one.
    """

    rate: float
    pitch: float
    pitch_range: float
    loudness: float
    effort: float


@dataclass(frozen=True)
class Turn:
    """What an actor says at a stretch.

    Attributes:
        name: of the utterance, as in Ses01F_impro01_M003.
        letter: F or M, who speaks.
        label: of the emotion.
    """

    name: str
    letter: str
    label: str


PROSODIES = {
    "neu": Prosody(1.00, 0, 40, 0.0, 0.0),
    "ang": Prosody(1.12, 8, 65, 6.0, 6.0),
    "hap": Prosody(1.06, 16, 85, 2.5, 2.0),
    "sad": Prosody(0.80, -8, 15, -6.0, -5.0),
    "fru": Prosody(1.05, 4, 50, 3.0, 3.0),
    "xxx": Prosody(1.00, 3, 50, 0.0, 0.0),
    "exc": Prosody(1.15, 18, 90, 5.0, 3.0),
    "sur": Prosody(1.05, 20, 80, 2.0, 1.0),
    "oth": Prosody(0.95, 0, 40, -1.0, 0.0),
    "fea": Prosody(1.15, 15, 60, -2.0, -2.0),
    "dis": Prosody(0.90, -4, 50, 1.0, 2.0),
}
# How far one utterance strays from what is typical: standard deviations.
_STRAY = Prosody(rate=0.1, pitch=7, pitch_range=12, loudness=3, effort=2.5)
# What the evaluators call an emotion, and its valence, activation and dominance (1 to 5).
_EVALUATIONS = {
    "neu": ("Neutral", 3.0, 2.5, 3.0),
    "ang": ("Anger", 2.0, 3.5, 4.0),
    "hap": ("Happiness", 4.0, 3.5, 3.0),
    "sad": ("Sadness", 2.0, 2.0, 2.5),
    "fru": ("Frustration", 2.5, 3.0, 3.0),
    "xxx": ("Other", 3.0, 3.0, 3.0),
    "exc": ("Excited", 4.0, 4.0, 3.5),
    "sur": ("Surprise", 3.0, 3.5, 3.0),
    "oth": ("Other", 3.0, 2.5, 3.0),
    "fea": ("Fear", 2.0, 3.5, 2.0),
    "dis": ("Disgust", 2.0, 3.0, 3.5),
}


def make_iemocap(folder: Path, utterances_per_emotion: int, seed: int) -> int:
    """Write `Session<1-5>/sentences/wav/<dialog>/<utterance>.wav` and the emotions of each dialog.

    Each actor says as many utterances of each of four emotions, and some of other labels; both
    actors of a session speak in each of its four dialogs. The same arguments give the same files,
    bit for bit.

    Args:
        folder: takes the sessions; made if need be.
        utterances_per_emotion: of each actor.
        seed: of actors, sentences and how each is said.

    Returns:
        How many audio files were written.

    Raises:
        FileExistsError: a file is there already.
    """
    actors = _cast(seed)
    dialogs = {
        (session, f"Ses0{session}{name}"): turns
        for session in range(1, NUM_SESSIONS + 1)
        for name, turns in _dialogs_of(session, utterances_per_emotion, seed).items()
    }
    seconds: dict[str, float] = {}
    clips = _clips(dialogs, actors, seconds, seed)
    num_turns = sum(len(turns) for turns in dialogs.values())
    num_written = write_clips(folder, clips, num_turns, "acted emotions")
    for (session, dialog), turns in dialogs.items():
        _write_evaluation(folder / f"Session{session}", dialog, turns, seconds, seed)
    return num_written


def _cast(seed: int) -> dict[tuple[int, str], Speaker]:
    """An actor for each (session, F or M)."""
    cast = {}
    for letter, variants in (("F", WOMEN), ("M", MEN)):
        stream = random_stream(seed, CORPUS, "cast", letter)
        for session, variant in enumerate(stream.permutation(variants)[:NUM_SESSIONS], start=1):
            voice = Voice(
                str(variant),
                rate=int(stream.integers(155, 180)),
                pitch=int(stream.integers(38, 56)),
                # Some variants clip at the library's normal volume.
                volume=60,
            )
            cast[session, letter] = Speaker("", voice, floor=float(stream.uniform(-66, -58)))
    return cast


def _dialogs_of(session: int, utterances_per_emotion: int, seed: int) -> dict[str, list[Turn]]:
    """The turns of a session's dialogs; the actors take turns as long as both have some left."""
    dialogs: dict[str, list[Turn]] = {name: [] for name in DIALOGS}
    labels = {
        letter: _labels_of(random_stream(seed, CORPUS, session, letter), utterances_per_emotion)
        for letter in "FM"
    }
    for index, name in enumerate(DIALOGS):
        lines = [
            (number, letter, label)
            for letter in "FM"
            for number, label in enumerate(labels[letter][index :: len(DIALOGS)])
        ]
        # The one whose motion is captured opens the dialog.
        lines.sort(key=lambda line: (line[0], line[1] != name[0]))
        dialogs[name] = [
            Turn(f"Ses0{session}{name}_{letter}{number:03}", letter, label)
            for number, letter, label in lines
        ]
    return dialogs


def _labels_of(stream: np.random.Generator, utterances_per_emotion: int) -> list[str]:
    """The labels of an actor's utterances in random order; about one in nine is no emotion used."""
    num_others = max(1, round(utterances_per_emotion / 2))
    others = [str(label) for label in stream.choice(OTHER_LABELS, num_others)]
    labels = [*EMOTIONS * utterances_per_emotion, *others]
    return [labels[index] for index in stream.permutation(len(labels))]


def _clips(
    dialogs: dict[tuple[int, str], list[Turn]],
    actors: dict[tuple[int, str], Speaker],
    seconds: dict[str, float],
    seed: int,
) -> Iterator[tuple[str, Samples]]:
    """All utterances; `seconds` takes their lengths."""
    for (session, dialog), turns in dialogs.items():
        for turn in turns:
            stream = random_stream(seed, CORPUS, turn.name)
            samples = _utterance(actors[session, turn.letter], PROSODIES[turn.label], stream)
            seconds[turn.name] = len(samples) / SAMPLE_RATE
            yield f"Session{session}/sentences/wav/{dialog}/{turn.name}.wav", samples


def _utterance(actor: Speaker, prosody: Prosody, stream: np.random.Generator) -> Samples:
    """A line said with an emotion; another line is drawn until one is neither short nor long."""
    strayed = _strayed(prosody, stream)
    voice = replace(
        actor.voice,
        rate=round(actor.voice.rate * strayed.rate),
        pitch=round(np.clip(actor.voice.pitch + strayed.pitch, 0, 99)),
        pitch_range=round(np.clip(strayed.pitch_range, 0, 99)),
    )
    shortest, longest = (round(limit * SAMPLE_RATE) for limit in _SECONDS)
    samples = np.zeros(0)
    while not shortest <= len(samples) <= longest:
        speech = speak(draw_line(stream), voice, seed=int(stream.integers(2**31)))
        samples = trimmed(speech.samples, margin=0.1)
    bright = filtered(samples, low=1500, order=1)
    samples += (decibels_to_gain(strayed.effort) - 1) * bright
    # Actors turn and walk about.
    samples = coloured(stream, samples, depth=_COLOUR)
    level = np.clip(_LEVEL + strayed.loudness, *_LEVELS)
    return actor.record(scaled_to_rms(samples, level), stream)


def _strayed(prosody: Prosody, stream: np.random.Generator) -> Prosody:
    """A prosody as it comes out this time."""
    values = {
        name: getattr(prosody, name) + stream.normal(0, deviation)
        for name, deviation in vars(_STRAY).items()
    }
    return Prosody(**values)


def _write_evaluation(
    session: Path, dialog: str, turns: list[Turn], seconds: dict[str, float], seed: int
) -> None:
    """Write what the evaluators said of a dialog, in the words of the real corpus."""
    stream = random_stream(seed, CORPUS, dialog, "evaluation")
    blocks = [_HEADER]
    clock = stream.uniform(2, 8)
    for turn in turns:
        end = clock + seconds[turn.name]
        blocks.append(f"[{clock:.4f} - {end:.4f}]\t{turn.name}\t{_evaluation(turn, stream)}")
        clock = end + stream.uniform(0.1, 1.5)
    folder = session / "dialog" / "EmoEvaluation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{dialog}.txt").write_text("\n".join(blocks) + "\n", encoding="utf-8")
    (folder / f"._{dialog}.txt").write_bytes(_APPLE_DOUBLE)


def _evaluation(turn: Turn, stream: np.random.Generator) -> str:
    """The rest of the line that names an utterance, and the lines of single evaluators."""
    word, *means = _EVALUATIONS[turn.label]
    ratings = np.clip(np.rint(np.array(means) + stream.normal(0, 0.5, (3, 3))), 1, 5).astype(int)
    averages = ", ".join(f"{average:.4f}" for average in ratings[:2].mean(axis=0))
    categorical = [f"C-{evaluator}:\t{word};\t()" for evaluator in ("E2", "E3", "E4")]
    categorical.append(f"C-{turn.letter}1:\t{word};\t()")
    dimensional = [
        f"A-{evaluator}:\tval {valence}; act {activation}; dom  {dominance};\t()"
        for evaluator, (valence, activation, dominance) in zip(
            ("E3", "E4", f"{turn.letter}1"), ratings, strict=True
        )
    ]
    return "\n".join([f"{turn.label}\t[{averages}]", *categorical, *dimensional, ""])
