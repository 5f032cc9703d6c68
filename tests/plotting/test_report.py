"""The report as a user asks for it: what is written, what is refused, what a rerun leaves."""

from pathlib import Path

import pytest

from config.errors import UserError
from plotting.report import main
from tests.synthetic_results import write_rich_results


def test_a_rerun_leaves_no_file_of_an_earlier_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = write_small(tmp_path)
    assert main(arguments) == 0
    report = tmp_path / "results" / "report"
    own = report / "tables" / "own.md"
    own.write_text("mine")
    gone = report / "tables" / "99_gone.csv"
    gone.write_text("earlier")
    first = (report / "report.html").read_bytes()
    assert main(arguments) == 0
    assert (report / "report.html").read_bytes() == first
    assert not gone.exists()
    assert own.exists()
    assert not list(report.rglob("*.partial*"))
    assert "report.html (open it in a browser)" in capsys.readouterr().out


def write_small(folder: Path) -> list[str]:
    """Two experiments with results, of which next to nothing is drawn."""
    arguments = write_rich_results(folder, [3], 2, drawn=())
    for path in (folder / "results").glob("experiment_20[!01]"):
        path.rename(folder / f"away_{path.name}")
    for path in (folder / "results").glob("*/invariance/*.json"):
        path.unlink()
    return arguments


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["[999]"], "no experiment or family 999"),
        (["[200]", "0"], r"only \[IDs\] can be given"),
        (["[206]"], r"none of these experiments has a finished instance; run one"),
    ],
)
def test_wrong_words_are_one_line(tmp_path: Path, words: list[str], problem: str) -> None:
    arguments = write_small(tmp_path)
    with pytest.raises(UserError, match=problem):
        main([*words, *arguments])


def test_a_damaged_result_is_one_line(tmp_path: Path) -> None:
    arguments = write_small(tmp_path)
    next((tmp_path / "results" / "experiment_200" / "results").glob("*.json")).write_text("{}")
    with pytest.raises(UserError, match="is no result of this project: 0 is missing"):
        main(arguments)
