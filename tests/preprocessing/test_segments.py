"""Where segments start, against cases worked out by hand from the rule of the released code."""

import pytest

from preprocessing.pipeline.segments import segment_starts


@pytest.mark.parametrize(
    ("length", "num_frames", "overlap", "starts"),
    [
        # A clip that is shorter than a segment is one.
        (1, 100, 1.0, [0]),
        (99, 100, 0.5, [0]),
        # Of 1.5 s, 189 frames, an example of 1 s (126) has frames 63 to 189.
        (189, 126, 1.0, [63]),
        # No overlap: the rest at the beginning becomes a segment only above 2 x 100 frames.
        (100, 100, 1.0, [0]),
        (101, 100, 1.0, [1]),
        (150, 100, 1.0, [50]),
        (199, 100, 1.0, [99]),
        (200, 100, 1.0, [0, 100]),
        (201, 100, 1.0, [0, 1, 101]),
        (250, 100, 1.0, [0, 50, 150]),
        (300, 100, 1.0, [0, 100, 200]),
        (399, 100, 1.0, [0, 99, 199, 299]),
        # Step of half a segment: the rest counts only above 1.5 x 100 frames.
        (140, 100, 0.5, [40]),
        (150, 100, 0.5, [0, 50]),
        (151, 100, 0.5, [0, 1, 51]),
        (200, 100, 0.5, [0, 50, 100]),
        (230, 100, 0.5, [0, 30, 80, 130]),
        # The step is rounded: 751 x 0.5 = 375.5 is 376.
        (1127, 751, 0.5, [0, 376]),
        # A step that would round to less than a frame is one frame.
        (4, 3, 0.1, [0, 1]),
        # 2.6 s at 126 frames a second.
        (326, 126, 1.0, [0, 74, 200]),
    ],
)
def test_starts(length: int, num_frames: int, overlap: float, starts: list[int]) -> None:
    assert segment_starts(length, num_frames, overlap) == starts
