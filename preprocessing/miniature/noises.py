"""MS-SNSD in miniature: spoken sentences, and eleven types of noise made from what they consist of.

No two files of a type share their parameters.
"""

from collections.abc import Callable, Iterator

import numpy as np

from preprocessing.miniature.sounds import (
    SAMPLE_RATE,
    Samples,
    burst,
    coloured_noise,
    decay,
    event_times,
    filtered,
    gain,
    harmonics,
    phase_of,
    placed,
    random_stream,
    reverberated,
    scaled_to_peak,
    scaled_to_rms,
    unit_rms,
    wander,
)
from preprocessing.miniature.speech import Speaker, draw_sentence, draw_speakers

CORPUS = "noisyspeech"
NUM_SAMPLES = 8 * SAMPLE_RATE  # of each file of noise
_PLACES = ("Lisbon", "Oslo", "Chicago", "Vienna", "Nairobi", "Toronto", "Athens", "Seoul")
_NUMBERS = ("four", "nine", "twelve", "fifteen", "twenty", "thirty", "forty")
_NOTICES = (
    "Passengers for {place}, please go to gate {gate}.",
    "The flight to {place} is delayed by {minutes} minutes.",
    "This is the last call for {place}, gate {gate}.",
    "Will the owner of a black suitcase please come to gate {gate}.",
)


def make_ms_snsd(
    seed: int, num_sentences: int, files_per_noise: int
) -> Iterator[tuple[str, Samples]]:
    """Make `clean_train/clnsp<n>.wav` and `noise_train/<Type>_<n>.wav`."""
    speakers = draw_speakers(40, seed, CORPUS)
    for number in range(1, num_sentences + 1):
        stream = random_stream(seed, CORPUS, "clean_train", number)
        speaker = speakers[number % len(speakers)]
        spoken = unit_rms(speaker.say(draw_sentence(stream), stream))
        spoken = scaled_to_peak(spoken, gain(stream.uniform(-12, -1)))
        yield f"clean_train/clnsp{number}.wav", speaker.record(spoken, stream)
    for kind, synthesize in NOISES.items():
        for number in range(1, files_per_noise + 1):
            stream = random_stream(seed, CORPUS, kind, number)
            noise = unit_rms(synthesize(stream))
            room = coloured_noise(stream, NUM_SAMPLES, 1.0) * gain(-35)
            level = stream.uniform(-30, -22)
            yield f"noise_train/{kind}_{number}.wav", scaled_to_rms(noise + room, level)


def _draw_speakers(stream: np.random.Generator, count: int) -> list[Speaker]:
    return draw_speakers(count, int(stream.integers(2**31)), CORPUS)


def _talk(stream: np.random.Generator, speaker: Speaker) -> Samples:
    """Let one voice talk on and on, from somewhere in its first sentence."""
    skipped = int(stream.integers(SAMPLE_RATE))
    parts: list[Samples] = []
    while sum(len(part) for part in parts) < NUM_SAMPLES + skipped:
        parts.append(unit_rms(speaker.say(draw_sentence(stream), stream)))
        parts.append(np.zeros(int(stream.uniform(0.05, 0.3) * SAMPLE_RATE)))
    return np.concatenate(parts)[skipped : skipped + NUM_SAMPLES]


def _at_level(
    stream: np.random.Generator, samples: Samples, lowest: float, highest: float
) -> Samples:
    """Return samples at a random level in dB."""
    return unit_rms(samples) * gain(stream.uniform(lowest, highest))


def _air_conditioner(stream: np.random.Generator) -> Samples:
    """Rushing air, dull and even, over the hum of mains and fan blades."""
    air = filtered(coloured_noise(stream, NUM_SAMPLES, 1.6), 40, stream.uniform(900, 2000))
    hiss = filtered(coloured_noise(stream, NUM_SAMPLES, 0), 2000, 6000)
    mains = np.full(NUM_SAMPLES, stream.choice((100.0, 120.0)))
    hum = harmonics(phase_of(mains), (1, 0.5, 0.25, 0.1))
    blades = stream.uniform(140, 260) * wander(stream, NUM_SAMPLES, 0.5, 0.01)
    fan = harmonics(phase_of(blades), (1, 0.4))
    air *= wander(stream, NUM_SAMPLES, rate=1.0, depth=0.15)
    return (
        unit_rms(air)
        + _at_level(stream, hiss, -26, -18)
        + _at_level(stream, hum, -6, 0)
        + _at_level(stream, fan, -12, -6)
    )


