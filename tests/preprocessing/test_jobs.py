"""Work in order over processes, fingerprints, and journals that a restart goes on from."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from preprocessing.pipeline.jobs import (
    Crew,
    Journal,
    fingerprint_of,
    fingerprint_of_each,
    map_in_order,
    num_workers,
)


def square(number: int) -> int:
    if number == 13:
        raise ArithmeticError("thirteen")
    return number * number


def process_of(_task: int) -> int:
    return os.getpid()


def journal_of(path: Path, plan: str = "plan") -> Journal[Any]:
    return Journal(path, plan)


class TestMap:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_results_come_in_the_order_of_the_tasks(self, workers: int) -> None:
        tasks = [7, 3, 5, 1, 9, 2]
        results = map_in_order(square, tasks, Crew(workers), "squares", "number")
        assert list(results) == [49, 9, 25, 1, 81, 4]

    def test_no_tasks(self) -> None:
        assert list(map_in_order(square, [], Crew(1), "squares", "number")) == []

    def test_one_worker_is_this_process(self) -> None:
        assert set(map_in_order(process_of, [1, 2, 3], Crew(1), "x", "y")) == {os.getpid()}

    def test_an_error_comes_through_after_what_came_before(self) -> None:
        seen = []
        with pytest.raises(ArithmeticError, match="thirteen"):
            for result in map_in_order(square, [11, 12, 13, 14], Crew(1), "squares", "number"):
                seen.append(result)
        assert seen == [121, 144]

    def test_results_are_made_as_they_are_asked_for(self) -> None:
        """Memory must not grow with the number of tasks."""
        made = []

        def make(number: int) -> int:
            made.append(number)
            return number

        results = map_in_order(make, list(range(100)), Crew(1), "x", "y")
        assert [next(results), next(results)] == [0, 1]
        assert len(made) < 10

    def test_progress_counts_what_was_done_before(self, capsys: pytest.CaptureFixture[str]) -> None:
        results = map_in_order(len, ["aa", "bbb"], Crew(1), "words", "letter", done=5, size_of=len)
        assert list(results) == [2, 3]
        assert "10/10" in capsys.readouterr().err


class TestFingerprint:
    def test_equal_values_have_equal_fingerprints(self) -> None:
        assert fingerprint_of({"a": 1, "b": [1.5, "x"]}) == fingerprint_of(
            {"b": (1.5, "x"), "a": 1}
        )

    @pytest.mark.parametrize(
        "other", [{"a": 2}, {"a": 1.5}, {"a": "1"}, {"b": 1}, {"a": 1, "b": 1}, [["a", 1]], {}]
    )
    def test_other_values_have_others(self, other: Any) -> None:
        assert fingerprint_of({"a": 1}) != fingerprint_of(other)

    def test_of_each_value_in_its_place(self) -> None:
        lists: list[list[Any]] = [[], [1], [2], [1, 2], [2, 1], [[1, 2]], [12], ["1", 2], [1, [2]]]
        assert len({fingerprint_of_each(iter(values)) for values in lists}) == len(lists)
        assert fingerprint_of_each([{"a": 1, "b": 2}]) == fingerprint_of_each([{"b": 2, "a": 1}])


class TestWorkers:
    @pytest.mark.parametrize(
        ("requested", "num_tasks", "expected"), [(3, 10, 3), (3, 2, 2), (1, 10, 1), (4, 0, 1)]
    )
    def test_no_more_than_tasks(self, requested: int, num_tasks: int, expected: int) -> None:
        assert num_workers(requested, num_tasks) == expected

    def test_one_per_core_that_this_process_may_use(self) -> None:
        cores = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(cores)})
            assert num_workers(0, 100) == 1
        finally:
            os.sched_setaffinity(0, cores)


class TestJournal:
    def test_a_restart_finds_what_was_noted(self, tmp_path: Path) -> None:
        journal = journal_of(tmp_path / "new" / "a.journal")
        journal.append({"rows": [[1, 2]]})
        journal.append("line\nbreak")
        journal.close()
        restarted = journal_of(tmp_path / "new" / "a.journal")
        assert restarted.records == [{"rows": [[1, 2]]}, "line\nbreak"]
        restarted.append(3)
        restarted.close()
        assert journal_of(tmp_path / "new" / "a.journal").records == [
            {"rows": [[1, 2]]},
            "line\nbreak",
            3,
        ]

    def test_another_plan_starts_anew(self, tmp_path: Path) -> None:
        journal = journal_of(tmp_path / "a.journal")
        journal.append(1)
        journal.close()
        other = journal_of(tmp_path / "a.journal", "other plan")
        assert other.records == []
        other.close()
        assert journal_of(tmp_path / "a.journal").records == []

    def test_half_a_line_does_not_count(self, tmp_path: Path) -> None:
        path = tmp_path / "a.journal"
        journal = journal_of(path)
        journal.append([1, 2, 3])
        journal.append([4, 5, 6])
        journal.close()
        path.write_bytes(path.read_bytes()[:-3])
        restarted = journal_of(path)
        assert restarted.records == [[1, 2, 3]]
        restarted.append([7])
        restarted.close()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines == [{"plan": "plan"}, [1, 2, 3], [7]]

    @pytest.mark.parametrize("content", [b"", b"\n", b"not json\n", b"\xff\xfe\n", b"[1]\n[2]\n"])
    def test_a_damaged_file_starts_anew(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.journal").write_bytes(content)
        assert journal_of(tmp_path / "a.journal").records == []

    def test_several_records_at_once(self, tmp_path: Path) -> None:
        journal = journal_of(tmp_path / "a.journal")
        journal.append(1, [2], "three\n")
        journal.append()
        journal.append(4)
        journal.close()
        assert journal_of(tmp_path / "a.journal").records == [1, [2], "three\n", 4]

    def test_forgetting(self, tmp_path: Path) -> None:
        journal = journal_of(tmp_path / "a.journal")
        journal.append(1)
        journal.forget()
        assert journal.records == []
        journal.append(2)
        journal.close()
        assert journal_of(tmp_path / "a.journal").records == [2]

    def test_removal(self, tmp_path: Path) -> None:
        journal = journal_of(tmp_path / "a.journal")
        journal.append(1)
        journal.remove()
        assert list(tmp_path.iterdir()) == []
