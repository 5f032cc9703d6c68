"""A dataset's clips become its matrices: read, take features, cut, write, split.

Clips are worked on in blocks over all cores; one block at a time is in memory, so memory does not
grow with the corpus, and a journal lets a restart go on where the last run stopped.
"""

from contextlib import closing
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from config.command_line import preparation_command
from config.errors import UserError
from config.files import remove_partial_files, write_json, written_aside
from config.settings import Settings, display_path
from preprocessing.pipeline.audio import Clip, UnusableAudioError, audio_seconds
from preprocessing.pipeline.block_store import BlockStore
from preprocessing.pipeline.blocks import (
    SILENT,
    Notes,
    Recipe,
    Task,
    examples_of,
    extract_block,
    read_block,
)
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset
from preprocessing.pipeline.description import description, refuse_empty_classes, sharing
from preprocessing.pipeline.features import check_feature_settings, extract_features, num_frames_of
from preprocessing.pipeline.jobs import (
    Crew,
    crew_of,
    fingerprint_of,
    fingerprint_of_each,
    map_in_order,
    num_workers,
)
from preprocessing.pipeline.layout import lay_out, with_shards
from preprocessing.pipeline.leaks import (
    SETS,
    one_group_for_equal_audio,
    refuse_equal_audio,
)
from preprocessing.pipeline.matrices import (
    OWN_SPLIT,
    matrices_name,
    matrices_ready,
    open_matrices,
    part_path,
    read_info,
)
from preprocessing.pipeline.matrix_writer import put_in_place, shard_capacity, shard_lengths
from preprocessing.pipeline.processes import CAN_FORK, Results, keep_freed_memory, tasks_in_flight
from preprocessing.pipeline.shared_slots import Examples, SharedSlots
from preprocessing.pipeline.splits import split_groups
from preprocessing.pipeline.tables import write_index, write_left_out

BLOCK_CLIPS = 32
FORMAT_VERSION = 2
LARGEST_SHARED = 1 << 30  # bytes of examples on their way from the processes; more go another way
_all_but_path = attrgetter(*(field.name for field in fields(Clip) if field.name != "path"))


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
    remove_partial_files(folder)
    if _is_up_to_date(folder, name, plan):
        # A run that was killed right before its end has left its journal.
        part_path(folder, name, "predictors").with_suffix(".journal").unlink(missing_ok=True)
        _note_orthogonal_labels(dataset, folder, name)
        print(f"{name}: already there, unchanged, in {display_path(folder)}")
        lay_out(folder, name, settings.preprocessing.shard_gigabytes)
        return folder
    crew = crew_of(settings)  # before anything is given up
    print(f"{name}: {len(clips)} clips -> {display_path(folder)}")
    part_path(folder, name, "info").unlink(missing_ok=True)
    recipe = _recipe(dataset, settings, clips)
    example_shape = (recipe.num_frames, recipe.num_bins)
    capacity = shard_capacity(example_shape, settings.preprocessing.shard_gigabytes)
    predictors = part_path(folder, name, "predictors")
    journal = predictors.with_suffix(".journal")
    store = BlockStore(predictors, journal, plan, example_shape, capacity)
    records = _extract_all(clips, recipe, store, name, crew)
    _finish(dataset, settings, clips, records, folder, name, plan, capacity)
    return folder


def _recipe(dataset: Dataset, settings: Settings, clips: list[Clip]) -> Recipe:
    features, rate = settings.feature_extraction, settings.sampling.sr_target
    one_second = extract_features(np.zeros(rate, dtype=np.float32), features, rate)
    return Recipe(
        features=features,
        sample_rate=rate,
        num_frames=_num_frames(dataset, settings, clips),
        num_bins=one_second.shape[1],
        seed=settings.preprocessing.seed,
    )


def _is_up_to_date(folder: Path, name: str, plan: str) -> bool:
    try:
        return matrices_ready(folder, name) and open_matrices(folder, name).info["plan"] == plan
    except (UserError, KeyError):
        return False  # damaged files are made anew


def _note_orthogonal_labels(dataset: Dataset, folder: Path, name: str) -> None:
    """Older versions did not write them, and the matrices need not be made anew for that."""
    info, labels = read_info(folder, name), list(dataset.orthogonal_labels)
    if info.get("orthogonal_labels") != labels:
        write_json(part_path(folder, name, "info"), info | {"orthogonal_labels": labels})


def _plan_fingerprint(dataset: Dataset, settings: Settings, clips: list[Clip]) -> str:
    """What the matrices depend on; a file counts as changed when its size or time has."""
    return fingerprint_of(
        {
            "version": FORMAT_VERSION,
            "dataset": [dataset.name, dataset.split_type, dataset.classes],
            "features": settings.feature_extraction.model_dump(),
            "seconds": dataset.seconds(settings),
            "sampling": settings.sampling.model_dump(),
            "seed": settings.preprocessing.seed,
            "fractions": settings.training_defaults.fractions,
            "num_folds": settings.training_defaults.num_folds,
            "clips": fingerprint_of_each(_identity(clip) for clip in clips),
        }
    )


def _identity(clip: Clip) -> list[Any]:
    """All that is known of a clip but where the corpus lies, and its file's size and time."""
    try:
        state = clip.path.stat()
    except OSError:
        file = (0, 0)
    else:
        file = (state.st_size, state.st_mtime_ns)
    return [clip.path.name, *_all_but_path(clip), *file]


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
    clips: list[Clip], recipe: Recipe, store: BlockStore, name: str, crew: Crew
) -> list[dict[str, Any]]:
    """Write the predictors; returns what the journal says of each block."""
    keep_freed_memory()
    blocks = _extracted(clips, recipe, crew, name, done=len(store.records))
    try:
        with closing(blocks):
            for examples, notes in blocks:
                store.add(examples, vars(notes))
        store.finish()
    finally:
        store.close()
    return store.records


