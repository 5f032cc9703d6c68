"""Parts of the test set against loops over the made results' folds."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from plotting.reporting.compare import compare
from plotting.reporting.findings import Findings, find
from plotting.reporting.subsets import MOST_VALUES, subset_tables
from plotting.reporting.table import Table
from plotting.reporting.tables import main_table
from tests.synthetic_results import AGAINST_NOISE, loaded, make_result

Results = list[dict[str, Any]]


def findings_of(results: Results) -> Findings:
    (comparison,) = compare(loaded(results))
    return find(comparison)


def table_of(findings: Findings, name: str) -> Table:
    (table,) = [each for each in subset_tables(findings, "01") if each.name == f"01_{name}"]
    return table


def cross_validated(has_segments: bool) -> Results:
    """Baseline and method with two repetitions of three folds, a speaker in each fold."""
    results = []
    for experiment, gain, own in ((5, 0.0, {}), (28, 0.1, AGAINST_NOISE)):
        for seed in (0, 1):
            result = make_result(0.5 + gain, seed, experiment, **own)
            base = result.pop("0")
            for fold in range(3):
                level = 0.4 + gain + 0.1 * fold + 0.02 * seed
                examples = 40 + fold
                speaker = {"examples": examples, "acc": level, "uar": level - 0.05}
                result[str(fold)] = {
                    **base,
                    "test_examples": examples,
                    "test_clips": 20 if has_segments else examples,
                    "test_acc": level,
                    "test_uar": level - 0.1,
                    "test_clip_acc": level + 0.05,
                    "test_clip_uar": level + 0.03,
                    "test_groups": {"speaker": {f"speaker {fold}": speaker}},
                }
            results.append(result)
    return results


@pytest.mark.parametrize("has_segments", [False, True])
def test_folds_stand_in_a_table_as_papers_have_it(has_segments: bool) -> None:
    """Fold by fold the mean over two seeds, 0.01 above the first; then mean and sd of the three."""
    table = table_of(findings_of(cross_validated(has_segments)), "folds")
    shown = table.shown()
    word = "clip " if has_segments else ""
    assert list(shown.columns) == ["method", "runs", f"{word}WA %", f"{word}UAR %"]
    wa, uar = (5.0, 3.0) if has_segments else (0.0, -10.0)
    for row, gain in enumerate((0.0, 10.0)):
        folds = [41.0 + gain + 10 * fold for fold in range(3)]
        for place, shift in ((2, wa), (3, uar)):
            mean = fmean(folds) + shift
            assert table.rows[row][place] == pytest.approx((mean, stdev(folds)))


def test_speakers_of_a_cross_validation_are_rows_with_wa_and_uar() -> None:
    table = table_of(findings_of(cross_validated(has_segments=True)), "values_speaker")
    assert not table.folded
    first, *_ = table.readable.rows
    assert first[0] == "speaker 0"
    assert first[1] == 40
    assert first[2] == pytest.approx((41.0, 100 * stdev((0.40, 0.42))))
    assert first[3] == pytest.approx((36.0, 100 * stdev((0.35, 0.37))))
    assert first[4] == pytest.approx((51.0, 100 * stdev((0.50, 0.52))))


def test_aligned_conflicting_and_worst_are_means_over_the_runs() -> None:
    results = []
    for seed, (aligned, conflicting, quiet) in enumerate(((0.9, 0.3, 0.2), (0.8, 0.5, 0.9))):
        result = make_result(0.5, seed, 5)
        result["0"]["test_alignment"] = {
            "label": "noise_type",
            "aligned": {"examples": 10, "acc": aligned, "uar": 0.1},
            "conflicting": {"examples": 90, "acc": conflicting, "uar": 0.1},
        }
        result["0"]["test_groups"] = {
            "noise_type": {
                "quiet": {"examples": 10, "acc": quiet, "uar": 0.5},
                "loud": {"examples": 50, "acc": 0.6, "uar": 0.5},
                "rare": {"examples": 9, "acc": 0.0, "uar": 0.0},
            }
        }
        results.append(result)
    findings = findings_of(results)
    (row,) = main_table(findings).shown().to_dict("records")
    assert row["aligned %"] == "85.0 ± 7.1"
    assert row["conflicting %"] == "40.0 ± 14.1"
    (row,) = table_of(findings, "worst").shown().to_dict("records")
    # Quiet is worst in the first run, loud in the second; rare has too few examples.
    assert row["worst noise_type %"] == f"40.0 ± {stdev((20, 60)):.1f}"
    assert row["worst noise_type"] in ("quiet", "loud")
    values = table_of(findings, "values_noise_type")
    assert [cells[0] for cells in values.rows] == ["quiet", "loud", "rare"]


def test_of_a_regression_the_largest_error_is_worst() -> None:
    """Two folds of 10 and 30 examples: the root of the mean of squares over all 40."""
    result = make_result(0.5, 0, 5, "regression")
    result["1"] = {**result["0"]}
    for fold, (examples, error) in enumerate(((10, 0.2), (30, 0.6))):
        group = {"examples": examples, "RMSE": error, "MAE": 0.1, "CCC": 0.5}
        fine = {"examples": 10, "RMSE": 0.1, "MAE": 0.1, "CCC": 0.9}
        result[str(fold)]["test_groups"] = {"room": {"hall": group, "cellar": fine}}
    (row,) = table_of(findings_of([result]), "worst").rows
    assert row[2] == pytest.approx((((10 * 0.2**2 + 30 * 0.6**2) / 40) ** 0.5,))
    assert row[3] == "hall"


def test_many_values_are_capped_for_people_and_whole_in_the_csv(tmp_path: Path) -> None:
    result = make_result(0.5, 0, 5)
    groups = {
        f"speaker {number}": {"examples": 12, "acc": number / 50, "uar": 0.5}
        for number in range(MOST_VALUES + 5)
    }
    result["0"]["test_groups"] = {"speaker": groups}
    table = table_of(findings_of([result]), "values_speaker")
    csv, tex, markdown = table.write(tmp_path)
    assert csv.read_text().count("speaker ") == MOST_VALUES + 5
    assert "UAR" in csv.read_text()
    for path in (tex, markdown):
        text = path.read_text()
        assert f"speaker {MOST_VALUES - 1} " in text
        assert f"speaker {MOST_VALUES} " not in text
        assert "5 more rows stand in the CSV file." in text
        assert "UAR" not in text


def test_old_results_have_no_such_tables() -> None:
    assert list(subset_tables(findings_of([make_result(0.5, 0, 5)]), "01")) == []
