"""What the released code calls things that are called otherwise here."""

from collections.abc import Iterable

# Of VGG16's convolutions 1 to 13 in its `features`, by which the released code names a layer; what
# it then takes is what enters that convolution.
FEATURE_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def convolution_of(layer: str) -> int | None:
    """Return the convolution of what can only be a feature index, such as 28: 13; else None."""
    indices = {str(index): number for number, index in enumerate(FEATURE_INDICES, start=1)}
    number = indices.get(layer)
    return None if number is None or 1 <= int(layer) <= len(FEATURE_INDICES) else number


def convolutions_of(layers: Iterable[str], tap: str) -> dict[str, str]:
    """Return the convolution of each feature index, if layers are such; else {}.

    Raises:
        ValueError: what is an index for sure stands beside what is none, or tap is not input.
    """
    written = list(layers)
    certain = [layer for layer in written if convolution_of(layer)]
    if not certain:
        return {}
    first = certain[0]
    meaning = f"{first} is the released code's index of the input of convolution "
    meaning += f"{convolution_of(first)}"
    if tap != "input":
        raise ValueError(f"{meaning}; set at_tap = input, or write convolutions, 1 to 13")
    indices = [str(index) for index in FEATURE_INDICES]
    for layer in written:
        if layer not in indices:
            raise ValueError(f"{meaning}, but {layer} is none; write convolutions, 1 to 13")
    return {layer: str(indices.index(layer) + 1) for layer in written}
