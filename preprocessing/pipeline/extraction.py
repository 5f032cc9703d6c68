"""A dataset's clips become its matrices: read, take features, cut, write, split.

Clips are worked on in blocks over all cores. A few blocks at a time are in memory, so memory does
not grow with the corpus.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from config.command_line import preparation_command
from config.errors import UserError
from config.files import remove_partial_files, waited_for, write_json, written_aside
from config.fingerprints import fingerprint_of, fingerprint_of_each
from config.log import logger
from config.provenance import process_provenance
from config.settings import Settings
from config.text import counted, display_path
from preprocessing.pipeline.audio import audio_seconds, read_audio
from preprocessing.pipeline.dataset import (
    OWN_FOLDS,
    OWN_SPLIT,
    RANDOM_BY_CLIP,
    SETS,
    Clip,
    Dataset,
)
from preprocessing.pipeline.decoding import UnusableAudioError, why_unusable
from preprocessing.pipeline.documents import (
    LEFT_OUT_COLUMNS,
    describe,
    refuse_empty_classes,
    refuse_repeated_names,
    write_index,
    write_left_out,
)
from preprocessing.pipeline.examples import (
    OTHER_REASONS,
    SILENT,
    LeftOut,
    Recipe,
    Row,
    blocks_of,
    examples_of,
    extract_block,
    read_block,
)
from preprocessing.pipeline.features import (
    check_feature_settings,
    features_shape,
    planned_settings,
)
from preprocessing.pipeline.leaks import (
    one_group_for_equal_audio,
    refuse_equal_audio,
    same_looking,
)
from preprocessing.pipeline.left_out import Unusable, left_out_in_words, refuse_many_left_out
from preprocessing.pipeline.matrices import (
    matrices_name,
    matrices_ready,
    open_matrices,
    part_path,
)
from preprocessing.pipeline.splits import divide_by_folds, split_groups
from preprocessing.pipeline.tables import read_rows
from preprocessing.pipeline.workers import map_in_order

FORMAT_VERSION = 3
_all_but_path = attrgetter(*(field.name for field in fields(Clip) if field.name != "path"))


def preprocess_command(dataset: Dataset) -> None:
    """Run the main function of a preprocessing script."""
    preparation_command(
        f"Prepare {dataset.name} ({dataset.task}): feature matrices, index and split.",
        lambda settings: preprocess(dataset, settings),
    )


def preprocess(dataset: Dataset, settings: Settings) -> Path:
    """Write a dataset's matrices into [preprocessing] output_folder and return that folder.

    Matrices that were made in the same way from the same clips are left as they are; others stay
    until the new ones are complete.

    Raises:
        UserError: the corpus is missing, too many clips cannot be read, or a class is empty.
    """
    check_feature_settings(settings)
    clips = dataset.list_clips(settings)
    folder = settings.preprocessing.output_folder
    name = matrices_name(dataset.name, settings.feature_extraction.features_type)
    plan = _plan_fingerprint(dataset, settings, clips)
    rate = settings.sampling.sr_target
    if not _is_up_to_date(folder, name, plan, clips, rate):
        with waited_for(folder / f".{name}.lock", name, "--set output_folder=FOLDER"):
            if not _is_up_to_date(folder, name, plan, clips, rate):
                _write_matrices(dataset, settings, clips, folder, name, plan)
    return folder


def _write_matrices(
    dataset: Dataset, settings: Settings, clips: list[Clip], folder: Path, name: str, plan: str
) -> None:
    """Write all files of a dataset, which no other process writes now."""
    remove_partial_files(folder)
    logger.info(f"{name}: {counted(len(clips), 'clip')} -> {display_path(folder)}")
    path = part_path(folder, name, "left_out")
    recipe = _recipe(dataset, settings, dataset.seconds(settings))
    _refuse_before_reading(dataset, settings, clips, recipe, path)
    if not settings.feature_extraction.segmentation:
        recipe = _recipe(dataset, settings, _longest(clips, settings) or dataset.seconds(settings))
    with written_aside(part_path(folder, name, "predictors")) as aside:
        rows, left_out, digests = _write_examples(aside, clips, recipe, settings, name)
        _note_left_out(left_out, clips, settings, path)
        if not rows:
            raise UserError(f"{name}: not one of {len(clips)} clips can be used")
        kept = [clips[number] for number, *_ in rows]
        refuse_empty_classes(dataset, clips, kept)
        contents = [row[-1] for row in rows]
        if dataset.split_type == RANDOM_BY_CLIP:
            kept = one_group_for_equal_audio(kept, contents)
        splits = _splits(dataset, settings, kept)
        refuse_equal_audio(dataset.name, kept, contents, splits["folds"])
        part_path(folder, name, "info").unlink(missing_ok=True)
    target_type = np.float32 if dataset.is_regression else np.int64
    target = np.array([clip.label for clip in kept], dtype=target_type)
    with written_aside(part_path(folder, name, "target")) as aside:
        np.save(aside, target)
    write_index(part_path(folder, name, "index"), kept, rows)
    write_json(part_path(folder, name, "splits"), splits)
    info = describe(dataset, settings, clips, kept, len(left_out), splits) | {
        "num_samples": recipe.num_samples,
        "leave_out_silence": recipe.leave_out_silence,
        "licence": dataset.licence,
        "plan": plan,
        "fingerprint": fingerprint_of([digests, target.tolist(), splits]),
        "provenance": process_provenance(),
    }
    write_json(part_path(folder, name, "info"), info)
    words = left_out_in_words([Unusable("clip", left_out, len(clips))], path)
    _print_summary(info, splits, name, words)


def _refuse_before_reading(
    dataset: Dataset, settings: Settings, clips: list[Clip], recipe: Recipe, left_out: Path
) -> None:
    """Refuse what a whole preparation would end with, as far as names, labels and sizes tell.

    Of files that look like another one, the audio is compared, unless a split keeps it together.
    """
    refuse_repeated_names(dataset, clips)
    refuse_empty_classes(dataset, clips, clips)
    folds = _splits(dataset, settings, clips)["folds"]
    missing = [(number, "missing") for number, clip in enumerate(clips) if not clip.path.exists()]
    if missing:
        _note_left_out(missing, clips, settings, left_out)
    if dataset.split_type != RANDOM_BY_CLIP:
        alike = [clips[number] for number in same_looking(clips)]
        contents = {
            version.number: version.content
            for block in blocks_of(alike)
            for version in read_block(block, recipe).versions
        }
        readable = [alike[number] for number in contents]
        refuse_equal_audio(dataset.name, readable, list(contents.values()), folds)


def _note_left_out(
    left_out: list[LeftOut], clips: list[Clip], settings: Settings, path: Path
) -> None:
    """Write the list of clips left out; raise if it is too long (silence not counted)."""
    write_left_out(path, clips, left_out)
    broken = [each for each in left_out if each[1] != SILENT]
    refuse_many_left_out(Unusable("clip", broken, len(clips)), path, settings)


def _is_up_to_date(folder: Path, name: str, plan: str, clips: list[Clip], sample_rate: int) -> bool:
    """Tell, and say, whether the matrices are there, whole, as planned, of all usable clips."""
    try:
        matrices = open_matrices(folder, name)
        if not matrices_ready(folder, name) or matrices.info["plan"] != plan:
            return False
        matrices.check_parts()
        if _any_usable(part_path(folder, name, "left_out"), clips, sample_rate):
            return False
    except UserError:
        return False  # damaged files are made anew
    logger.info(f"{name}: already there, unchanged, in {display_path(folder)}")
    return True


def _any_usable(left_out: Path, clips: list[Clip], sample_rate: int) -> bool:
    """Return whether a clip that could not be read, as its list says, can be by now."""
    rows = read_rows(left_out, LEFT_OUT_COLUMNS)
    unread = {row["clip"] for row in rows if row["reason"] not in OTHER_REASONS}
    return any(
        not why_unusable(read_audio, clip.path, sample_rate, clip.start, clip.duration)
        for clip in clips
        if clip.name in unread
    )


def _plan_fingerprint(dataset: Dataset, settings: Settings, clips: list[Clip]) -> str:
    """Hash what the matrices depend on; a file counts as changed when its size or time has."""
    return fingerprint_of(
        {
            "version": FORMAT_VERSION,
            "dataset": [dataset.name, dataset.split_type, dataset.classes],
            "leave_out_silence": dataset.leave_out_silence,
            **(
                {"declared": [dataset.declared, dataset.orthogonal_labels]}
                if dataset.declared
                else {}
            ),
            "features": planned_settings(settings.feature_extraction),
            "seconds": dataset.seconds(settings),
            "sampling": settings.sampling.model_dump(),
            "seed": settings.preprocessing.seed,
            "fractions": settings.training_defaults.fractions,
            "num_folds": settings.training_defaults.num_folds,
            "clips": fingerprint_of_each(_identity(clip) for clip in clips),
        }
    )


def _identity(clip: Clip) -> list[Any]:
    """Return all that is known of a clip but where the corpus lies, its file's size and time."""
    try:
        state = clip.path.stat()
    except OSError:
        file = (0, 0)
    else:
        file = (state.st_size, state.st_mtime_ns)
    return [clip.path.name, *_all_but_path(clip), *file]


