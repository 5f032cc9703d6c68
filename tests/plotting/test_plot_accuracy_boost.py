"""The bars as drawn, and the files and lines that the script leaves."""

from collections.abc import Callable

import pytest
from matplotlib.patches import Rectangle

from plotting.plot_accuracy_boost import draw_accuracy_boost, main
from plotting.published import Bar


def test_bars_are_as_long_as_the_mean_improvement() -> None:
    bars = [
        Bar("Overall", ((50.0, 52.0), (60.0, 66.0))),
        Bar("Speech Emotion Recognition", ((70.0, 69.0),)),
    ]
    (panel,) = draw_accuracy_boost(bars).axes
    patches = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    assert [patch.get_width() for patch in patches] == pytest.approx([4.0, -1.0])
    assert [label.get_text() for label in panel.get_yticklabels()] == [bar.label for bar in bars]
    texts = [text.get_text() for text in panel.texts]
    assert "4.00" in texts
    assert "-1.00" in texts


def test_script_writes_the_figure_and_says_which_bars_differ(
    folders: list[str], figure_names: Callable[[], set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(folders)
    assert figure_names() == {"accuracy_boost"}
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("differs from the published bar") for line in lines) == 2
    assert lines[-2].endswith("figures/accuracy_boost.png")
    assert lines[-1].endswith("figures/accuracy_boost.pdf")