def _extracted(
    clips: list[Clip], recipe: Recipe, crew: Crew, name: str, done: int
) -> Results[tuple[Examples, Notes]]:
    """The examples of the blocks after those that are done, in order.

    They lie in memory that is filled again after the next ones are asked for. On a GPU the
    processes only decode, and features are taken here, where the GPU is.
    """
    blocks = _blocks(clips)
    left = blocks[done:]
    num_slots = tasks_in_flight(num_workers(crew.workers, len(left)))
    tasks = [_task(clips, block, number % num_slots) for number, block in enumerate(left)]
    finished = sum(map(len, blocks[:done]))
    slots = _slots(recipe, num_slots) if crew.cluster is None else SharedSlots(1, 0)
    results = partial(
        map_in_order,
        tasks=tasks,
        crew=crew,
        description=name,
        unit="clip",
        done=finished,
        size_of=len,
        files_of=attrgetter("files"),
    )
    if recipe.features.features_backend == "cpu":
        extract = partial(extract_block, recipe=recipe, slots=slots)
        for sent, notes in results(extract):
            yield slots.received(sent), notes
        return
    read = partial(read_block, recipe=recipe)
    for audio in results(read):
        yield examples_of(audio, recipe, partial(slots.empty, 0))


def _blocks(clips: list[Clip]) -> list[range]:
    """The clips' numbers, 32 or a few more at a time: neighbours in one file stay together."""
    blocks: list[range] = []
    first = 0
    for number in range(1, len(clips)):
        if number - first >= BLOCK_CLIPS and not _same_file(clips[number - 1], clips[number]):
            blocks.append(range(first, number))
            first = number
    return [*blocks, range(first, len(clips))] if clips else []


def _same_file(clip: Clip, other: Clip) -> bool:
    return str(clip.path) == str(other.path)  # comparing paths would leave more memory behind


def _task(clips: list[Clip], block: range, slot: int) -> Task:
    members = clips[block.start : block.stop]
    return Task(
        files=[str(clip.path) for clip in members],
        starts=[clip.start for clip in members],
        durations=[clip.duration for clip in members],
        first_number=block.start,
        slot=slot,
    )


def _slots(recipe: Recipe, num_slots: int) -> SharedSlots:
    """Each with room for twice the examples of clips that give one example each."""
    copies = recipe.features.num_aug_samples if recipe.features.augmentation else 0
    num_examples = 2 * BLOCK_CLIPS * (1 + copies)
    needed = 4 * num_examples * recipe.num_frames * recipe.num_bins
    return SharedSlots(num_slots, min(needed, LARGEST_SHARED // num_slots) if CAN_FORK else 0)


def _finish(
    dataset: Dataset,
    settings: Settings,
    clips: list[Clip],
    records: list[dict[str, Any]],
    folder: Path,
    name: str,
    plan: str,
    shard_capacity: int,
) -> None:
    """Write everything but the predictors, and put these under their final name."""
    left_out = [entry for record in records for entry in record["left_out"]]
    write_left_out(part_path(folder, name, "left_out"), clips, left_out)
    _refuse_too_many_left_out(settings, clips, left_out, part_path(folder, name, "left_out"))
    rows = [row for record in records for row in record["rows"]]
    if not rows:
        raise UserError(f"{name}: not one of {len(clips)} clips can be used")
    kept, contents = [clips[number] for number, *_ in rows], [row[-1] for row in rows]
    refuse_empty_classes(dataset, clips, kept)
    if dataset.split_type == RANDOM_BY_CLIP:
        kept = one_group_for_equal_audio(kept, contents)
    splits = _splits(dataset, settings, kept)
    refuse_equal_audio(dataset.name, kept, contents, splits["folds"])
    target = np.array([clip.label for clip in kept], dtype=np.int64)
    with written_aside(part_path(folder, name, "target")) as aside:
        np.save(aside, target)
    write_index(part_path(folder, name, "index"), kept, rows)
    write_json(part_path(folder, name, "splits"), splits)
    predictors = part_path(folder, name, "predictors")
    shards = shard_lengths(len(rows), shard_capacity)
    put_in_place(predictors, shards)
    digests = [record["digest"] for record in records]
    content = fingerprint_of([digests, target.tolist(), splits])
    info = description(dataset, settings, clips, kept, left_out) | {
        **sharing(dataset, settings, kept, splits),
        "plan": plan,
        "fingerprint": content,
    }
    write_json(part_path(folder, name, "info"), with_shards(info, shards, predictors))
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
        sets = {(clip.group, clip.fixed_set): None for clip in kept}
        folds = [{name: [g for g, fixed in sets if fixed == name] for name in SETS}]
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


def _print_summary(info: dict[str, Any], splits: dict[str, Any], folder: Path, name: str) -> None:
    sizes = ", ".join(f"{len(splits['folds'][0][set_name])} {set_name}" for set_name in SETS)
    print(
        f"{name}: {info['num_examples']} examples of {len(info['classes'])} classes; "
        f"split {info['split']} ({sizes} groups)"
    )
    if info["num_left_out"]:
        where = display_path(part_path(folder, name, "left_out"))
        print(f"{name}: {info['num_left_out']} clips left out, listed in {where}")
