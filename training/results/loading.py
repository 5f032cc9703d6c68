"""Reads results back: which instances are finished, and what they left behind.

Only the JSON is read; the numpy dictionaries beside it are for users.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.advice import run_again
from config.errors import UserError
from config.files import Identity, identity_of, read_json, require_fields
from config.text import display_path
from training.results.metric import DEFAULT_METRIC
from training.results.result import Result

RESULT_NAME = re.compile(r"results_.+_exp([0-9]+)_run([0-9]+)\.json")
REQUIRED_KEYS = ("0", "summary", "parameters", "inputs", "fingerprint", "number")


def result_paths(results_folder: Path, experiment: int) -> list[Path]:
    """Return the JSON files of an experiment's finished instances, in no order."""
    folder = results_folder / f"experiment_{experiment}" / "results"
    try:
        matches = [(path, RESULT_NAME.fullmatch(path.name)) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path, match in matches if match and match[1] == str(experiment)]


def count_finished(results_folder: Path, experiment: int) -> int:
    """Count an experiment's instances that have a result."""
    return len(result_paths(results_folder, experiment))


def count_failed(results_folder: Path, experiment: int) -> int:
    """Count an experiment's instances that failed when they were last tried."""
    folder = results_folder / f"experiment_{experiment}" / "unfinished"
    return sum(1 for _ in folder.glob("failed_*.json"))


def read_result(path: Path) -> dict[str, Any]:
    """Read the JSON of a result.

    Raises:
        UserError: the file is no result of this project.
    """
    try:
        result = read_json(path)
        for key in REQUIRED_KEYS:
            if key not in result:
                place = display_path(path)
                raise UserError(f"{place}: is no result of this project: {key} is missing")
    except UserError as error:
        raise UserError(f"{error}{_cure(path)}") from None
    return result


def _cure(path: Path) -> str:
    """Say which command makes a damaged result anew."""
    match = RESULT_NAME.fullmatch(path.name)
    if not match:
        return ""
    return f"; run it again: {run_again(int(match[1]), [int(match[2])], '--overwrite')}"


class ResultReader:
    """Reads results without the lists of their folds, which are by far the most of them.

    A file is read again only when it is another one, however often it is asked for.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Identity, dict[str, Any]]] = {}

    def find(self, path: Path) -> dict[str, Any] | None:
        """Read a result as it is now; None if there is none.

        Raises:
            UserError: the file is no result of this project.
        """
        identity = identity_of(path)
        if identity is None:
            self._known.pop(path, None)
            return None
        if path not in self._known or self._known[path][0] != identity:
            self._known[path] = identity, _without_lists(read_result(path))
        return self._known[path][1]

    def find_all(self, results_folder: Path, experiment: int) -> list[dict[str, Any]]:
        """Read all finished instances of an experiment, by number."""
        found = map(self.find, result_paths(results_folder, experiment))
        return sorted(filter(None, found), key=lambda result: int(result["number"]))


def _without_lists(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {name: each for name, each in value.items() if not isinstance(each, list)}
        if key.isdecimal() and isinstance(value, dict)
        else value
        for key, value in result.items()
    }


def load_result(path: Path, report_metric: str = DEFAULT_METRIC) -> Result:
    """Read and check the JSON of a result.

    Raises:
        UserError: it cannot be read, is no result of this project, or lacks the metric.
    """
    content = {**read_result(path), "report_metric": report_metric}
    return require_fields(content, Result, display_path(path))


def load_results(
    results_folder: Path, experiment: int, report_metric: str = DEFAULT_METRIC
) -> list[Result]:
    """Read all finished instances of an experiment, by number.

    Args:
        report_metric: by what they are compared.

    Raises:
        UserError: a result is damaged, or lacks the metric.
    """
    paths = result_paths(results_folder, experiment)
    results = [load_result(path, report_metric) for path in paths]
    return sorted(results, key=lambda result: result.number)
