"""A dataset's clips become its matrices: read, take features, cut, write, split.

Clips are worked on in blocks over all cores; one block at a time is in memory, so memory does not
grow with the corpus, and a journal lets a restart go on where the last run stopped.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from config.command_line import preparation_command
from config.errors import UserError
from config.files import write_json, written_aside
from config.settings import FeatureExtraction, Settings, display_path
from preprocessing.pipeline.audio import (
    Clip,
    Samples,
    UnusableAudioError,
    audio_seconds,
    decode,
    is_silent,
    normalize_peak,
    read_audio,
)
from preprocessing.pipeline.augmentation import altered_copy
from preprocessing.pipeline.features import check_feature_settings, extract_features, num_frames_of
from preprocessing.pipeline.jobs import Journal, fingerprint_of, map_in_order
from preprocessing.pipeline.manifests import write_table
from preprocessing.pipeline.matrices import (
    OWN_SPLIT,
    MatrixWriter,
    matrices_name,
    matrices_ready,
    open_matrices,
    part_path,
)
from preprocessing.pipeline.segments import cut_segments, fit_to_length
from preprocessing.pipeline.splits import split_groups

BLOCK_CLIPS = 32
FORMAT_VERSION = 1
SILENT = "silent: no sample above 0.05"
RANDOM_BY_CLIP = "random by clip"
SETS = ("train", "validation", "test")


# clip number, first frame, frames before padding, number of the altered copy (0: the clip itself)
Row = tuple[int, int, int, int]
_Example = tuple[npt.NDArray[np.float32], int, int, int]


@dataclass(frozen=True)
class Dataset:
    """A corpus prepared for one task.

    name: prefix of its matrices.
    script: the file in preprocessing/ that makes them.
    task: what the network is to tell, in words.
    sequence_length: of an example, in s.
    split_type: what the sets are divided by, in words; "random by clip" shuffles first.
    list_clips: finds the clips; raises UserError if the corpus is not where the settings say.
    classes: names in label order; empty: those of the clips.
    """

    name: str
    script: str
    task: str
    sequence_length: float
    split_type: str
    list_clips: Callable[[Settings], list[Clip]]
    classes: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a user types to make the matrices."""
        return f"python preprocessing/{self.script}.py"

    def seconds(self, settings: Settings) -> float:
        """Length of an example in s: what the user set, or the dataset's own."""
        return (
            settings.pretraining.sequence_length
            or settings.feature_extraction.sequence_length
            or self.sequence_length
        )


@dataclass(frozen=True)
class _Recipe:
    """How every clip of a run is turned into examples."""

    features: FeatureExtraction
    sample_rate: int
    num_frames: int
    seed: int


@dataclass(frozen=True)
class _Block:
    """Examples (examples, frames, bins) of some clips, and the clips left out, with the reason."""

    examples: npt.NDArray[np.float32]
    rows: list[Row]
    left_out: list[tuple[int, str]]


def preprocess_command(dataset: Dataset) -> None:
    """The main function of every preprocessing script."""
    preparation_command(
        f"Prepare {dataset.name} ({dataset.task}): feature matrices, index and split.",
        lambda settings: preprocess(dataset, settings),
    )


def preprocess(dataset: Dataset, settings: Settings) -> Path:
    """Write a dataset's matrices into [preprocessing] output_folder; returns that folder.

    Matrices that were made in the same way from the same clips are left as they are.

    Raises:
        UserError: the corpus is missing, too many clips cannot be read, or a class is empty.
    """
    check_feature_settings(settings)
    clips = dataset.list_clips(settings)
    folder = settings.preprocessing.output_folder
    name = matrices_name(dataset.name, settings.feature_extraction.features_type)
    plan = _plan_fingerprint(dataset, settings, clips)
    if _is_up_to_date(folder, name, plan):
        print(f"{name}: already there, unchanged, in {display_path(folder)}")
        return folder
    print(f"{name}: {len(clips)} clips -> {display_path(folder)}")
    part_path(folder, name, "info").unlink(missing_ok=True)
    recipe = _Recipe(
        features=settings.feature_extraction,
        sample_rate=settings.sampling.sr_target,
        num_frames=_num_frames(dataset, settings, clips),
        seed=settings.preprocessing.seed,
    )
    records = _extract_all(clips, recipe, folder, name, plan, settings.preprocessing.workers)
    _finish(dataset, settings, clips, records, folder, name, plan)
    return folder