def _write_examples(
    path: Path, clips: list[Clip], recipe: Recipe, settings: Settings, name: str
) -> tuple[list[Row], list[LeftOut], list[str]]:
    """Write the predictors; return a row for each example, clips left out, and blocks' digests.

    On a GPU the processes only decode, and features are taken here, where the GPU is.
    """
    on_gpu = recipe.features.features_backend == "torchaudio"
    results: Generator[Any, None, None] = map_in_order(
        partial(read_block if on_gpu else extract_block, recipe=recipe),
        blocks_of(clips),
        settings.preprocessing.workers,
        description=name,
        unit="clip",
        size_of=len,
    )
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    digests: list[str] = []
    shape = (recipe.num_frames, recipe.num_bins)
    with path.open("wb") as file, closing(results):
        _write_header(file, (0, *shape))
        for result in results:
            examples = examples_of(result, recipe) if on_gpu else result
            file.write(examples.values.data)
            rows += examples.rows
            left_out += examples.left_out
            digests.append(examples.digest)
        file.seek(0)
        _write_header(file, (len(rows), *shape))
    return rows, left_out, digests


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file, which NumPy pads so that its first axis can still grow."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _recipe(dataset: Dataset, settings: Settings, seconds: float) -> Recipe:
    features, rate = settings.feature_extraction, settings.sampling.sr_target
    num_samples = round(seconds * rate)
    num_frames, num_bins = features_shape(num_samples, features, rate)
    return Recipe(
        features=features,
        sample_rate=rate,
        num_samples=num_samples,
        num_frames=num_frames,
        num_bins=num_bins,
        seed=settings.preprocessing.seed,
        leave_out_silence=dataset.leave_out_silence,
    )


