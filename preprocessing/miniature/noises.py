"""Noisy-speech material in the layout of MS-SNSD: spoken sentences and eleven kinds of noise.

Each kind of noise is synthesized from what makes its sound; no two files of a kind share their
parameters.
"""

from collections.abc import Callable, Iterator
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
from preprocessing.miniature.sentences import draw_announcement, draw_sentence
from preprocessing.miniature.sound_design import (
    burst,
    coloured_noise,
    decay,
    event_times,
    filtered,
    harmonics,
    phase_of,
    placed,
    reverberated,
    unit_rms,
    wander,
)
from preprocessing.miniature.speakers import Speaker, draw_speakers, trimmed

CORPUS = "noisyspeech"
NOISE_FOLDER = "noise_train"
SPEECH_FOLDER = "clean_train"
NUM_SPEAKERS = 40
_NOISE_LEVELS = (-30.0, -22.0)  # dBFS RMS
_SPEECH_PEAKS = (-12.0, -1.0)  # dBFS
_ROOM_LEVEL = -35.0  # dB, what is heard between the events of a noise, relative to the noise


def make_ms_snsd(
    folder: Path,
    num_sentences: int,
    files_per_noise: int,
    seed: int,
    noise_seconds: float = 8.0,
) -> int:
    """Write `clean_train/clnsp<n>.wav` and `noise_train/<Type>_<n>.wav`.

    Besides the eleven types there is one file each of two that the real corpus has too and that
    the scripts leave out. The same arguments give the same files, bit for bit.

    Args:
        folder: takes the two folders; made if need be.
        num_sentences: clean files, about 2 to 4 s each.
        files_per_noise: files of each of the eleven types.
        seed: of voices, sentences, and all that varies between noises of a type.
        noise_seconds: length of each noise file in s.

    Returns:
        How many files were written.

    Raises:
        FileExistsError: a file is there already.
    """
    num_samples = round(noise_seconds * SAMPLE_RATE)
    sentences = _clean_files(num_sentences, seed)
    num_written = write_clips(folder, sentences, num_sentences, "clean speech")
    counts = dict.fromkeys(NOISES, files_per_noise) | dict.fromkeys(LEFT_OUT_NOISES, 1)
    noises = _noise_files(counts, num_samples, seed)
    return num_written + write_clips(folder, noises, sum(counts.values()), "noises")


def synthesize_noise(kind: str, number: int, num_samples: int, seed: int) -> Samples:
    """One noise of a kind at 16 kHz; another number gives another noise of that kind."""
    stream = random_stream(seed, CORPUS, kind, number)
    synthesize = (NOISES | LEFT_OUT_NOISES)[kind]
    noise = unit_rms(synthesize(stream, num_samples))
    room = coloured_noise(stream, num_samples, 1.0) * decibels_to_gain(_ROOM_LEVEL)
    return scaled_to_rms(noise + room, stream.uniform(*_NOISE_LEVELS))


def _noise_files(
    counts: dict[str, int], num_samples: int, seed: int
) -> Iterator[tuple[str, Samples]]:
    for kind, count in counts.items():
        for number in range(1, count + 1):
            noise = synthesize_noise(kind, number, num_samples, seed)
            yield f"{NOISE_FOLDER}/{kind}_{number}.wav", noise


def _clean_files(num_sentences: int, seed: int) -> Iterator[tuple[str, Samples]]:
    speakers = draw_speakers(NUM_SPEAKERS, seed, CORPUS)
    for number in range(1, num_sentences + 1):
        stream = random_stream(seed, CORPUS, SPEECH_FOLDER, number)
        speaker = speakers[number % len(speakers)]
        spoken = _spoken(speaker, draw_sentence(stream), stream)
        spoken = scaled_to_peak(spoken, decibels_to_gain(stream.uniform(*_SPEECH_PEAKS)))
        yield f"{SPEECH_FOLDER}/clnsp{number}.wav", speaker.record(spoken, stream)


def _spoken(speaker: Speaker, text: str, stream: np.random.Generator) -> Samples:
    return unit_rms(trimmed(speaker.say(text, stream).samples))


def _draw_speakers(stream: np.random.Generator, count: int) -> list[Speaker]:
    return draw_speakers(count, int(stream.integers(2**31)), CORPUS)


