"""Segments against cases worked out by hand from the rule of the released code."""

import numpy as np
import pytest

from preprocessing.pipeline.segments import cut_segments, fit_to_length


def numbered(num_frames: int) -> np.ndarray:
    """Frames whose first bin is their own number, from 1."""
    frames = np.arange(1, num_frames + 1, dtype=np.float32)
    return np.stack([frames, -frames], axis=1)


@pytest.mark.parametrize(
    ("length", "num_frames", "overlap", "starts"),
    [
        # No overlap: the rest becomes a segment only above 2 x 100 frames.
        (100, 100, 1.0, [0]),
        (101, 100, 1.0, [0]),
        (150, 100, 1.0, [0]),
        (199, 100, 1.0, [0]),
        (200, 100, 1.0, [0, 100]),
        (201, 100, 1.0, [0, 100, 101]),
        (250, 100, 1.0, [0, 100, 150]),
        (300, 100, 1.0, [0, 100, 200]),
        (399, 100, 1.0, [0, 100, 200, 299]),
        # Step of half a segment: the rest counts only above 1.5 x 100 frames.
        (140, 100, 0.5, [0]),
        (150, 100, 0.5, [0, 50]),
        (151, 100, 0.5, [0, 50, 51]),
        (200, 100, 0.5, [0, 50, 100]),
        (230, 100, 0.5, [0, 50, 100, 130]),
        # A step that would round to less than a frame is one frame.
        (4, 3, 0.1, [0, 1]),
        # 2.6 s at 126 frames a second.
        (326, 126, 1.0, [0, 126, 200]),
    ],
)
def test_starts(length: int, num_frames: int, overlap: float, starts: list[int]) -> None:
    features = numbered(length)
    segments = cut_segments(features, num_frames, overlap)
    assert [first for first, _ in segments] == starts
    for first, segment in segments:
        np.testing.assert_array_equal(segment, features[first : first + num_frames])
        assert segment.shape == (num_frames, 2)


@pytest.mark.parametrize("overlap", [0.5, 1.0])
def test_short_clip_is_padded_at_its_end(overlap: float) -> None:
    ((first, segment),) = cut_segments(numbered(3), 5, overlap)
    assert first == 0
    assert segment.dtype == np.float32
    np.testing.assert_array_equal(segment[:, 0], [1, 2, 3, 0, 0])


@pytest.mark.parametrize(("num_frames", "overlap"), [(0, 1.0), (5, 0.0), (5, 1.1), (5, -1.0)])
def test_impossible_sizes(num_frames: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap"):
        cut_segments(numbered(10), num_frames, overlap)


@pytest.mark.parametrize(
    ("length", "expected"), [(2, [1, 2, 0, 0]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4])]
)
def test_whole_clip_as_one_example(length: int, expected: list[int]) -> None:
    ((first, segment),) = fit_to_length(numbered(length), 4)
    assert first == 0
    np.testing.assert_array_equal(segment[:, 0], expected)
