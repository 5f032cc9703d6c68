"""What the sets of a split have in common: equal audio is refused, shared sources are reported."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.errors import UserError
from config.text import counted, plural
from preprocessing.pipeline.dataset import SETS, Clip

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
        UserError: names two such clips, or that clip.
    """
    for fold in folds:
        set_of = _sets_of_groups(dataset, fold)
        seen: dict[str, Clip] = {}
        for clip, content in zip(clips, contents, strict=True):
            if clip.group not in set_of:
                raise UserError(f"{dataset}: {clip.name} ({clip.group}) is in none of the sets")
            other = seen.setdefault(content, clip)
            if set_of[other.group] != set_of[clip.group]:
                raise UserError(
                    f"{dataset}: {other.name} ({set_of[other.group]}) and {clip.name} "
                    f"({set_of[clip.group]}) hold the same audio; remove one of them from the "
                    "corpus"
                )


def _sets_of_groups(dataset: str, fold: Fold) -> dict[str, str]:
    set_of: dict[str, str] = {}
    for set_name in SETS:
        for group in fold[set_name]:
            if set_of.setdefault(group, set_name) != set_name:
                raise UserError(f"{dataset}: {group} is in {set_of[group]} and in {set_name}")
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
