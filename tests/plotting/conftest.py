"""Where figures go in tests, and what is drawn in them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

Curve = tuple[list[float], list[float]]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The arguments that keep a script's input and output below tmp_path."""
    results, figures = tmp_path / "results", tmp_path / "figures"
    return ["--set", f"results_folder={results}", "--set", f"figures_folder={figures}"]


@pytest.fixture
def figure_names(tmp_path: Path) -> Callable[[], set[str]]:
    """Names of the written figures, each of which must be there as a real PNG and a real PDF."""

    def names() -> set[str]:
        found = set()
        for path in (tmp_path / "figures").iterdir():
            start = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-"}[path.suffix]
            assert path.read_bytes().startswith(start)
            found.add(path.stem)
            assert path.with_suffix(".png").exists()
            assert path.with_suffix(".pdf").exists()
        return found

    return names


@pytest.fixture
def curves_of() -> Callable[[Axes], list[Curve]]:
    """x and y of each curve in a panel, straight lines of two points left out."""

    def curves(panel: Axes) -> list[Curve]:
        points = [np.asarray(line.get_xydata(), dtype=float) for line in panel.get_lines()]
        return [(xy[:, 0].tolist(), xy[:, 1].tolist()) for xy in points if len(xy) > 2]

    return curves
