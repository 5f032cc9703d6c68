"""Some clips at a time become examples: decode, alter, take features, cut."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from config.settings import FeatureExtraction
from preprocessing.pipeline.audio import (
    Samples,
    UnusableAudioError,
    is_silent,
    normalize_peak,
    read_audio,
)
from preprocessing.pipeline.augmentation import altered_copy
from preprocessing.pipeline.features import Features, features_of_clips
from preprocessing.pipeline.segments import segment_starts
from preprocessing.pipeline.shared_slots import Examples, InSlot, SharedSlots
from preprocessing.pipeline.wav import decode_quickly

SILENT = "silent: no sample above 0.05"

# clip number, first frame, frames before padding, number of the altered copy (0: the clip itself),
# hash of the clip's samples
Row = tuple[int, int, int, int, str]
LeftOut = tuple[int, str]


@dataclass(frozen=True)
class Recipe:
    """How every clip of a run is turned into examples."""

    features: FeatureExtraction
    sample_rate: int
    num_frames: int
    num_bins: int
    seed: int


@dataclass(frozen=True)
class Task:
    """What a process needs to know of neighbouring clips of a corpus.

    files, starts, durations: as in Clip, one of each for each clip.
    first_number: of the first clip; the others follow.
    slot: where their examples may lie.
    """

    files: list[str]
    starts: list[float]
    durations: list[float | None]
    first_number: int
    slot: int

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class Version:
    """A clip as it is (copy 0) or altered, ready for its features."""

    number: int
    copy: int
    content: str
    samples: Samples


@dataclass(frozen=True)
class Audio:
    """The decoded versions of some clips, and the clips left out, with the reason."""

    versions: list[Version]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Notes:
    """What there is to know of a task's examples: a row each, and the clips left out and why.

    digest: SHA-256 of the examples.
    """

    rows: list[Row]
    left_out: list[LeftOut]
    digest: str


def extract_block(
    task: Task, recipe: Recipe, slots: SharedSlots
) -> tuple[Examples | InSlot, Notes]:
    """Examples (examples, frames, bins) of a task's clips, in its slot if they fit."""
    empty = partial(slots.empty, task.slot)
    examples, notes = examples_of(read_block(task, recipe), recipe, empty)
    return slots.to_send(task.slot, examples), notes


def read_block(task: Task, recipe: Recipe) -> Audio:
    """Decode a task's clips; neighbours in one file are decoded once."""
    versions: list[Version] = []
    left_out: list[LeftOut] = []
    decode_once = lru_cache(maxsize=1)(decode_quickly)
    stretches = zip(task.files, task.starts, task.durations, strict=True)
    for number, (file, start, duration) in enumerate(stretches, task.first_number):
        try:
            samples = read_audio(Path(file), recipe.sample_rate, start, duration, decode_once)
            versions += _versions(samples, number, recipe)
        except UnusableAudioError as error:
            left_out.append((number, str(error)))
    return Audio(versions, left_out)


def examples_of(
    audio: Audio, recipe: Recipe, empty: Callable[[tuple[int, ...]], Examples]
) -> tuple[Examples, Notes]:
    """Features of decoded clips, cut into examples (examples, frames, bins).

    Args:
        empty: makes the float32 array that the examples are written to.
    """
    left_out = dict(audio.left_out)
    all_features = _features_of([version.samples for version in audio.versions], recipe)
    pairs = list(zip(audio.versions, all_features, strict=True))
    for version, features in pairs:
        if not np.isfinite(features).all():
            left_out[version.number] = "its features are not finite"
    rows: list[Row] = []
    segments: list[Features] = []
    for version, features in pairs:
        if version.number not in left_out:
            for start, segment in _cut(features, recipe):
                num_frames = min(len(features), recipe.num_frames)
                rows.append((version.number, start, num_frames, version.copy, version.content))
                segments.append(segment)
    examples = empty((len(segments), recipe.num_frames, recipe.num_bins))
    for example, segment in zip(examples, segments, strict=True):
        example[: len(segment)] = segment
        example[len(segment) :] = 0
    return examples, Notes(rows, sorted(left_out.items()), _sha256(examples))


def _cut(features: Features, recipe: Recipe) -> list[tuple[int, Features]]:
    """Segments, not yet padded, with their first frames."""
    if not recipe.features.segmentation:
        features = features[: recipe.num_frames]
    starts = segment_starts(len(features), recipe.num_frames, recipe.features.sequence_overlap)
    return [(start, features[start : start + recipe.num_frames]) for start in starts]


def _sha256(values: Samples) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).data).hexdigest()


def _versions(samples: Samples, number: int, recipe: Recipe) -> list[Version]:
    if is_silent(samples):
        raise UnusableAudioError(SILENT)
    content = _sha256(samples)[:16]
    versions = [samples]
    if recipe.features.augmentation:
        for copy in range(1, recipe.features.num_aug_samples + 1):
            generator = np.random.default_rng([recipe.seed, number, copy])
            versions.append(altered_copy(samples, generator))
    if recipe.features.normalization:
        versions = [normalize_peak(version) for version in versions]
    return [Version(number, copy, content, each) for copy, each in enumerate(versions)]


def _features_of(clips: list[Samples], recipe: Recipe) -> list[Features]:
    if recipe.features.features_backend == "torchaudio" and clips:
        from preprocessing.pipeline.torchaudio_features import batched_features

        return batched_features(clips, recipe.features, recipe.sample_rate)
    return features_of_clips(clips, recipe.features, recipe.sample_rate)