def _airport_announcements(stream: np.random.Generator) -> Samples:
    """A gong and a loudspeaker voice in a large hall, over a distant crowd."""
    (speaker,) = _draw_speakers(stream, 1)
    parts: list[Samples] = []
    while sum(len(part) for part in parts) < NUM_SAMPLES:
        parts.append(_gong(stream))
        notice = str(stream.choice(_NOTICES)).format(
            place=stream.choice(_PLACES),
            gate=stream.choice(_NUMBERS),
            minutes=stream.choice(_NUMBERS),
        )
        parts.append(filtered(unit_rms(speaker.say(notice, stream)), 400, 3200))
    announced = unit_rms(np.concatenate(parts)[:NUM_SAMPLES])
    hall = reverberated(stream, announced, seconds=stream.uniform(1.5, 2.5), wet=1.5)
    crowd = filtered(coloured_noise(stream, NUM_SAMPLES, 1.0), 150, 1500)
    crowd *= wander(stream, NUM_SAMPLES, rate=4.0, depth=0.3)
    return unit_rms(hall) + _at_level(stream, crowd, -14, -9)


def _gong(stream: np.random.Generator) -> Samples:
    """Two or three falling notes."""
    num_samples = round(0.35 * SAMPLE_RATE)
    first = stream.uniform(520, 720)
    notes = [
        harmonics(phase_of(np.full(num_samples, first * ratio)), (1, 0.2, 0.1))
        for ratio in (1.0, 0.8, 0.667)[: stream.integers(2, 4)]
    ]
    return np.concatenate([note * decay(num_samples, 0.9) for note in notes])


def _babble(stream: np.random.Generator) -> Samples:
    """Many people talking at once in one room."""
    voices = np.zeros(NUM_SAMPLES)
    for speaker in _draw_speakers(stream, int(stream.integers(9, 15))):
        distance = gain(stream.uniform(-6, 0))
        voices += unit_rms(_talk(stream, speaker)) * distance
    return reverberated(stream, voices, seconds=stream.uniform(0.3, 0.6), wet=0.5)


def _copy_machine(stream: np.random.Generator) -> Samples:
    """A cycle of clack, rising scanner whine and paper swish, over a small fan."""
    cycle = round(SAMPLE_RATE / stream.uniform(1.1, 1.8))
    first = int(stream.integers(cycle)) - cycle
    lowest = stream.uniform(350, 500)
    sweep = np.linspace(lowest, lowest * stream.uniform(1.6, 2.2), round(0.7 * cycle))
    whine = harmonics(phase_of(sweep), (1, 0.6, 0.4, 0.3, 0.2))
    whine *= np.sin(np.pi * np.arange(len(whine)) / len(whine)) ** 0.5
    events: list[tuple[int, Samples]] = []
    for start in range(first, NUM_SAMPLES, cycle):
        swish = filtered(stream.standard_normal(round(0.3 * cycle)), 1800, 5500)
        events += [
            (start, 6 * burst(stream, 0.12, 500, 2500)),
            (start, whine),
            (start + round(0.65 * cycle), 2.5 * (swish * np.hanning(len(swish)))),
            (start + round(0.9 * cycle), 4 * burst(stream, 0.06, 1000, 4000)),
        ]
    mechanism = placed([event for event in events if event[0] >= 0], NUM_SAMPLES)
    fan = filtered(coloured_noise(stream, NUM_SAMPLES, 1.0), 100, 3000)
    return unit_rms(mechanism) + _at_level(stream, fan, -18, -12)


def _munching(stream: np.random.Generator) -> Samples:
    """Bites: each a dense crackle of tiny breaks that thins out, over a dull jaw."""
    crispness = stream.uniform(2500, 5000)
    events: list[tuple[int, Samples]] = []
    for start in event_times(stream, NUM_SAMPLES, stream.uniform(1.8, 3.0), jitter=0.3):
        bite_seconds = stream.uniform(0.1, 0.22)
        for _ in range(int(stream.integers(20, 50))):
            delay = min(stream.exponential(bite_seconds / 2), bite_seconds)
            crack = burst(stream, stream.uniform(0.004, 0.015), 900, crispness)
            events.append((start + int(delay * SAMPLE_RATE), stream.uniform(0.2, 1) * crack))
        events.append((start, 0.8 * burst(stream, 0.15, 90, 300)))
    return placed(events, NUM_SAMPLES)


def _neighbor_speaking(stream: np.random.Generator) -> Samples:
    """One voice through a wall: only its low frequencies, and the neighbor's room."""
    (speaker,) = _draw_speakers(stream, 1)
    voice = _talk(stream, speaker)
    room = reverberated(stream, voice, seconds=stream.uniform(0.3, 0.6), wet=1.0)
    return filtered(room, 80, stream.uniform(450, 750), order=4)


