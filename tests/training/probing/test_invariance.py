"""The command on two trained experiments: what its files hold, what is computed again, errors."""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training import invariance
from training.probing import analysis as invariance_analysis
from training.probing.files import invariance_path

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

NUM_EXAMPLES = 150
SPLIT: dict[str, Any] = {
    "train_split": 0.4,
    "validation_split": 0.1,
    "test_split": 0.5,
    "num_epochs": 1,
}
OPTIONS = [word for key, value in SPLIT.items() for word in ("--set", f"{key}={value}")]
AGAINST = {"anti_transfer": True, "at_layer": 3}


def write_labels(suite: "Suite", examples: "Examples") -> None:
    """Each example has a noise that is loud and clear, a speaker, and a session of speakers."""
    generator = np.random.default_rng(8)
    noise = generator.permutation(np.arange(NUM_EXAMPLES) % 2)
    speaker = generator.permutation(np.arange(NUM_EXAMPLES) % 6)
    examples.predictors[noise == 1] += 3.0
    suite.write_matrices(examples=examples)
    path = suite.matrices / "tiny_spectrum_fast_index.csv"
    header, *rows = path.read_text().splitlines()
    rows = [
        f"{row},{('hum', 'hiss')[noise[number]]},speaker{speaker[number]},s{speaker[number] % 3},x"
        for number, row in enumerate(rows)
    ]
    path.write_text("\n".join([f"{header},noise_type,speaker,session,same", *rows]) + "\n")
    path = suite.matrices / "tiny_spectrum_fast_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "orthogonal_labels": ["noise_type", "speaker"]}))


@pytest.fixture(scope="module")
def trained(make_suite: Callable[[], "Suite"]) -> "Suite":
    from tests.conftest import band_examples

    suite = make_suite()
    write_labels(suite, band_examples(num_examples=NUM_EXAMPLES))
    suite.write_extractor()
    suite.write_experiment(1)
    suite.write_experiment(2, {**AGAINST, "at_dataset": "noisyspeech"}, {"repeat": 2})
    suite.write_experiment(3, {**AGAINST, "at_dataset": "random"})
    for identifier, number in ((1, 1), (2, 1), (3, 1)):
        suite.run(identifier, number, **SPLIT)
    analyse(suite, "[1,2,3]", "-1")
    return suite


@pytest.fixture
def copy(trained: "Suite", monkeypatch: pytest.MonkeyPatch) -> Iterator["Suite"]:
    """The trained suite, whose results and data a test may spoil; probes take no time there."""
    monkeypatch.setattr(invariance_analysis, "probe_accuracy", lambda *_, **__: 0.125)
    kept = trained.folder.with_name(f"{trained.folder.name}_kept")
    shutil.copytree(trained.folder, kept)
    yield trained
    shutil.rmtree(trained.folder)
    kept.rename(trained.folder)


def analyse(suite: "Suite", *words: str) -> int:
    arguments = [*suite.arguments, *OPTIONS, *words]
    return invariance.main(invariance.build_parser().parse_intermixed_args(arguments))


def content(suite: "Suite", identifier: int, number: int = 1) -> Any:
    return json.loads(invariance_path(suite.files(identifier, number)).read_text())


def changed_at(suite: "Suite", *identifiers: int) -> list[int]:
    return [invariance_path(suite.files(each)).stat().st_mtime_ns for each in identifiers]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a network ran")

    monkeypatch.setattr(invariance_analysis, "layer_contents", refuse)


def test_a_file_holds_what_the_report_reads(trained: "Suite") -> None:
    found = content(trained, 2)
    assert found["fingerprint"] == json.loads(trained.files(2).json_path.read_text())["fingerprint"]
    assert (found["experiment"], found["number"], found["set"]) == (2, 1, "test")
    assert found["num_examples"] == NUM_EXAMPLES // 2
    assert [layer["layer"] for layer in found["layers"]] == [*map(str, range(1, 14)), "penultimate"]
    assert {name: label["role"] for name, label in found["labels"].items()} == {
        "noise_type": "orthogonal",
        "speaker": "orthogonal",
        "class_name": "target",
    }
    grouped = {name: label["grouped_by"] for name, label in found["labels"].items()}
    assert grouped == {"noise_type": "speaker", "speaker": "group", "class_name": "speaker"}
    # The index names no recordings of noise: nobody knows whether they are kept apart.
    not_apart = {name: label["not_apart"] for name, label in found["labels"].items()}
    assert not_apart == {"noise_type": ["noise"], "speaker": [], "class_name": []}
    assert found["left_out_labels"] == {}
    for layer in found["layers"]:
        assert layer["activation_norm"] > 0
        assert set(layer["frozen"]) == {"noisyspeech", "random"}