def _talk(stream: np.random.Generator, speaker: Speaker, num_samples: int) -> Samples:
    """One voice that talks on and on, starting somewhere in its first sentence."""
    skipped = int(stream.integers(SAMPLE_RATE))
    parts: list[Samples] = []
    while sum(len(part) for part in parts) < num_samples + skipped:
        parts.append(_spoken(speaker, draw_sentence(stream), stream))
        parts.append(np.zeros(int(stream.uniform(0.05, 0.3) * SAMPLE_RATE)))
    return np.concatenate(parts)[skipped : skipped + num_samples]


def _steady(num_samples: int, frequency: float) -> Samples:
    return np.full(num_samples, frequency)


def _air_conditioner(stream: np.random.Generator, num_samples: int) -> Samples:
    """Rushing air, dull and even, over the hum of mains and fan blades."""
    air = filtered(coloured_noise(stream, num_samples, 1.6), low=40, high=stream.uniform(900, 2000))
    hiss = filtered(coloured_noise(stream, num_samples, 0), low=2000, high=6000)
    mains = stream.choice((100.0, 120.0))
    hum = harmonics(phase_of(_steady(num_samples, mains)), (1, 0.5, 0.25, 0.1))
    blades = stream.uniform(140, 260) * wander(stream, num_samples, 0.5, 0.01)
    fan = harmonics(phase_of(blades), (1, 0.4))
    air *= wander(stream, num_samples, rate=1.0, depth=0.15)
    return (
        unit_rms(air)
        + unit_rms(hiss) * decibels_to_gain(stream.uniform(-26, -18))
        + unit_rms(hum) * decibels_to_gain(stream.uniform(-6, 0))
        + unit_rms(fan) * decibels_to_gain(stream.uniform(-12, -6))
    )


def _airport_announcements(stream: np.random.Generator, num_samples: int) -> Samples:
    """A gong and a loudspeaker voice in a large hall, over a distant crowd."""
    (speaker,) = _draw_speakers(stream, 1)
    parts: list[Samples] = []
    while sum(len(part) for part in parts) < num_samples:
        parts.append(_gong(stream))
        notice = _spoken(speaker, draw_announcement(stream), stream)
        parts.append(filtered(notice, low=400, high=3200))
    announced = unit_rms(np.concatenate(parts)[:num_samples])
    hall = reverberated(stream, announced, seconds=stream.uniform(1.5, 2.5), wet=1.5)
    crowd = filtered(coloured_noise(stream, num_samples, 1.0), low=150, high=1500)
    crowd *= wander(stream, num_samples, rate=4.0, depth=0.3)
    return unit_rms(hall) + unit_rms(crowd) * decibels_to_gain(stream.uniform(-14, -9))


def _gong(stream: np.random.Generator) -> Samples:
    """Two or three falling notes."""
    num_samples = round(0.35 * SAMPLE_RATE)
    first = stream.uniform(520, 720)
    notes = [
        harmonics(phase_of(_steady(num_samples, first * ratio)), (1, 0.2, 0.1))
        * decay(num_samples, 0.9)
        for ratio in (1.0, 0.8, 0.667)[: stream.integers(2, 4)]
    ]
    return np.concatenate(notes)


def _babble(stream: np.random.Generator, num_samples: int) -> Samples:
    """Many people talking at once in one room."""
    speakers = _draw_speakers(stream, int(stream.integers(9, 15)))
    voices = np.zeros(num_samples)
    for speaker in speakers:
        distance = decibels_to_gain(stream.uniform(-6, 0))
        voices += unit_rms(_talk(stream, speaker, num_samples)) * distance
    return reverberated(stream, voices, seconds=stream.uniform(0.3, 0.6), wet=0.5)


