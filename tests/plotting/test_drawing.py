"""Figures are the same and are written whatever the user's matplotlib is set to."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.typing import RcKeyType

from config.text import PROJECT_FOLDER
from plotting.drawing import figure_style, figures_attempted, new_figure, write_figure


def drawn(folder: Path) -> list[bytes]:
    """PNG and PDF of a figure with a curve and text."""
    with figure_style():
        figure, (panel,) = new_figure(3, 2)
        panel.plot([0.5, 1.5], [1, 1000], label="a $ b")
        panel.set_title("title")
        panel.legend()
        return [path.read_bytes() for path in write_figure(figure, folder, "figure")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return drawn(tmp_path_factory.mktemp("expected"))


@pytest.mark.parametrize(
    "settings",
    [
        {"text.usetex": True},
        {"figure.facecolor": "black", "axes.facecolor": "black", "text.color": "white"},
        {"font.family": "monospace", "font.size": 20},
        {"savefig.bbox": "tight", "savefig.transparent": True, "figure.dpi": 30},
        {"axes.formatter.use_locale": True, "axes.prop_cycle": "cycler('color', ['r'])"},
    ],
)
def test_a_matplotlibrc_changes_no_figure(
    tmp_path: Path, settings: dict[RcKeyType, Any], expected: list[bytes]
) -> None:
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        assert drawn(tmp_path) == expected
        assert dict(matplotlib.rcParams) == before


def test_figures_are_written_in_any_environment(tmp_path: Path) -> None:
    """A backend that there is not, settings that nobody can read, a home that is none."""
    (tmp_path / "rc").write_bytes(b"\xff\xfe text.usetex: True\n")
    broken = {"MPLBACKEND": "nonsense"} | dict.fromkeys(
        ("MATPLOTLIBRC", "HOME"), str(tmp_path / "rc")
    )
    done = subprocess.run(
        [
            *(sys.executable, "plotting/plot_accuracy_boost.py"),
            *("--set", f"figures_folder={tmp_path / 'figures'}"),
        ],
        cwd=PROJECT_FOLDER,
        env={key: text for key, text in os.environ.items() if not key.startswith("XDG_")} | broken,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "figures" / "accuracy_boost.png").exists()


@pytest.mark.parametrize("error", [RuntimeError("no latex"), OSError(28, "no space"), KeyError(1)])
def test_what_cannot_be_drawn_is_said(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise error

    with figures_attempted("the training"):
        fails()
    said = capsys.readouterr().out
    assert said == f"warning: no figure of the training: {type(error).__name__}: {error}\n"
