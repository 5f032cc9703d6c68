"""What the report makes of measured invariance: paired by seed, stale files left out."""

from pathlib import Path
from typing import Any

import pytest

from config.errors import UserError
from plotting.reporting.compare import compare
from plotting.reporting.findings import find
from plotting.reporting.invariance import (
    InvarianceFindings,
    find_invariance,
    invariance_sentences,
    invariance_tables,
)
from tests.synthetic_results import (
    AGAINST_NOISE,
    loaded,
    make_result,
    probed_layer,
    write_analysis,
)
from training.probing.files import load_analyses

BASELINE = (0.50, 0.55, 0.52, 0.56, 0.54, 0.51, 0.53)
Contents = list[dict[str, Any]]


def measure(folder: Path, result: dict[str, Any], probe: float, **changes: Any) -> Path:
    layers = [probed_layer(layer, probe) for layer in ("2", "13", "penultimate")]
    return write_analysis(folder, result, **{"layers": layers, **changes})


def found_of(contents: Contents, folder: Path) -> InvarianceFindings:
    results = loaded(contents)
    (comparison,) = compare(results)
    found = find_invariance(find(comparison), load_analyses(folder, results)[0])
    assert found is not None
    return found


def measured_runs(folder: Path, gains: tuple[float, ...]) -> Contents:
    runs = []
    for seed, gain in enumerate(gains):
        baseline, other = make_result(0.5, seed, 5), make_result(0.5, seed, 28, **AGAINST_NOISE)
        measure(folder, baseline, BASELINE[seed])
        measure(folder, other, BASELINE[seed] + gain)
        runs += [baseline, other]
    return runs


def test_a_lower_probe_of_an_orthogonal_label_is_more_invariance(tmp_path: Path) -> None:
    """Seven pairs, -17 points on average: 53.0 % of the baseline, 36.0 % of the method.

    p is 2 / 128 of one label, corrected over two: the target's probes stand in the table, too.
    """
    gains = (-0.16, -0.18, -0.17, -0.15, -0.19, -0.17, -0.17)
    found = found_of(measured_runs(tmp_path, gains), tmp_path)
    sentence, left_out = invariance_sentences(found)
    assert "with 36.0 %, of the baseline with 53.0 % (chance 12.0 %): -17.0 points" in sentence
    assert "p = 0.031 (7 pairs): the network is more invariant to it" in sentence
    assert left_out == "speaker: no probe was possible: too few clips."


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.16, 0.18, 0.17, 0.15, 0.19, 0.17, 0.17), "the network is less invariant to it."),
        (
            (0.01, -0.02, 0.01, 0.0, -0.01, 0.02, 0.01),
            "do not show that the network became more or less",
        ),
        ((-0.16,), "one pair cannot tell this from training noise."),
    ],
)
def test_nothing_and_the_contrary_are_said_as_well(
    tmp_path: Path, gains: tuple[float, ...], verdict: str
) -> None:
    found = found_of(measured_runs(tmp_path, gains), tmp_path)
    assert verdict in invariance_sentences(found)[0]


def test_a_file_of_an_earlier_result_is_left_out_and_named(tmp_path: Path) -> None:
    runs = measured_runs(tmp_path, (-0.1, -0.2))
    stale = measure(tmp_path, runs[1], 0.3, fingerprint="another")
    first, second, *_ = results = loaded(runs)
    analyses, (said,) = load_analyses(tmp_path, results)
    assert first.stem in analyses
    assert second.stem not in analyses
    assert stale.name in said
    assert "python training/invariance.py [28]" in said


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"layers": [{"layer": "1", "probes": {"a": {"accuracy": 2, "shuffled": 0}}}]}, "accuracy"),
        ({"labels": {"a": {"role": "x", "num_examples": 2, "chance": 0.5}}}, "role"),
        ({"fingerprint": 3}, "fingerprint"),
        ({"layers": 3}, "layers"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    one = make_result(0.5, 0, 5)
    measure(tmp_path, one, 0.5, **changes)
    with pytest.raises(UserError, match=problem) as error:
        load_analyses(tmp_path, loaded([one]))
    assert str(error.value).isprintable()


def test_tables_hold_probes_and_layers_in_the_networks_order(tmp_path: Path) -> None:
    found = found_of(measured_runs(tmp_path, (-0.1, -0.2, -0.15)), tmp_path)
    assert found.layers == ("2", "13", "penultimate")
    assert list(found.labels) == ["noise_type", "class_name"]
    last, layers = invariance_tables(found, "01")
    method = last.shown().iloc[1]
    assert method["label"] == "noise_type"
    assert method["probe %"] == "37.3 ± 2.5"
    assert method["shuffled %"] == "11.0 ± 0.0"
    assert method["difference"] == "-15.0"
    columns = [column.name for column in layers.columns]
    assert columns[2:] == [
        "activation norm",
        "noise_type probe %",
        "class_name probe %",
        "CKA to noisyspeech",
        "Gram cosine to noisyspeech",
    ]
    assert len(layers.rows) == 2 * 3
