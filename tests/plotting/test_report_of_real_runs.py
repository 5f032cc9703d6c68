"""From training through invariance to the report: what one writes the other reads."""

import json
from typing import TYPE_CHECKING

import pytest

from plotting.report import main
from training.invariance import build_parser
from training.invariance import main as measure

if TYPE_CHECKING:
    from tests.conftest import Suite


def test_the_report_reads_what_training_and_invariance_write(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_experiment(5, {}, {"repeat": 2})
    against_random = {"anti_transfer": True, "at_layer": 3, "at_dataset": "random"}
    suite.write_experiment(29, against_random, {"repeat": 2})
    for identifier in (5, 29):
        for number in (1, 2):
            suite.run(identifier, number)
    words = ["[5,29]", "-1", *suite.arguments]
    assert measure(build_parser().parse_intermixed_args(words)) == 0
    assert main(suite.arguments) == 0
    answer = capsys.readouterr().out.splitlines()[-1]
    assert answer.startswith("tiny: The random control")
    assert answer.count("points (not shown)") == 1
    report = suite.results / "report"
    names = {path.stem.rstrip("_0123456789") for path in (report / "figures").glob("*.png")}
    assert {f"01_tiny_{kind}" for kind in ("confusion", "epochs")} <= names
    table = (report / "tables" / "01_tiny_methods.md").read_text()
    for identifier, label in ((5, "baseline"), (29, "random network")):
        contents = [json.loads(suite.files(identifier, n).json_path.read_text()) for n in (1, 2)]
        mean = 50 * sum(content["summary"]["test"]["mean_acc"] for content in contents)
        (row,) = [line for line in table.split("\n") if label in line and line.startswith("|")]
        assert f" {mean:.1f} ± " in row
    assert "random by clip: speakers shared" in (report / "report.html").read_text()
    files = sorted((suite.results / "experiment_5" / "invariance").glob("*.json"))
    layers = [json.loads(path.read_text())["layers"][2] for path in files]
    assert [each["layer"] for each in layers] == ["3", "3"]
    norm = sum(each["activation_norm"] for each in layers) / 2
    measured = (report / "tables" / "01_tiny_invariance_layers.md").read_text()
    (row,) = [
        line for line in measured.split("\n") if line.startswith("| baseline") and "| 3 " in line
    ]
    assert f" {norm:.3f} ± " in row
