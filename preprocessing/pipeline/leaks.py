"""What the sets of a split have in common: equal audio is refused, shared sources are reported."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from config.errors import refuse_all
from config.text import counted, plural
from preprocessing.pipeline.dataset import SETS, Clip

SAMPLE_BYTES = 4096

Fold = Mapping[str, Sequence[str]]


def one_group_for_equal_audio(clips: Sequence[Clip], contents: Sequence[str]) -> list[Clip]:
    """Give clips with the same samples the group of the first, so that no split divides them.

    Args:
        contents: hash of each clip's samples.
    """
    first_group: dict[str, str] = {}
    for clip, content in zip(clips, contents, strict=True):
        first_group.setdefault(content, clip.group)
    return [
        clip if clip.group == first_group[content] else replace(clip, group=first_group[content])
        for clip, content in zip(clips, contents, strict=True)
    ]


def refuse_equal_audio(
    dataset: str, clips: Sequence[Clip], contents: Sequence[str], folds: Iterable[Fold]
) -> None:
    """Refuse a split that puts the same audio into two sets, or a clip into none.

    Raises:
        UserError: names all such clips.
    """
    alike: dict[str, list[Clip]] = {}
    for clip, content in zip(clips, contents, strict=True):
        alike.setdefault(content, []).append(clip)
    problems: dict[str, None] = {}
    for fold in folds:
        set_of = sets_of_groups(dataset, fold)
        lost = [clip for clip in clips if clip.group not in set_of]
        refuse_all(dataset, [f"{each.name} ({each.group}) is in none of the sets" for each in lost])
        for same in alike.values():
            if len({set_of[clip.group] for clip in same}) > 1:
                named = [f"{clip.name} ({set_of[clip.group]})" for clip in same]
                problems[f"{' and '.join(named)} hold the same audio"] = None
    refuse_all(dataset, list(problems), "remove all but one of each from the corpus")


def same_looking(clips: Sequence[Clip]) -> list[int]:
    """Return the numbers of clips that may hold what another holds, without decoding any.

    Their stretches and the sizes, beginnings and middles of their files are the same.
    """
    by_size: dict[tuple[Any, ...], list[int]] = {}
    for number, clip in enumerate(clips):
        with suppress(OSError):
            key = (clip.path.stat().st_size, clip.start, clip.duration)
            by_size.setdefault(key, []).append(number)
    by_sample: dict[tuple[Any, ...], list[int]] = {}
    for (size, *stretch), numbers in by_size.items():
        for number in numbers if len(numbers) > 1 else ():
            with suppress(OSError), clips[number].path.open("rb") as file:
                beginning = file.read(SAMPLE_BYTES)
                file.seek(size // 2)
                key = (size, *stretch, hash((beginning, file.read(SAMPLE_BYTES))))
                by_sample.setdefault(key, []).append(number)
    return sorted(number for alike in by_sample.values() if len(alike) > 1 for number in alike)


def sets_of_groups(dataset: str, fold: Fold) -> dict[str, str]:
    """Return the set of each group.

    Raises:
        UserError: names all groups that are in more than one.
    """
    set_of: dict[str, str] = {}
    problems = []
    for set_name in SETS:
        for group in fold[set_name]:
            if set_of.setdefault(group, set_name) != set_name:
                problems.append(f"{group} is in {set_of[group]} and in {set_name}")
    refuse_all(dataset, problems)
    return set_of


def shared_sources(
    clips: Sequence[Clip], sources: Sequence[str], fold: Fold
) -> dict[str, dict[str, int]]:
    """Count for each source (speaker, session, ...) how many there are, and are in several sets.

    Where clips tell no speaker, there is "unknown" besides: how many.
    """
    set_of = {group: set_name for set_name in SETS for group in fold[set_name]}
    shares = {}
    for source in sources:
        sets: dict[Any, set[str]] = {}
        for clip in clips:
            sets.setdefault(clip.details[source], set()).add(set_of[clip.group])
        sets.pop("", None)
        shared = sum(len(names) > 1 for names in sets.values())
        unknown = sum(clip.details[source] == "" for clip in clips)
        shares[source] = {"shared": shared, "of": len(sets)} | (
            {"unknown": unknown} if unknown else {}
        )
    return shares


def describe_split(split_type: str, shares: Mapping[str, Mapping[str, int]]) -> str:
    """Return the split in words, such as "random by clip: speakers shared"."""
    shared = [plural(source) for source, count in shares.items() if count["shared"]]
    known = [source for source, count in shares.items() if count["of"]]
    parts = []
    if shared:
        parts.append(f"{', '.join(shared)} shared")
    elif known:
        parts.append(f"no {' or '.join(known)} shared")
    parts += [
        f"{source} of {counted(count['unknown'], 'clip')} not known"
        for source, count in shares.items()
        if "unknown" in count
    ]
    return ": ".join([split_type, ", ".join(parts)]) if parts else split_type
