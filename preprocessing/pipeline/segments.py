"""Long clips are cut, short ones padded, so that all examples have the same number of frames."""


def segment_starts(length: int, num_frames: int, overlap: float) -> list[int]:
    """Return the first frames of a clip's examples in time order, each of num_frames frames.

    A clip of up to num_frames frames is one example. A longer one is cut backwards from its end, as
    the paper's release does, every overlap x num_frames frames, rounded (1.0: no overlap); what is
    left at its beginning becomes one more example, from the first frame on, only if the clip has
    more than (1 + overlap) x num_frames frames.

    Args:
        length: frames of the clip.
        num_frames: frames of an example, 1 or more.
        overlap: step as a fraction of num_frames, above 0 up to 1.
    """
    if length <= num_frames:
        return [0]
    step = max(1, round(num_frames * overlap))
    starts = list(range(length - num_frames, -1, -step))
    if starts[-1] > 0 and length > (1 + overlap) * num_frames:
        starts.append(0)
    return starts[::-1]