def _copy_machine(stream: np.random.Generator, num_samples: int) -> Samples:
    """A cycle of clack, rising scanner whine and paper swish, over a small fan."""
    cycles_per_second = stream.uniform(1.1, 1.8)
    cycle = round(SAMPLE_RATE / cycles_per_second)
    starts = range(int(stream.integers(cycle)) - cycle, num_samples, cycle)
    lowest = stream.uniform(350, 500)
    sweep = np.linspace(lowest, lowest * stream.uniform(1.6, 2.2), round(0.7 * cycle))
    whine = harmonics(phase_of(sweep), (1, 0.6, 0.4, 0.3, 0.2))
    whine *= np.sin(np.pi * np.arange(len(whine)) / len(whine)) ** 0.5
    events: list[tuple[int, Samples]] = []
    for start in starts:
        swish = filtered(stream.standard_normal(round(0.3 * cycle)), low=1800, high=5500)
        swish *= np.hanning(len(swish))
        events.append((start, 6 * burst(stream, 0.12, 500, 2500)))
        events.append((start, whine))
        events.append((start + round(0.65 * cycle), 2.5 * swish))
        events.append((start + round(0.9 * cycle), 4 * burst(stream, 0.06, 1000, 4000)))
    mechanism = placed([event for event in events if event[0] >= 0], num_samples)
    fan = filtered(coloured_noise(stream, num_samples, 1.0), low=100, high=3000)
    return unit_rms(mechanism) + unit_rms(fan) * decibels_to_gain(stream.uniform(-18, -12))


def _munching(stream: np.random.Generator, num_samples: int) -> Samples:
    """Bites: each a dense crackle of tiny breaks that thins out, over a dull jaw."""
    crispness = stream.uniform(2500, 5000)
    events: list[tuple[int, Samples]] = []
    for start in event_times(stream, num_samples, stream.uniform(1.8, 3.0), jitter=0.3):
        bite_seconds = stream.uniform(0.1, 0.22)
        for _ in range(int(stream.integers(20, 50))):
            delay = min(stream.exponential(bite_seconds / 2), bite_seconds)
            crack = burst(stream, stream.uniform(0.004, 0.015), 900, crispness)
            events.append((start + int(delay * SAMPLE_RATE), stream.uniform(0.2, 1) * crack))
        events.append((start, 0.8 * burst(stream, 0.15, 90, 300)))
    return placed(events, num_samples)


def _neighbor_speaking(stream: np.random.Generator, num_samples: int) -> Samples:
    """One voice through a wall: only its low frequencies, and the neighbor's room."""
    (speaker,) = _draw_speakers(stream, 1)
    voice = _talk(stream, speaker, num_samples)
    room = reverberated(stream, voice, seconds=stream.uniform(0.3, 0.6), wet=1.0)
    return filtered(room, low=80, high=stream.uniform(450, 750), order=4)


def _shutting_door(stream: np.random.Generator, num_samples: int) -> Samples:
    """Bangs: a latch, a dull impact, and a panel that goes on swinging, in a corridor."""
    panel = stream.uniform(55, 110)
    events: list[tuple[int, Samples]] = []
    for start in event_times(stream, num_samples, stream.uniform(1.2, 1.7), jitter=0.15):
        length = round(stream.uniform(0.25, 0.45) * SAMPLE_RATE)
        falling = panel * np.linspace(1.4, 0.9, length)
        boom = harmonics(phase_of(falling), (1, 0.5, 0.3, 0.2)) * decay(length, 0.4)
        strength = stream.uniform(0.6, 1)
        latch = start + int(stream.uniform(0.04, 0.09) * SAMPLE_RATE)
        events.append((start, strength * boom))
        events.append((start, 1.2 * strength * burst(stream, 0.12, 100, 1200)))
        events.append((latch, 0.35 * burst(stream, 0.03, 1500, 4000)))
    bangs = placed(events, num_samples)
    return reverberated(stream, bangs, seconds=stream.uniform(0.5, 0.9), wet=0.3)


