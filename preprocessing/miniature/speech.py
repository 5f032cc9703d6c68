"""Speech of eSpeak NG through ctypes: speakers, and what they say as samples at 16 kHz.

The library keeps hidden state between utterances (pitch flutter, gain control, random numbers) that
seeding alone does not reset, so each utterance runs in a freshly loaded copy of it.
"""

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from config.errors import UserError
from preprocessing.miniature.sounds import SAMPLE_RATE, Samples, gain, random_stream

LIBRARY_SAMPLE_RATE = 22050  # Hz, what eSpeak NG synthesizes
# Variants that can hardly be told from another one by their MFCCs and their pitch.
SOUND_LIKE_ANOTHER = {
    "fast", "steph2", "steph3", "klatt5", "klatt6", "anikaRobot", "robosoft3", "robosoft5",
    "miguel", "iven3", "RicishayMax3",
}  # fmt: skip
# For these the library reads memory that it never set: what was said before changes their sound.
UNSTABLE = {"Reed", "caleb"}

# Constants of espeak-ng/speak_lib.h, version 1.52.
_OUTPUT_SYNCHRONOUS = 2
_OPTION_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_TEXT_IS_UTF8 = 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)

_WHO = (
    "the old farmer", "my neighbor", "a tired nurse", "her younger brother", "the new teacher",
    "every child", "our driver", "the quiet painter", "a tall stranger", "the baker",
)  # fmt: skip
_DOES = (
    "carried", "found", "painted", "sold", "watched", "borrowed", "dropped", "cleaned", "opened",
    "forgot",
)  # fmt: skip
_WHAT = (
    "a wooden box", "the yellow boat", "seven green apples", "that heavy book", "a silver watch",
    "two empty bottles", "the kitchen table", "a pair of gloves", "some warm bread",
    "the broken lamp",
)  # fmt: skip
_WHERE = (
    "behind the station", "near the river", "under the bridge", "on the third floor",
    "before breakfast", "after the storm", "last Thursday", "during the concert",
    "outside the village", "late in the evening",
)  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """How something is said.

    Attributes:
        variant: a file of the library's folder of voice variants.
        rate: words/min, 80 to 450.
        pitch: 0 to 99 around the variant's own, 50.
        pitch_range: 0 (monotonous) to 99 (lively); 50 is the variant's own.
        volume: 0 to 200; some variants clip at the library's own, 100.
    """

    variant: str
    rate: int = 150
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 60


@dataclass(frozen=True)
class Speaker:
    """A person with a recording device.

    Attributes:
        voice: how they usually speak.
        floor: RMS of the recording's own noise in dBFS.
    """

    voice: Voice
    floor: float

    @property
    def hash(self) -> str:
        """Return eight hexadecimal digits that stand for the voice, as in Speech Commands."""
        return hashlib.sha256(self.voice.variant.encode()).hexdigest()[:8]

    def say(self, text: str, stream: np.random.Generator) -> Samples:
        """Say a text a little faster, higher or livelier than last time; see `record`."""
        voice = Voice(
            self.voice.variant,
            rate=self.voice.rate + int(stream.integers(-20, 21)),
            pitch=self.voice.pitch + int(stream.integers(-10, 11)),
            pitch_range=int(stream.integers(30, 80)),
        )
        return speak(text, voice, seed=int(stream.integers(2**31)))

    def record(self, samples: Samples, stream: np.random.Generator) -> Samples:
        """Return samples with the noise of the recording device added."""
        noise = stream.standard_normal(len(samples) + 1)
        # Two samples' mean is duller than white noise, like most rooms and microphones.
        dull = (noise[1:] + noise[:-1]) / np.sqrt(2)
        return np.asarray(samples + gain(self.floor) * dull)


@cache
def distinct_variants() -> tuple[str, ...]:
    """Return the names of the voice variants that sound distinct, sorted."""
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return tuple(sorted({path.name for path in folder.iterdir()} - SOUND_LIKE_ANOTHER - UNSTABLE))


def draw_speakers(num_speakers: int, seed: int, corpus: str) -> list[Speaker]:
    """Draw different speakers, others for each corpus; at most `len(distinct_variants())`."""
    variants = distinct_variants()
    stream = random_stream(seed, corpus, "speakers")
    return [
        Speaker(
            Voice(
                variants[index],
                rate=int(stream.integers(120, 175)),
                pitch=int(stream.integers(30, 65)),
            ),
            floor=float(stream.uniform(-66, -50)),
        )
        for index in stream.permutation(len(variants))[:num_speakers]
    ]


def draw_sentence(stream: np.random.Generator) -> str:
    """Draw a sentence that takes about 2 to 4 s."""
    words = (str(stream.choice(words)) for words in (_WHO, _DOES, _WHAT, _WHERE))
    return " ".join(words) + "."


def speak(text: str, voice: Voice, seed: int) -> Samples:
    """Say an English text; the same arguments give the same samples.

    Args:
        seed: of the noise in breathy and whispering voices.

    Returns:
        What is said in [-1, 1] at 16 kHz, with 0.03 s of the silence at both ends.

    Raises:
        UserError: the library's data cannot be read.
    """
    import soxr

    blocks: list[Samples] = []

    def receive(block: "ctypes._Pointer[ctypes.c_short]", length: int, _events: int) -> int:
        if block and length > 0:
            blocks.append(np.ctypeslib.as_array(block, (length,)).astype(np.float32))
        return 0

    callback = _CALLBACK(receive)  # kept until the end: only the library refers to it
    with _fresh_library() as library:
        library.espeak_SetSynthCallback(callback)
        # Names with capital letters (en-US) take 4 ms to look up, this one 0.2 ms.
        library.espeak_SetVoiceByName(f"gmw/en+{voice.variant}".encode())
        for name, number in _PARAMETERS.items():
            library.espeak_SetParameter(number, getattr(voice, name), 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        library.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, _TEXT_IS_UTF8, None, None)
    original = np.concatenate(blocks) / 32768
    samples = np.clip(soxr.resample(original, LIBRARY_SAMPLE_RATE, SAMPLE_RATE), -1, 1)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    margin = round(0.03 * SAMPLE_RATE)
    return np.asarray(samples[max(loud[0] - margin, 0) : loud[-1] + 1 + margin], dtype=np.float64)


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """Load and initialize the library; unload it at the end."""
    import _ctypes

    import espeakng_loader

    with tempfile.TemporaryDirectory(prefix="espeak") as folder:
        # The library copies the path of its data into 160 bytes and fails if it is longer.
        data = Path(folder) / "data"
        data.symlink_to(espeakng_loader.get_data_path())
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            rate = library.espeak_Initialize(
                _OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), _OPTION_DONT_EXIT
            )
            if rate != LIBRARY_SAMPLE_RATE:
                raise UserError(
                    "eSpeak NG cannot read its data; run: "
                    "pip install --force-reinstall espeakng-loader"
                )
            yield library
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)
