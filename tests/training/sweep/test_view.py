"""What the view says of a sweep."""

import pytest

from training.sweep.progress import View, time_left


@pytest.mark.parametrize(
    ("seconds", "num_left", "slots", "expected"),
    [
        ([], 0, 4, 0.0),
        ([10.0], 0, 0, 0.0),
        ([], 5, 4, None),
        ([10.0], 5, 0, None),
        ([10.0], 4, 4, 10.0),
        ([10.0, 20.0], 4, 1, 60.0),
        ([10.0, 20.0], 5, 4, 30.0),
    ],
)
def test_time_left(seconds: list[float], num_left: int, slots: int, expected: float | None) -> None:
    assert time_left(seconds, num_left, slots) == expected


def test_a_log_gets_a_line_when_something_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    with View(total=5, done=1) as view:
        view.show(running=2, slots=2)
        view.show(running=2, slots=2)
        view.end_run("done: a", seconds=30.0, has_failed=False)
        view.show(running=1, slots=2)
        view.end_run("", seconds=10.0, has_failed=True)
        view.show(running=0, slots=2)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["done: a"]
    assert captured.err.splitlines() == [
        "1/5 done, 2 running, 2 waiting, 0 failed, ? left",
        "2/5 done, 1 running, 2 waiting, 0 failed, 01:00 left",
        "2/5 done, 0 running, 2 waiting, 1 failed, 00:20 left",
    ]
