"""The benchmark of several processes: alone it compares a training with itself."""

import json

import pytest

from benchmarks import distributed


def test_it_reports_both_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--device cpu --width 0.03 --batch-size 3 --frames 33 --bins 32 --repetitions 2"
    monkeypatch.setattr("sys.argv", ["distributed", *words.split()])
    distributed.main()
    output = capsys.readouterr().out
    content = json.loads(output[output.index("{\n") :])
    (row,) = content["rows"]
    assert content["benchmark"] == "distributed_1xcpu_width0.03_batch3_33x32"
    assert (row["processes"], row["batch_size"]) == (1, 3)
    one, together = row["one process examples/s"], row["together examples/s"]
    assert row["speedup"] == pytest.approx(together / one)
    assert one > 0