def _is_up_to_date(folder: Path, name: str, plan: str) -> bool:
    try:
        return matrices_ready(folder, name) and open_matrices(folder, name).info["plan"] == plan
    except (UserError, KeyError):
        return False  # damaged files are made anew


def _plan_fingerprint(dataset: Dataset, settings: Settings, clips: list[Clip]) -> str:
    """What the matrices depend on; a file counts as changed when its size or time has."""

    def state_of(clip: Clip) -> tuple[Any, ...]:
        try:
            state = clip.path.stat()
        except OSError:
            return (0, 0)
        return (state.st_size, state.st_mtime_ns)

    features = settings.feature_extraction.model_dump(exclude={"features_backend"})
    return fingerprint_of(
        {
            "version": FORMAT_VERSION,
            "dataset": [dataset.name, dataset.split_type, dataset.classes],
            "features": features,
            "seconds": dataset.seconds(settings),
            "sampling": settings.sampling.model_dump(),
            "seed": settings.preprocessing.seed,
            "fractions": settings.training_defaults.fractions,
            "num_folds": settings.training_defaults.num_folds,
            "clips": [
                {**vars(clip), "path": clip.path.name}  # where the corpus lies does not matter
                for clip in clips
            ],
            "files": [state_of(clip) for clip in clips],
        }
    )


def _num_frames(dataset: Dataset, settings: Settings, clips: list[Clip]) -> int:
    features, rate = settings.feature_extraction, settings.sampling.sr_target
    seconds = dataset.seconds(settings)
    if not features.segmentation:
        seconds = max((_header_seconds(clip) for clip in clips), default=0.0) or seconds
    return num_frames_of(seconds, features, rate)


def _header_seconds(clip: Clip) -> float:
    if clip.duration is not None:
        return clip.duration
    try:
        return audio_seconds(clip.path) - clip.start
    except UnusableAudioError:
        return 0.0


def _extract_all(
    clips: list[Clip], recipe: _Recipe, folder: Path, name: str, plan: str, workers: int
) -> list[dict[str, Any]]:
    """Write the predictors; returns what the journal says of each block."""
    bins = extract_features(
        np.zeros(recipe.sample_rate, dtype=np.float32), recipe.features, recipe.sample_rate
    ).shape[1]
    predictors = part_path(folder, name, "predictors")
    unfinished = predictors.with_suffix(".npy.unfinished")
    journal: Journal[dict[str, Any]] = Journal(predictors.with_suffix(".journal"), plan)
    writer = _continued(unfinished, journal, (recipe.num_frames, bins))
    blocks = _blocks(clips)
    done = len(journal.records)
    tasks = [[(number, clips[number]) for number in block] for block in blocks[done:]]
    function = partial(_extract_block, recipe=recipe, num_bins=bins)
    finished = sum(map(len, blocks[:done]))
    try:
        for block in map_in_order(function, tasks, workers, name, "clip", finished, len):
            writer.append(block.examples)
            digest = hashlib.sha256(block.examples.tobytes()).hexdigest()
            journal.append({"rows": block.rows, "left_out": block.left_out, "digest": digest})
        writer.finish()
    finally:
        writer.close()
        journal.close()
    return journal.records


def _blocks(clips: list[Clip]) -> list[list[int]]:
    """The clips' numbers, 32 or a few more at a time: neighbours in one file stay together."""
    blocks: list[list[int]] = []
    for number, clip in enumerate(clips):
        if not blocks or (len(blocks[-1]) >= BLOCK_CLIPS and clip.path != clips[number - 1].path):
            blocks.append([])
        blocks[-1].append(number)
    return blocks


def _continued(
    path: Path, journal: Journal[dict[str, Any]], example_shape: tuple[int, int]
) -> MatrixWriter:
    """A writer that goes on where the journal ends; without the examples it promises, anew."""
    keep = sum(len(record["rows"]) for record in journal.records)
    try:
        return MatrixWriter(path, example_shape, keep)
    except (OSError, ValueError):
        journal.forget()
        return MatrixWriter(path, example_shape)


