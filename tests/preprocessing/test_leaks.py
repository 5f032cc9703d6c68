"""What the sets of a split share."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.errors import UserError
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.leaks import (
    describe_split,
    one_group_for_equal_audio,
    refuse_equal_audio,
    shared_sources,
)

FOLD = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}


def clips(*groups: str, speakers: str = "") -> list[Clip]:
    return [
        Clip(Path(f"{group}.wav"), group, 0, "zero", group, {"speaker": speaker})
        for group, speaker in zip(groups, speakers or "?" * len(groups), strict=True)
    ]


def test_equal_audio_shares_the_first_clip_s_group() -> None:
    grouped = one_group_for_equal_audio(clips("a", "b", "c", "d"), ["1", "2", "1", "2"])
    assert [clip.group for clip in grouped] == ["a", "b", "a", "b"]
    assert [clip.name for clip in grouped] == ["a", "b", "c", "d"]


def test_a_clip_that_no_set_has_is_refused() -> None:
    """It would be missing from training and test without a word."""
    with pytest.raises(UserError, match=r"corpus: e \(e\) is in none of the sets"):
        refuse_equal_audio("corpus", clips("a", "b", "e"), ["1", "2", "3"], [FOLD])


def test_every_fold_is_looked_at() -> None:
    other = {"train": ["a", "c"], "validation": ["b"], "test": ["d"]}
    with pytest.raises(UserError, match="hold the same audio"):
        refuse_equal_audio("corpus", clips("a", "b", "c", "d"), ["1", "1", "2", "3"], [FOLD, other])


def test_shared_speakers_are_counted() -> None:
    shares = shared_sources(clips("a", "b", "c", "d", speakers="xyxz"), ["speaker"], FOLD)
    assert shares == {"speaker": {"shared": 1, "of": 3}}
    assert describe_split("random by clip", shares) == "random by clip: speakers shared"


@pytest.mark.parametrize(
    ("speakers", "words"),
    [
        (["x", "y", "z", ""], "no speaker shared, speaker of 1 clip not known"),
        (["x", "", "x", ""], "speakers shared, speaker of 2 clips not known"),
        (["", "", "", ""], "speaker of 4 clips not known"),
    ],
)
def test_clips_without_a_speaker_are_of_no_speaker(speakers: list[str], words: str) -> None:
    described = [
        replace(clip, details={"speaker": speaker})
        for clip, speaker in zip(clips("a", "b", "c", "d"), speakers, strict=True)
    ]
    shares = shared_sources(described, ["speaker"], FOLD)
    assert describe_split("by room", shares) == f"by room: {words}"
