"""What the report makes of measured invariance: paired by seed, stale files left out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import UserError
from plotting.comparisons import compare
from plotting.findings import find
from plotting.invariance_files import read_measured
from plotting.invariance_findings import (
    InvarianceFindings,
    find_invariance,
    invariance_sentences,
    invariance_tables,
)
from plotting.runs import Run, run_of

MakeResult = Callable[..., dict[str, Any]]
AGAINST = {"kind": "anti_transfer", "anti_transfer": True, "at_dataset": "noisyspeech"}
BASELINE = (0.50, 0.55, 0.52, 0.56, 0.54, 0.51)


def run(make_result: MakeResult, seed: int, experiment: int, **parameters: Any) -> Run:
    result = make_result(0.5, seed, experiment, **parameters)
    return run_of(result, experiment, f"e{experiment}_s{seed}")


def measure(folder: Path, of: Run, probe: float, **changes: Any) -> Path:
    content = {
        "fingerprint": of.fingerprint,
        "num_examples": 160,
        "labels": {
            "class_name": {"role": "target", "num_classes": 10, "chance": 0.1},
            "noise_type": {"role": "orthogonal", "num_classes": 11, "chance": 0.12},
        },
        "left_out_labels": {"speaker": "too few clips"},
        "layers": [
            {
                "layer": layer,
                "activation_norm": 0.5,
                "probes": {
                    "noise_type": {"accuracy": probe, "shuffled": 0.11},
                    "class_name": {"accuracy": 0.6, "shuffled": 0.1},
                },
                "frozen": {"noisyspeech": {"linear_cka": 0.4, "gram_cosine": 0.9}},
            }
            for layer in ("2", "13", "penultimate")
        ],
        **changes,
    }
    path = folder / f"experiment_{of.experiment}" / "invariance" / f"invariance_{of.stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def found_of(runs: list[Run], folder: Path) -> InvarianceFindings:
    (comparison,) = compare(runs)
    found = find_invariance(find(comparison), read_measured(folder, runs))
    assert found is not None
    return found


def measured_runs(make_result: MakeResult, folder: Path, gains: tuple[float, ...]) -> list[Run]:
    runs = []
    for seed, gain in enumerate(gains):
        baseline, other = run(make_result, seed, 5), run(make_result, seed, 28, **AGAINST)
        measure(folder, baseline, BASELINE[seed])
        measure(folder, other, BASELINE[seed] + gain)
        runs += [baseline, other]
    return runs


def test_a_lower_probe_of_an_orthogonal_label_is_more_invariance(
    make_result: MakeResult, tmp_path: Path
) -> None:
    """Six pairs, -17 points on average: 53.0 % of the baseline, 36.0 % of the method."""
    gains = (-0.16, -0.18, -0.17, -0.15, -0.19, -0.17)
    found = found_of(measured_runs(make_result, tmp_path, gains), tmp_path)
    sentence, left_out = invariance_sentences(found)
    assert "with 36.0 %, of the baseline with 53.0 % (chance 12.0 %): -17.0 points" in sentence
    assert "p = 0.031 (6 pairs): the network is more invariant to it" in sentence
    assert left_out == "speaker: no probe was possible: too few clips."


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.16, 0.18, 0.17, 0.15, 0.19, 0.17), "the network is less invariant to it."),
        ((0.01, -0.02, 0.01, 0.0, -0.01, 0.02), "do not show that the network became more or less"),
        ((-0.16,), "one pair cannot tell this from training noise."),
    ],
)
def test_nothing_and_the_contrary_are_said_as_well(
    make_result: MakeResult, tmp_path: Path, gains: tuple[float, ...], verdict: str
) -> None:
    found = found_of(measured_runs(make_result, tmp_path, gains), tmp_path)
    assert verdict in invariance_sentences(found)[0]


def test_collapsed_networks_are_no_success(make_result: MakeResult, tmp_path: Path) -> None:
    gains = (-0.16, -0.18, -0.17, -0.15, -0.19, -0.17)
    measured_runs(make_result, tmp_path, gains)
    results = [make_result(0.5, seed, 28, **AGAINST) for seed in range(6)]
    for result in results:
        result["0"]["collapsed"] = True
    runs = [run(make_result, seed, 5) for seed in range(6)]
    runs += [run_of(result, 28, f"e28_s{seed}") for seed, result in enumerate(results)]
    sentence = invariance_sentences(found_of(runs, tmp_path))[0]
    assert "6 of its 6 runs collapsed" in sentence


def test_so_few_pairs_say_how_many_are_needed(make_result: MakeResult, tmp_path: Path) -> None:
    """Three pairs; and six of two methods, for which seven are needed."""
    runs = measured_runs(make_result, tmp_path, (-0.16, -0.18, -0.17))
    found = found_of(runs, tmp_path)
    sentence = invariance_sentences(found)[0]
    assert "less invariant (3 pairs cannot show any difference: at least 6 rep" in sentence
    assert "could show" not in [column.name for column in invariance_tables(found, "01")[0].columns]
    runs = measured_runs(make_result, tmp_path, (0.01, -0.02, 0.01, 0.0, -0.01, 0.02))
    assert (
        "(6 pairs with this spread could have shown one of"
        in (invariance_sentences(found_of(runs, tmp_path))[0])
    )
    for seed in range(6):
        other = run(make_result, seed, 29, **AGAINST, at_beta=3.0)
        measure(tmp_path, other, 0.3 + seed**2 / 100)
        runs.append(other)
    for sentence in invariance_sentences(found_of(runs, tmp_path))[:2]:
        assert "(6 pairs, corrected over 2 methods, cannot show any difference: at least 7" in (
            sentence
        )


def test_results_on_other_features_have_their_own_measurements(
    make_result: MakeResult, tmp_path: Path
) -> None:
    """Both are instance 1 of experiment 5; their files differ in name."""
    runs = []
    for features, probe in (("spectrum_fast", 0.7), ("mfcc", 0.2)):
        result = make_result(0.5, 0, 5, features_type=features)
        runs.append(run_of(result, 5, f"gsc_{features}_exp5_run1"))
        measure(tmp_path, runs[-1], probe)
    measured = read_measured(tmp_path, runs)
    for one, probe in zip(runs, (0.7, 0.2), strict=True):
        invariance = measured.of(one)
        assert invariance is not None
        assert invariance.layers[0].probes["noise_type"].accuracy == probe


def labels_with(**changes: Any) -> dict[str, Any]:
    label = {"role": "orthogonal", "num_classes": 11, "chance": 0.12}
    return {"noise_type": {**label, **changes}}


def test_what_the_probe_kept_apart_is_named(make_result: MakeResult, tmp_path: Path) -> None:
    one, other = run(make_result, 0, 5), run(make_result, 0, 28, **AGAINST)
    for each in (one, other):
        measure(tmp_path, each, 0.5, labels=labels_with(grouped_by="noise", not_apart=[]))
    found = found_of([one, other], tmp_path)
    said = "noise_type: no noise is on both sides of the cross-validation."
    assert invariance_sentences(found)[0] == said
    last = invariance_tables(found, "01")[0]
    column = [each.name for each in last.columns].index("kept apart")
    assert {row[column] for row in last.rows} == {"noise"}
    for each in (one, other):
        labels = labels_with(grouped_by="speaker", not_apart=["noise"])
        measure(tmp_path, each, 0.5, labels=labels)
    assert invariance_sentences(found_of([one, other], tmp_path))[0] == (
        "noise_type: no speaker is on both sides of the cross-validation, but recordings (noise) "
        "are: with one recording per type, the type cannot be told from the recording."
    )
    measure(tmp_path, one, 0.5, labels=labels_with(grouped_by="noise"))
    assert (
        "not all networks were probed alike"
        in (invariance_sentences(found_of([one, other], tmp_path))[0])
    )


def test_a_file_of_an_earlier_result_is_left_out_and_named(
    make_result: MakeResult, tmp_path: Path
) -> None:
    runs = measured_runs(make_result, tmp_path, (-0.1, -0.2))
    stale = measure(tmp_path, runs[1], 0.3, fingerprint="another")
    measured = read_measured(tmp_path, runs)
    assert measured.of(runs[1]) is None
    assert measured.of(runs[0]) is not None
    (said,) = measured.ignored
    assert stale.name in said
    assert "python training/invariance.py [28]" in said


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"layers": [{"layer": "1", "probes": {"a": {"accuracy": 2, "shuffled": 0}}}]}, "accuracy"),
        ({"labels": {"a": {"role": "x", "num_classes": 2, "chance": 0.5}}}, "role"),
        ({"fingerprint": 3}, "fingerprint"),
        ({"layers": 3}, "layers"),
    ],
)
def test_a_damaged_file_is_one_line(
    make_result: MakeResult, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    one = run(make_result, 0, 5)
    measure(tmp_path, one, 0.5, **changes)
    with pytest.raises(UserError, match=problem) as error:
        read_measured(tmp_path, [one])
    assert str(error.value).isprintable()


def test_a_link_is_not_followed(make_result: MakeResult, tmp_path: Path) -> None:
    one = run(make_result, 0, 5)
    path = measure(tmp_path, one, 0.5)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match="symbolic link"):
        read_measured(tmp_path, [one])


def test_tables_hold_probes_and_layers_in_the_networks_order(
    make_result: MakeResult, tmp_path: Path
) -> None:
    found = found_of(measured_runs(make_result, tmp_path, (-0.1, -0.2, -0.15)), tmp_path)
    assert found.layers == ("2", "13", "penultimate")
    assert list(found.labels) == ["noise_type", "class_name"]
    last, layers = invariance_tables(found, "01")
    names = [column.name for column in last.columns]
    method = dict(zip(names, last.texts()[1], strict=True))
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