def _squeaky_chair(stream: np.random.Generator, num_samples: int) -> Samples:
    """Chirps of wood and metal that stick and slip."""
    pitch = stream.uniform(500, 1100)
    events: list[tuple[int, Samples]] = []
    for start in event_times(stream, num_samples, stream.uniform(1.6, 2.6), jitter=0.35):
        length = round(stream.uniform(0.15, 0.4) * SAMPLE_RATE)
        glide = np.linspace(1, 1 + stream.uniform(-0.35, 0.45), length)
        frequency = pitch * stream.uniform(0.85, 1.15) * glide * wander(stream, length, 60, 0.05)
        squeak = harmonics(phase_of(frequency), (1, 0.7, 0.5, 0.25))
        slips = 0.6 + 0.4 * np.sin(phase_of(_steady(length, stream.uniform(25, 60))))
        events.append((start, squeak * slips * np.hanning(length)))
        events.append((start + length // 2, 0.3 * burst(stream, 0.05, 300, 1200)))
    return reverberated(stream, placed(events, num_samples), seconds=0.3, wet=0.2)


def _typing(stream: np.random.Generator, num_samples: int) -> Samples:
    """Key presses and their softer releases; now and then the hollow space bar."""
    brightness = stream.uniform(2000, 3500)
    events: list[tuple[int, Samples]] = []
    for press in event_times(stream, num_samples, stream.uniform(4.5, 8), jitter=0.5):
        is_space = stream.random() < 0.15
        strength = stream.uniform(0.5, 1)
        release = press + int(stream.uniform(0.06, 0.11) * SAMPLE_RATE)
        lowest = 0.4 * brightness if is_space else brightness
        events.append((press, strength * burst(stream, 0.015, lowest, 7000)))
        events.append((press, 0.5 * strength * burst(stream, 0.03, 250, 700)))
        events.append((release, 0.4 * strength * burst(stream, 0.01, brightness, 7500)))
    return placed(events, num_samples)


def _vacuum_cleaner(stream: np.random.Generator, num_samples: int) -> Samples:
    """The whine of a fast motor with many harmonics in a roar of bright air."""
    speed = stream.uniform(330, 470) * wander(stream, num_samples, 1.5, 0.015)
    amplitudes = stream.uniform(0.3, 1, 16) * np.arange(1, 17) ** -0.5
    motor = harmonics(phase_of(speed), amplitudes.tolist())
    air = filtered(coloured_noise(stream, num_samples, 0.5), low=300, high=7500)
    nozzle = filtered(coloured_noise(stream, num_samples, 0), stream.uniform(900, 1400), 3000)
    balance = decibels_to_gain(stream.uniform(2, 8))
    return unit_rms(air) + 0.8 * unit_rms(nozzle) + balance * unit_rms(motor)


def _washer_dryer(stream: np.random.Generator, num_samples: int) -> Samples:
    """A low rumble, and laundry that slaps round with the drum."""
    turns = stream.uniform(1.1, 1.7)
    turning = phase_of(turns * wander(stream, num_samples, 1.0, 0.03))
    swing = 0.5 + 0.5 * np.sin(turning + stream.uniform(0, 2 * np.pi))
    rumble = filtered(coloured_noise(stream, num_samples, 1.0), 30, stream.uniform(120, 220))
    motor = harmonics(turning * round(stream.uniform(45, 65) / turns), (1, 0.6, 0.4, 0.2))
    slosh = filtered(coloured_noise(stream, num_samples, 0.8), 250, stream.uniform(900, 1600))
    return (
        unit_rms(rumble * (0.5 + 0.5 * swing))
        + 0.5 * unit_rms(motor)
        + unit_rms(slosh * swing**4) * decibels_to_gain(stream.uniform(-8, -3))
    )


def _car(stream: np.random.Generator, num_samples: int) -> Samples:
    """An engine under load, and tyres."""
    speed = stream.uniform(25, 45) * wander(stream, num_samples, 1.0, 0.08)
    engine = harmonics(phase_of(speed), (0.6, 1, 0.5, 0.7, 0.3, 0.3, 0.2, 0.2))
    tyres = filtered(coloured_noise(stream, num_samples, 1.5), low=50, high=1000)
    return unit_rms(engine) + unit_rms(tyres)


NOISES: dict[str, Callable[[np.random.Generator, int], Samples]] = {
    "AirConditioner": _air_conditioner,
    "AirportAnnouncements": _airport_announcements,
    "Babble": _babble,
    "CopyMachine": _copy_machine,
    "Munching": _munching,
    "NeighborSpeaking": _neighbor_speaking,
    "ShuttingDoor": _shutting_door,
    "SqueakyChair": _squeaky_chair,
    "Typing": _typing,
    "VacuumCleaner": _vacuum_cleaner,
    "WasherDryer": _washer_dryer,
}
# Their names begin like those that the scripts must skip, the second one almost like WasherDryer.
LEFT_OUT_NOISES: dict[str, Callable[[np.random.Generator, int], Samples]] = {
    "Car": _car,
    "Washing": _washer_dryer,
}
