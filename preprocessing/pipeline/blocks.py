"""Some clips at a time become examples: decode, alter, take features, cut."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from config.settings import FeatureExtraction
from preprocessing.pipeline.audio import (
    Clip,
    Samples,
    UnusableAudioError,
    decode,
    is_silent,
    normalize_peak,
    read_audio,
)
from preprocessing.pipeline.augmentation import altered_copy
from preprocessing.pipeline.features import Features, extract_features
from preprocessing.pipeline.segments import cut_segments, fit_to_length

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
class Block:
    """Examples (examples, frames, bins) of some clips, and the clips left out, with the reason."""

    examples: npt.NDArray[np.float32]
    rows: list[Row]
    left_out: list[LeftOut]


def extract_block(clips: list[tuple[int, Clip]], recipe: Recipe) -> Block:
    """Examples of numbered clips."""
    return examples_of(read_block(clips, recipe), recipe)


def read_block(clips: list[tuple[int, Clip]], recipe: Recipe) -> Audio:
    """Decode numbered clips; neighbours in one file are decoded once."""
    versions: list[Version] = []
    left_out: list[LeftOut] = []
    decode_once = lru_cache(maxsize=1)(decode)
    for number, clip in clips:
        try:
            samples = read_audio(
                clip.path, recipe.sample_rate, clip.start, clip.duration, decode_once
            )
            versions += _versions(samples, number, recipe)
        except UnusableAudioError as error:
            left_out.append((number, str(error)))
    return Audio(versions, left_out)


def examples_of(audio: Audio, recipe: Recipe) -> Block:
    """Features of decoded clips, cut into examples."""
    examples: list[Features] = []
    rows: list[Row] = []
    left_out = dict(audio.left_out)
    all_features = _features_of([version.samples for version in audio.versions], recipe)
    for version, features in zip(audio.versions, all_features, strict=True):
        if not np.isfinite(features).all():
            left_out[version.number] = "its features are not finite"
        if version.number in left_out:
            continue
        num_frames = min(len(features), recipe.num_frames)
        for first_frame, segment in _cut(features, recipe):
            examples.append(segment)
            rows.append((version.number, first_frame, num_frames, version.copy, version.content))
    empty = np.empty((0, recipe.num_frames, recipe.num_bins), dtype=np.float32)
    return Block(np.stack(examples) if examples else empty, rows, sorted(left_out.items()))


def _versions(samples: Samples, number: int, recipe: Recipe) -> list[Version]:
    if is_silent(samples):
        raise UnusableAudioError(SILENT)
    content = hashlib.sha256(samples.tobytes()).hexdigest()[:16]
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
    return [extract_features(samples, recipe.features, recipe.sample_rate) for samples in clips]


def _cut(features: Features, recipe: Recipe) -> list[tuple[int, Features]]:
    if recipe.features.segmentation:
        return cut_segments(features, recipe.num_frames, recipe.features.sequence_overlap)
    return fit_to_length(features, recipe.num_frames)