def _extract_block(block: list[tuple[int, Clip]], recipe: _Recipe, num_bins: int) -> _Block:
    examples, rows, left_out = [], [], []
    decode_once = lru_cache(maxsize=1)(decode)
    for number, clip in block:
        try:
            samples = read_audio(
                clip.path, recipe.sample_rate, clip.start, clip.duration, decode_once
            )
            found = _clip_examples(samples, number, recipe)
        except UnusableAudioError as error:
            left_out.append((number, str(error)))
            continue
        examples += [features for features, _, _, _ in found]
        rows += [(number, first, frames, altered) for _, first, frames, altered in found]
    empty = np.empty((0, recipe.num_frames, num_bins), dtype=np.float32)
    return _Block(np.stack(examples) if examples else empty, rows, left_out)


def _clip_examples(samples: Samples, number: int, recipe: _Recipe) -> list[_Example]:
    if is_silent(samples):
        raise UnusableAudioError(SILENT)
    versions = [samples]
    if recipe.features.augmentation:
        for copy in range(1, recipe.features.num_aug_samples + 1):
            generator = np.random.default_rng([recipe.seed, number, copy])
            versions.append(altered_copy(samples, generator))
    return [
        example for copy, version in enumerate(versions) for example in _cut(version, copy, recipe)
    ]


def _cut(samples: Samples, copy: int, recipe: _Recipe) -> list[_Example]:
    if recipe.features.normalization:
        samples = normalize_peak(samples)
    features = extract_features(samples, recipe.features, recipe.sample_rate)
    if not np.isfinite(features).all():
        raise UnusableAudioError("its features are not finite")
    num_frames = min(len(features), recipe.num_frames)
    if recipe.features.segmentation:
        segments = cut_segments(features, recipe.num_frames, recipe.features.sequence_overlap)
    else:
        segments = fit_to_length(features, recipe.num_frames)
    return [(segment, first_frame, num_frames, copy) for first_frame, segment in segments]


def _finish(
    dataset: Dataset,
    settings: Settings,
    clips: list[Clip],
    records: list[dict[str, Any]],
    folder: Path,
    name: str,
    plan: str,
) -> None:
    """Write everything but the predictors, and put these under their final name."""
    left_out = [entry for record in records for entry in record["left_out"]]
    _write_left_out(part_path(folder, name, "left_out"), clips, left_out)
    _refuse_too_many_left_out(settings, clips, left_out, part_path(folder, name, "left_out"))
    rows = [row for record in records for row in record["rows"]]
    if not rows:
        raise UserError(f"{name}: not one of {len(clips)} clips can be used")
    kept = [clips[number] for number, *_ in rows]
    _refuse_empty_classes(dataset, clips, kept)
    splits = _splits(dataset, settings, kept)
    target = np.array([clip.label for clip in kept], dtype=np.int64)
    with written_aside(part_path(folder, name, "target")) as aside:
        np.save(aside, target)
    _write_index(part_path(folder, name, "index"), kept, rows)
    write_json(part_path(folder, name, "splits"), splits)
    predictors = part_path(folder, name, "predictors")
    predictors.with_suffix(".npy.unfinished").replace(predictors)
    digests = [record["digest"] for record in records]
    content = fingerprint_of([digests, target.tolist(), splits])
    info = _info(dataset, settings, clips, kept, left_out) | {
        "plan": plan,
        "fingerprint": content,
    }
    write_json(part_path(folder, name, "info"), info)
    predictors.with_suffix(".journal").unlink(missing_ok=True)
    _print_summary(info, splits, folder, name)


def _refuse_too_many_left_out(
    settings: Settings, clips: list[Clip], left_out: list[tuple[int, str]], path: Path
) -> None:
    broken = [reason for _, reason in left_out if reason != SILENT]
    allowed = settings.preprocessing.max_skipped_fraction
    if len(broken) > allowed * len(clips):
        raise UserError(
            f"{len(broken)} of {len(clips)} clips cannot be used ({broken[0]}, ...), more than "
            f"max_skipped_fraction = {allowed:g} allows; see {display_path(path)}, mend the corpus "
            "or pass --set max_skipped_fraction=<fraction>"
        )