def _longest(clips: list[Clip], settings: Settings) -> float:
    """Return the length of the longest clip in s, for which all are read; 0.0 if none can be."""
    lengths = map_in_order(
        _seconds_of, clips, settings.preprocessing.workers, description="lengths", unit="clip"
    )
    return max(lengths, default=0.0)


def _seconds_of(clip: Clip) -> float:
    if clip.duration is not None:
        return clip.duration
    try:
        return audio_seconds(clip.path) - clip.start
    except UnusableAudioError:
        return 0.0


def _splits(dataset: Dataset, settings: Settings, kept: list[Clip]) -> dict[str, Any]:
    training, split_type = settings.training_defaults, dataset.split_type
    groups = list(dict.fromkeys(clip.group for clip in kept))
    if split_type == RANDOM_BY_CLIP or dataset.shuffle_groups:
        np.random.default_rng(settings.preprocessing.seed).shuffle(groups)
    if split_type != OWN_SPLIT:
        divided = split_groups(groups, training.fractions, training.num_folds)
        folds = [vars(fold) for fold in divided]
    elif all(clip.fixed_set in SETS for clip in kept):
        sets = {(clip.group, clip.fixed_set): None for clip in kept}
        folds = [{name: [g for g, fixed in sets if fixed == name] for name in SETS}]
        empty = [name for name, members in folds[0].items() if not members]
        if empty:
            raise UserError(
                f"{dataset.name}: the corpus has no clips to use for {', '.join(empty)}"
            )
    else:
        split_type = OWN_FOLDS
        divided = divide_by_folds(
            {clip.group: str(clip.fixed_set) for clip in kept}, dataset.validation_folds
        )
        folds = [vars(fold) for fold in divided]
    return {
        "type": split_type,
        "seed": settings.preprocessing.seed,
        "fractions": training.fractions,
        "num_folds": len(folds),
        "order": groups,
        "folds": folds,
    }


def _print_summary(info: dict[str, Any], splits: dict[str, Any], name: str, left_out: str) -> None:
    sizes = ", ".join(f"{len(splits['folds'][0][set_name])} {set_name}" for set_name in SETS)
    examples = counted(info["num_examples"], "example")
    classes = f" of {counted(len(info['classes']), 'class')}" if info["classes"] else ""
    logger.info(f"{name}: {examples}{classes}; split {info['split']} ({sizes} groups){left_out}")
