"""The people of the miniature corpora: distinct voices, and how each varies between utterances."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.miniature.audio import decibels_to_gain, random_stream
from preprocessing.miniature.espeak import SAMPLE_RATE, Speech, Voice, speak, voice_variants

# Variants that can hardly be told from another one: the mean and spread of their MFCCs and their
# median pitch differ by less than a seventh of the median difference between two variants.
SOUND_LIKE_ANOTHER = {
    "fast": "the default voice",
    "steph2": "steph",
    "steph3": "steph",
    "klatt5": "klatt4",
    "klatt6": "adam",
    "anikaRobot": "anika",
    "robosoft3": "robosoft2",
    "robosoft5": "robosoft4",
    "miguel": "michel",
    "iven3": "iven2",
    "RicishayMax3": "RicishayMax2",
}
_RATES = (120, 175)  # words/min
_PITCHES = (30, 65)
_FLOORS = (-66.0, -50.0)  # dBFS


@dataclass(frozen=True)
class Speaker:
    """A person with a recording device.

    Attributes:
        hash: eight hexadecimal digits that stand for the voice variant, as in Speech Commands.
        voice: how they usually speak.
        floor: RMS of the recording's own noise in dBFS.
    """

    hash: str
    voice: Voice
    floor: float

    def say(self, text: str, stream: np.random.Generator) -> Speech:
        """Say a text a little faster, higher or livelier than last time.

        The recording's own noise is not added yet: see `record`.
        """
        voice = Voice(
            self.voice.variant,
            rate=self.voice.rate + int(stream.integers(-20, 21)),
            pitch=self.voice.pitch + int(stream.integers(-10, 11)),
            pitch_range=int(stream.integers(30, 80)),
            volume=self.voice.volume,
            accent=self.voice.accent,
        )
        return speak(text, voice, seed=int(stream.integers(2**31)))

    def record(
        self, samples: NDArray[np.float64], stream: np.random.Generator
    ) -> NDArray[np.float64]:
        """Samples with the noise of the speaker's recording device added."""
        noise = stream.standard_normal(len(samples) + 1)
        # Two samples' mean is duller than white noise, like most rooms and microphones.
        dull = (noise[1:] + noise[:-1]) / np.sqrt(2)
        return np.asarray(samples + decibels_to_gain(self.floor) * dull)


def distinct_variants() -> tuple[str, ...]:
    """The names of the voice variants that sound distinct, sorted."""
    return tuple(name for name in voice_variants() if name not in SOUND_LIKE_ANOTHER)


def draw_speakers(num_speakers: int, seed: int, corpus: str) -> list[Speaker]:
    """Different speakers at random; the corpus's name makes other corpora draw others.

    Raises:
        ValueError: there are not that many distinct voices.
    """
    variants = distinct_variants()
    if not 1 <= num_speakers <= len(variants):
        raise ValueError(f"num_speakers must be 1 to {len(variants)}, is {num_speakers}")
    stream = random_stream(seed, corpus, "speakers")
    chosen = stream.permutation(len(variants))[:num_speakers]
    return [
        Speaker(
            hash=hashlib.sha256(variants[index].encode()).hexdigest()[:8],
            voice=Voice(
                variants[index],
                rate=int(stream.integers(*_RATES)),
                pitch=int(stream.integers(*_PITCHES)),
                # Some variants clip at the library's normal volume.
                volume=60,
            ),
            floor=float(stream.uniform(*_FLOORS)),
        )
        for index in chosen
    ]


def trimmed(samples: NDArray[np.float32], margin: float = 0.03) -> NDArray[np.float64]:
    """Samples without the silence at both ends; `margin` s of it stay."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max(initial=0))
    if len(loud) == 0:
        return samples.astype(np.float64)
    kept = round(margin * SAMPLE_RATE)
    return samples[max(loud[0] - kept, 0) : loud[-1] + 1 + kept].astype(np.float64)