def _splits(dataset: Dataset, settings: Settings, kept: list[Clip]) -> dict[str, Any]:
    training = settings.training_defaults
    groups = list(dict.fromkeys(clip.group for clip in kept))
    if dataset.split_type == RANDOM_BY_CLIP:
        np.random.default_rng(settings.preprocessing.seed).shuffle(groups)
    num_folds = training.num_folds
    if dataset.split_type == OWN_SPLIT:
        num_folds = 1
        sets = {clip.group: clip.fixed_set for clip in kept}
        folds = [{name: [g for g in groups if sets[g] == name] for name in SETS}]
        for name, members in folds[0].items():
            if not members:
                raise UserError(f"{dataset.name}: the corpus has no clips in its {name} set")
    else:
        divided = split_groups(groups, training.fractions, num_folds)
        folds = [
            {"train": fold.train, "validation": fold.validation, "test": fold.test}
            for fold in divided
        ]
    return {
        "type": dataset.split_type,
        "seed": settings.preprocessing.seed,
        "fractions": training.fractions,
        "num_folds": num_folds,
        "order": groups,
        "folds": folds,
    }


def _info(
    dataset: Dataset,
    settings: Settings,
    clips: list[Clip],
    kept: list[Clip],
    left_out: list[tuple[int, str]],
) -> dict[str, Any]:
    classes = _class_names(dataset, clips)
    counts = np.bincount([clip.label for clip in kept], minlength=len(classes))
    return {
        "dataset": dataset.name,
        "task": dataset.task,
        "command": dataset.command,
        "split_type": dataset.split_type,
        "seconds": dataset.seconds(settings),
        "sample_rate": settings.sampling.sr_target,
        "feature_extraction": settings.feature_extraction.model_dump(mode="json"),
        "classes": classes,
        "examples_per_class": dict(zip(classes, counts.tolist(), strict=True)),
        "num_clips": len(clips),
        "num_left_out": len(left_out),
        "num_examples": len(kept),
    }


def _class_names(dataset: Dataset, clips: list[Clip]) -> list[str]:
    labels = {clip.label: clip.class_name for clip in clips}
    return list(dataset.classes) or [labels.get(label, "") for label in range(max(labels) + 1)]


def _refuse_empty_classes(dataset: Dataset, clips: list[Clip], kept: list[Clip]) -> None:
    found = {clip.label for clip in kept}
    names = _class_names(dataset, clips)
    empty = [name or str(label) for label, name in enumerate(names) if label not in found]
    if empty:
        raise UserError(
            f"{dataset.name}: no example of {len(empty)} of {len(names)} classes: "
            f"{', '.join(empty[:20])}"
        )


def _write_left_out(path: Path, clips: list[Clip], left_out: list[tuple[int, str]]) -> None:
    rows = [
        {"clip": clips[number].name, "file": str(clips[number].path), "reason": reason}
        for number, reason in left_out
    ]
    write_table(path, rows, ["clip", "file", "reason"])


def _write_index(path: Path, kept: list[Clip], rows: list[Row]) -> None:
    import pandas

    table = pandas.DataFrame(
        {
            "clip": clip.name,
            "label": clip.label,
            "class_name": clip.class_name,
            "group": clip.group,
            "first_frame": first_frame,
            "num_frames": num_frames,
            "augmented": copy,
            **clip.details,
        }
        for clip, (_, first_frame, num_frames, copy) in zip(kept, rows, strict=True)
    )
    with written_aside(path) as aside:
        table.to_csv(aside, index=False)


def _print_summary(info: dict[str, Any], splits: dict[str, Any], folder: Path, name: str) -> None:
    sizes = ", ".join(f"{len(splits['folds'][0][set_name])} {set_name}" for set_name in SETS)
    print(
        f"{name}: {info['num_examples']} examples of {len(info['classes'])} classes; "
        f"split {info['split_type']} ({sizes} groups)"
    )
    if info["num_left_out"]:
        where = display_path(part_path(folder, name, "left_out"))
        print(f"{name}: {info['num_left_out']} clips left out, listed in {where}")