def test_what_is_in_the_input_is_found_and_what_is_not_is_not(trained: "Suite") -> None:
    for identifier in (1, 2, 3):
        labels = content(trained, identifier)["labels"]
        for layer in content(trained, identifier)["layers"][:6]:
            assert layer["probes"]["noise_type"]["accuracy"] > 0.9
            assert layer["probes"]["noise_type"]["shuffled"] < 0.75
            assert layer["probes"]["speaker"]["accuracy"] < labels["speaker"]["chance"] + 0.15


def test_what_is_there_is_not_computed_again(
    trained: "Suite", no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = changed_at(trained, 1, 2, 3)
    assert analyse(trained, "[1,2,3]", "-1") == 0
    # With fewer frozen networks, or fewer labels, what is there still serves.
    assert analyse(trained, "[1]", "-1", "--labels", "speaker") == 0
    assert changed_at(trained, 1, 2, 3) == before
    output = capsys.readouterr().out
    assert "3 of 4 instances are finished\n3 of 3 are analysed, 0 to do" in output
    assert "1 of 1 are analysed" in output


def test_another_result_or_other_settings_are_computed_anew(copy: "Suite") -> None:
    path = invariance_path(copy.files(1))
    good = path.read_text()
    known = json.loads(good)
    for change in (
        {"fingerprint": "of another result"},
        {"layers": 3},
        {"settings": {**known["settings"], "seed": 7}},
        {"settings": {**known["settings"], "frozen": {}}},
    ):
        path.write_text(json.dumps({**known, **change}))
        before = changed_at(copy, 2)
        analyse(copy, "[1,2,3]", "-1")
        found = json.loads(path.read_text())
        assert found["layers"][0]["probes"]["speaker"]["accuracy"] == 0.125
        assert found["settings"] == known["settings"]
        assert found["fingerprint"] == known["fingerprint"]
        assert changed_at(copy, 2) == before


def test_what_cannot_be_analysed_is_skipped_and_the_others_go_on(
    copy: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    for identifier in (1, 2, 3):
        invariance_path(copy.files(identifier)).unlink()
    copy.files(1).model(0).unlink()
    copy.files(3).json_path.write_text("{}")
    assert analyse(copy, "[1,2,3]", "-1") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len([line for line in errors if line.startswith("skipped: experiment 1 run 1")]) == 1
    assert any("experiment 3 run 1" in line and "no result of this" in line for line in errors)
    assert invariance_path(copy.files(2)).exists()
    assert not invariance_path(copy.files(1)).exists()


def test_other_data_and_other_networks_are_noticed(
    copy: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    copy.write_extractor(seed=5)
    assert analyse(copy, "[1,2]", "-1") == 1
    assert "was trained with another network noisyspeech; run it again" in capsys.readouterr().err
    path = copy.matrices / "tiny_spectrum_fast_info.json"
    path.write_text(path.read_text().replace("data of tiny", "other data"))
    assert analyse(copy, "[1]", "-1") == 1
    assert "another version of tiny_spectrum_fast; run it again: " in capsys.readouterr().err


def test_any_column_can_be_asked_for(copy: "Suite") -> None:
    assert analyse(copy, "[1]", "-1", "--labels", "session, same,clip") == 0
    found = content(copy, 1)
    assert set(found["labels"]) == {"session", "class_name"}
    assert found["labels"]["session"]["grouped_by"] == "speaker"
    assert set(found["left_out_labels"]) == {"same", "clip"}
    assert "all examples of the test set have the same value" in found["left_out_labels"]["same"]


def test_folds_are_averaged_and_matrices_without_labels_serve(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_experiment(4, {"num_folds": 2})
    suite.run(4, **SPLIT)
    assert analyse(suite, "[4]", "-1") == 0
    assert "names no orthogonal labels, so only the target is probed" in capsys.readouterr().out
    found = content(suite, 4)
    result = json.loads(suite.files(4).json_path.read_text())
    assert found["num_examples"] == sum(result[fold]["test_examples"] for fold in "01") == 60
    assert list(found["labels"]) == ["class_name"]
    assert found["labels"]["class_name"]["grouped_by"] == "group"