def _shutting_door(stream: np.random.Generator) -> Samples:
    """Bangs: a latch, a dull impact, and a panel that goes on swinging, in a corridor."""
    panel = stream.uniform(55, 110)
    events: list[tuple[int, Samples]] = []
    for start in event_times(stream, NUM_SAMPLES, stream.uniform(1.2, 1.7), jitter=0.15):
        length = round(stream.uniform(0.25, 0.45) * SAMPLE_RATE)
        falling = panel * np.linspace(1.4, 0.9, length)
        boom = harmonics(phase_of(falling), (1, 0.5, 0.3, 0.2)) * decay(length, 0.4)
        strength = stream.uniform(0.6, 1)
        latch = start + int(stream.uniform(0.04, 0.09) * SAMPLE_RATE)
        events += [
            (start, strength * boom),
            (start, 1.2 * strength * burst(stream, 0.12, 100, 1200)),
            (latch, 0.35 * burst(stream, 0.03, 1500, 4000)),
        ]
    bangs = placed(events, NUM_SAMPLES)
    return reverberated(stream, bangs, seconds=stream.uniform(0.5, 0.9), wet=0.3)


def _squeaky_chair(stream: np.random.Generator) -> Samples:
    """Chirps of wood and metal that stick and slip."""
    pitch = stream.uniform(500, 1100)
    events: list[tuple[int, Samples]] = []
    for start in event_times(stream, NUM_SAMPLES, stream.uniform(1.6, 2.6), jitter=0.35):
        length = round(stream.uniform(0.15, 0.4) * SAMPLE_RATE)
        glide = np.linspace(1, 1 + stream.uniform(-0.35, 0.45), length)
        frequency = pitch * stream.uniform(0.85, 1.15) * glide * wander(stream, length, 60, 0.05)
        squeak = harmonics(phase_of(frequency), (1, 0.7, 0.5, 0.25))
        slips = 0.6 + 0.4 * np.sin(phase_of(np.full(length, stream.uniform(25, 60))))
        events.append((start, squeak * slips * np.hanning(length)))
        events.append((start + length // 2, 0.3 * burst(stream, 0.05, 300, 1200)))
    return reverberated(stream, placed(events, NUM_SAMPLES), seconds=0.3, wet=0.2)


def _typing(stream: np.random.Generator) -> Samples:
    """Key presses and their softer releases; now and then the hollow space bar."""
    brightness = stream.uniform(2000, 3500)
    events: list[tuple[int, Samples]] = []
    for press in event_times(stream, NUM_SAMPLES, stream.uniform(4.5, 8), jitter=0.5):
        lowest = (0.4 if stream.random() < 0.15 else 1) * brightness
        strength = stream.uniform(0.5, 1)
        release = press + int(stream.uniform(0.06, 0.11) * SAMPLE_RATE)
        events += [
            (press, strength * burst(stream, 0.015, lowest, 7000)),
            (press, 0.5 * strength * burst(stream, 0.03, 250, 700)),
            (release, 0.4 * strength * burst(stream, 0.01, brightness, 7500)),
        ]
    return placed(events, NUM_SAMPLES)


def _vacuum_cleaner(stream: np.random.Generator) -> Samples:
    """The whine of a fast motor with many harmonics in a roar of bright air."""
    speed = stream.uniform(330, 470) * wander(stream, NUM_SAMPLES, 1.5, 0.015)
    motor = harmonics(phase_of(speed), stream.uniform(0.3, 1, 16) * np.arange(1, 17) ** -0.5)
    air = filtered(coloured_noise(stream, NUM_SAMPLES, 0.5), 300, 7500)
    nozzle = filtered(coloured_noise(stream, NUM_SAMPLES, 0), stream.uniform(900, 1400), 3000)
    return unit_rms(air) + 0.8 * unit_rms(nozzle) + _at_level(stream, motor, 2, 8)


def _washer_dryer(stream: np.random.Generator) -> Samples:
    """A low rumble, and laundry that slaps round with the drum."""
    turns = stream.uniform(1.1, 1.7)
    turning = phase_of(turns * wander(stream, NUM_SAMPLES, 1.0, 0.03))
    swing = 0.5 + 0.5 * np.sin(turning + stream.uniform(0, 2 * np.pi))
    rumble = filtered(coloured_noise(stream, NUM_SAMPLES, 1.0), 30, stream.uniform(120, 220))
    motor = harmonics(turning * round(stream.uniform(45, 65) / turns), (1, 0.6, 0.4, 0.2))
    slosh = filtered(coloured_noise(stream, NUM_SAMPLES, 0.8), 250, stream.uniform(900, 1600))
    slaps = _at_level(stream, slosh * swing**4, -8, -3)
    return unit_rms(rumble * (0.5 + 0.5 * swing)) + 0.5 * unit_rms(motor) + slaps


NOISES: dict[str, Callable[[np.random.Generator], Samples]] = {
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
