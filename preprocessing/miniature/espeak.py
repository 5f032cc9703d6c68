"""Speech from eSpeak NG through ctypes: text and a voice in, 16 kHz samples and word times out.

The library keeps hidden state between utterances (pitch flutter, gain control, random numbers) that
seeding alone does not reset, so each utterance runs in a freshly loaded copy of it.
"""

import ctypes
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import UserError

SAMPLE_RATE = 16000  # Hz, what every corpus is written in
LIBRARY_SAMPLE_RATE = 22050  # Hz, what eSpeak NG synthesizes
ENGLISH = "gmw/en"  # looked up in 0.2 ms; names with capital letters (en-US) take 4 ms

# Constants and structures of espeak-ng/speak_lib.h, version 1.52.
_OUTPUT_SYNCHRONOUS = 2
_OPTION_PHONEME_EVENTS = 0x0001
_OPTION_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_TEXT_IS_UTF8 = 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_EVENT_LIST_END = 0
_EVENT_WORD = 1
_EVENT_END = 5
_EVENT_PHONEME = 7
# eSpeak NG copies the path of its data into 160 bytes and fails if it is longer.
_LONGEST_DATA_PATH = 150

# The library's state is global: two utterances at once would abort the process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Voice:
    """How something is said.

    Attributes:
        variant: one of `voice_variants()`.
        rate: words/min, 80 to 450.
        pitch: 0 to 99 around the variant's own, 50.
        pitch_range: 0 (monotonous) to 99 (lively); 50 is the variant's own.
        volume: 0 to 200; 100 is the variant's own. Loud variants clip above it.
        accent: language file below the library's `lang` folder.
    """

    variant: str
    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 100
    accent: str = ENGLISH

    def __post_init__(self) -> None:
        """The library would clip these without a word.

        Raises:
            ValueError: a number is out of range.
        """
        limits = {"rate": (80, 450), "pitch": (0, 99), "pitch_range": (0, 99), "volume": (0, 200)}
        for name, (lowest, highest) in limits.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} must be {lowest} to {highest}, is {value}")


@dataclass(frozen=True)
class Word:
    """A word of an utterance and when it was said, in s.

    The library says some function words as one ("in the", "of a"); they are one `Word` here.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """An utterance: float32 samples in [-1, 1] at 16 kHz, and its words in order."""

    samples: NDArray[np.float32]
    words: tuple[Word, ...]


class _VoiceDescription(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("phoneme", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Recording:
    """Collects what the library hands to its callback."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.int16]] = []
        self.events: list[tuple[int, int, int, bytes]] = []
        # Kept here because ctypes would free a callback that only the library refers to.
        self.callback = _Callback(self._receive)

    def _receive(
        self,
        block: "ctypes._Pointer[ctypes.c_short]",
        length: int,
        events: "ctypes._Pointer[_Event]",
    ) -> int:
        if block and length > 0:
            self.blocks.append(np.ctypeslib.as_array(block, (length,)).copy())
        index = 0
        while (event := events[index]).type != _EVENT_LIST_END:
            self.events.append((event.type, event.text_position, event.sample, event.phoneme))
            index += 1
        return 0

    def words(self, text: str) -> tuple[Word, ...]:
        """The words between the library's word events; a word ends at the next or at a pause."""
        starts: list[tuple[int, int]] = []
        ends: list[int] = []
        for kind, position, sample, phoneme in self.events:
            is_pause = kind == _EVENT_PHONEME and phoneme.startswith(b"_")
            if (kind in (_EVENT_WORD, _EVENT_END) or is_pause) and len(ends) < len(starts):
                ends.append(sample)
            if kind == _EVENT_WORD:
                starts.append((position - 1, sample))
        if len(ends) < len(starts):
            ends.append(sum(len(block) for block in self.blocks))
        positions = [position for position, _ in starts] + [len(text)]
        return tuple(
            Word(
                re.sub(r"^\W+|\W+$", "", text[position:next_position]),
                start / LIBRARY_SAMPLE_RATE,
                end / LIBRARY_SAMPLE_RATE,
            )
            for (position, start), next_position, end in zip(
                starts, positions[1:], ends, strict=True
            )
            if end > start
        )

    def samples(self) -> NDArray[np.float32]:
        """What was said, at 16 kHz."""
        import soxr

        if not self.blocks:
            return np.zeros(0, dtype=np.float32)
        original = np.concatenate(self.blocks).astype(np.float32) / 32768
        resampled = soxr.resample(original, LIBRARY_SAMPLE_RATE, SAMPLE_RATE)
        return np.asarray(np.clip(resampled, -1, 1), dtype=np.float32)


@contextmanager
def _data_path() -> Iterator[Path]:
    """The library's data folder; through a short symbolic link if its path is too long for it."""
    import espeakng_loader

    path = Path(espeakng_loader.get_data_path())
    if len(os.fsencode(path)) <= _LONGEST_DATA_PATH:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="espeak") as folder:
        link = Path(folder) / "data"
        link.symlink_to(path)
        yield link


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library, newly loaded and initialised; unloaded again at the end."""
    import _ctypes

    import espeakng_loader

    with _ONE_AT_A_TIME, _data_path() as data_path:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            options = _OPTION_DONT_EXIT | _OPTION_PHONEME_EVENTS
            rate = library.espeak_Initialize(
                _OUTPUT_SYNCHRONOUS, 0, os.fsencode(data_path), options
            )
            if rate != LIBRARY_SAMPLE_RATE:
                raise UserError(
                    f"{data_path}: eSpeak NG cannot read its data; run: "
                    "pip install --force-reinstall espeakng-loader"
                )
            yield library
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)


@cache
def voice_variants() -> tuple[str, ...]:
    """The names of all voice variants that the library has, sorted."""
    with _fresh_library() as library:
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceDescription))
        wanted = _VoiceDescription(languages=b"variant")
        listed = library.espeak_ListVoices(ctypes.byref(wanted))
        identifiers: list[str] = []
        while listed[len(identifiers)]:
            identifiers.append(listed[len(identifiers)].contents.identifier.decode())
    return tuple(sorted(identifier.removeprefix("!v/") for identifier in identifiers))


def speak(text: str, voice: Voice, seed: int = 0) -> Speech:
    """Say a text.

    The same arguments give the same samples, bit for bit, whatever was said before. Numbers should
    be spelled out: the library says each digit group as words of its own.

    Args:
        text: English text; punctuation makes pauses and intonation.
        voice: who says it, and how.
        seed: of the noise in breathy and whispering voices.

    Raises:
        ValueError: the variant or the accent is unknown (the library itself would silently take
            its default voice).
        UserError: the library's data cannot be read.
    """
    if voice.variant not in voice_variants():
        raise ValueError(f"no such voice variant: {voice.variant}")
    recording = _Recording()
    with _fresh_library() as library:
        library.espeak_SetSynthCallback(recording.callback)
        if library.espeak_SetVoiceByName(f"{voice.accent}+{voice.variant}".encode()) != 0:
            raise ValueError(f"no such accent: {voice.accent}")
        for name, number in _PARAMETERS.items():
            library.espeak_SetParameter(number, getattr(voice, name), 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        library.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, _TEXT_IS_UTF8, None, None)
    return Speech(recording.samples(), recording.words(text))
