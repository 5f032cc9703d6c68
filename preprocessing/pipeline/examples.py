"""A block of clips becomes examples: read, alter, take features, cut. Worked on by one process."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config.settings import FeatureExtraction
from preprocessing.pipeline.audio import (
    cut,
    decode,
    is_silent,
    normalize_peak,
)
from preprocessing.pipeline.augmentation import altered_copy
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.decoding import Samples, UnusableAudioError
from preprocessing.pipeline.features import Features, extract_features, features_shape
from preprocessing.pipeline.segments import segment_starts

BLOCK_CLIPS = 32
SILENT = "silent: no sample above 0.05"
NOT_FINITE = "its features are not finite"
OTHER_REASONS = (SILENT, NOT_FINITE)  # of clips that can be read

# clip number, first frame, frames without padding, number of the altered copy (0: the clip itself),
# hash of the clip's samples
Row = tuple[int, int, int, int, str]
LeftOut = tuple[int, str]  # clip number, reason
Block = list[tuple[int, Clip]]  # neighbouring clips of a corpus, with their numbers in it


@dataclass(frozen=True)
class Recipe:
    """How every clip of a dataset is turned into examples of the same shape."""

    features: FeatureExtraction
    sample_rate: int
    num_samples: int
    num_frames: int
    num_bins: int
    seed: int
    leave_out_silence: bool


class Version(NamedTuple):
    """A clip as it is (copy 0) or altered, ready for its features; content: hash of the clip."""

    number: int
    copy: int
    content: str
    samples: Samples


class Audio(NamedTuple):
    """The decoded versions of a block's clips, and the clips left out."""

    versions: list[Version]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Examples:
    """What became of a block.

    values: float32 (examples, frames, bins).
    rows: one for each example.
    digest: SHA-256 of the values.
    """

    values: npt.NDArray[np.float32]
    rows: list[Row]
    left_out: list[LeftOut]
    digest: str


def blocks_of(clips: list[Clip]) -> list[Block]:
    """Divide clips into blocks of 32 or a few more: neighbours in one file stay together."""
    blocks: list[Block] = []
    path = None
    for number, clip in enumerate(clips):
        if not blocks or (len(blocks[-1]) >= BLOCK_CLIPS and clip.path != path):
            blocks.append([])
        blocks[-1].append((number, clip))
        path = clip.path
    return blocks


def extract_block(block: Block, recipe: Recipe) -> Examples:
    """Return the examples of a block's clips."""
    return examples_of(read_block(block, recipe), recipe)


def read_block(block: Block, recipe: Recipe) -> Audio:
    """Decode a block's clips; neighbours in one file are decoded once."""
    versions: list[Version] = []
    left_out: list[LeftOut] = []
    decode_once = lru_cache(maxsize=1)(decode)
    for number, clip in block:
        try:
            recording = decode_once(clip.path)
            samples = cut(recording, recipe.sample_rate, clip.start, clip.duration)
            versions += _versions(samples, number, clip.name, recipe)
        except UnusableAudioError as error:
            left_out.append((number, str(error)))
    return Audio(versions, left_out)


def _versions(samples: Samples, number: int, name: str, recipe: Recipe) -> list[Version]:
    if recipe.leave_out_silence and is_silent(samples):
        raise UnusableAudioError(SILENT)
    content = _content(samples, name)
    versions = [samples]
    if recipe.features.augmentation:
        for copy in range(1, recipe.features.num_aug_samples + 1):
            generator = np.random.default_rng([recipe.seed, number, copy])
            versions.append(altered_copy(samples, generator))
    if recipe.features.normalization:
        versions = [normalize_peak(version) for version in versions]
    return [Version(number, copy, content, each) for copy, each in enumerate(versions)]


def _content(samples: Samples, name: str) -> str:
    """Hash a clip's samples, or its name if all are 0: silence in two sets is no shared audio."""
    digest = _sha256(samples) if samples.any() else hashlib.sha256(name.encode()).hexdigest()
    return digest[:16]


def _sha256(values: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).data).hexdigest()


def examples_of(audio: Audio, recipe: Recipe) -> Examples:
    """Pad the samples of decoded clips with zeros, take their features, cut these into examples."""
    left_out = dict(audio.left_out)
    padded = [
        np.pad(each.samples, (0, max(0, recipe.num_samples - len(each.samples))))
        for each in audio.versions
    ]
    all_features = _features_of(padded, recipe)
    pairs = list(zip(audio.versions, all_features, strict=True))
    for version, features in pairs:
        if not np.isfinite(features).all():
            left_out[version.number] = NOT_FINITE
    rows: list[Row] = []
    segments: list[Features] = []
    for version, features in pairs:
        if version.number not in left_out:
            length, _ = features_shape(len(version.samples), recipe.features, recipe.sample_rate)
            num_frames = min(length, recipe.num_frames)
            for start, segment in _cut(features, recipe):
                rows.append((version.number, start, num_frames, version.copy, version.content))
                segments.append(segment)
    shape = (len(segments), recipe.num_frames, recipe.num_bins)
    values = np.array(segments, dtype=np.float32).reshape(shape)
    return Examples(values, rows, sorted(left_out.items()), _sha256(values))


def _features_of(clips: list[Samples], recipe: Recipe) -> list[Features]:
    if recipe.features.features_backend == "torchaudio" and clips:
        from preprocessing.pipeline.torchaudio_features import batched_features

        return batched_features(clips, recipe.features, recipe.sample_rate)
    return extract_features(clips, recipe.features, recipe.sample_rate)


def _cut(features: Features, recipe: Recipe) -> list[tuple[int, Features]]:
    """Return the segments with their first frames."""
    if not recipe.features.segmentation:
        features = features[: recipe.num_frames]
    starts = segment_starts(len(features), recipe.num_frames, recipe.features.sequence_overlap)
    return [(start, features[start : start + recipe.num_frames]) for start in starts]
