"""Long clips are cut, short ones padded, so that all examples have the same number of frames."""

import numpy as np

from preprocessing.pipeline.features import Features


def cut_segments(features: Features, num_frames: int, overlap: float) -> list[tuple[int, Features]]:
    """Examples of exactly num_frames frames, each with the frame it starts at.

    A clip shorter than num_frames is zero-padded at its end. A longer one is cut every
    overlap x num_frames frames (1.0: no overlap); what is left at its end becomes one more example,
    from the end of the clip, only if the clip has more than (1 + overlap) x num_frames frames.

    Args:
        features: (frames, bins).
        num_frames: frames of an example, 1 or more.
        overlap: step as a fraction of num_frames, above 0 up to 1.
    """
    if num_frames < 1 or not 0 < overlap <= 1:
        raise ValueError(f"num_frames {num_frames} must be positive, overlap {overlap} in (0, 1]")
    length = len(features)
    if length <= num_frames:
        padding = ((0, num_frames - length), (0, 0))
        return [(0, np.pad(features, padding))]
    step = max(1, int(num_frames * overlap))
    starts = list(range(0, length - num_frames + 1, step))
    rest_is_left = starts[-1] + num_frames < length
    if rest_is_left and length > (1 + overlap) * num_frames:
        starts.append(length - num_frames)
    return [(start, features[start : start + num_frames]) for start in starts]


def fit_to_length(features: Features, num_frames: int) -> list[tuple[int, Features]]:
    """The whole clip as one example, padded with zeros or cut at its end."""
    return cut_segments(features[:num_frames], num_frames, 1.0)
