"""Pickles in place of data are refused in one line and never run; results behind links work."""

import ast
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from config.errors import UserError
from config.text import PROJECT_FOLDER
from plotting import plot_loss_epochs

if TYPE_CHECKING:
    from tests.conftest import Suite

AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}


class Trap:
    """What makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """Where a trap would leave its mark; there must be none after any test."""
    path = tmp_path / "a trap was sprung"
    yield path
    assert not path.exists()


@pytest.fixture
def prepared(suite: "Suite") -> "Suite":
    """Matrices, an extractor, a baseline (5) and an anti-transfer experiment (28)."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(5)
    suite.write_experiment(28, AGAINST_NOISE)
    return suite


def manage(suite: "Suite", *words: str) -> int:
    """Do what `python experiments_manager.py ...` does; returns its code."""
    return suite.manage("--set", "num_epochs=1", *words)


def refusal_of(command: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that must not succeed."""
    try:
        code = command()
    except UserError as error:
        assert str(error).isprintable()
        return str(error)
    assert code in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_matrices(prepared: "Suite", trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = prepared.matrices / "tiny_spectrum_fast_target.npy"
    np.save(path, np.array([Trap(trace)], dtype=object), allow_pickle=True)
    assert path.name in refusal_of(lambda: manage(prepared, "[5]", "-1"), capsys)


def test_extractors(prepared: "Suite", trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = (prepared.extractors / "noisyspeech").glob("model.*")
    model.write_bytes(pickle.dumps({"a": Trap(trace)}, protocol=2))
    said = refusal_of(lambda: manage(prepared, "[28]", "-1"), capsys)
    assert model.name in said
    assert "pretrain.py noisyspeech" in said


def test_the_numpy_dictionary_that_users_get_is_never_read(
    prepared: "Suite", trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage(prepared, "[5]", "-1") == 0
    path = prepared.files(5).json_path.with_suffix(".npy")
    np.save(path, np.array({"a": Trap(trace)}, dtype=object), allow_pickle=True)
    for words in (["[5]", "-1"], ["--summary", "[5]"], ["--list"], ["--check", "[5]"]):
        assert manage(prepared, *words) == 0
    with pytest.raises(UserError, match="numpy dictionary"):
        plot_loss_epochs.main([str(path)])


FORBIDDEN_CALLS = {"eval", "exec", "__import__", "read_pickle"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}


def dangers_in(source: str) -> list[str]:
    """Name whatever in a module could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if node.module in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            is_forbidden = name in FORBIDDEN_CALLS or name.endswith(".read_pickle")
            unpickles = words.get("allow_pickle", "False") != "False" and name != "np.save"
            unpickles |= name == "torch.load" and words.get("weights_only") != "True"
            if is_forbidden or unpickles or words.get("shell", "False") != "False":
                found.append(name)
    return found


def test_no_code_of_the_project_can_run_what_a_file_holds() -> None:
    folders = ("benchmarks", "config", "plotting", "preprocessing", "pretraining", "training")
    modules = [PROJECT_FOLDER / "experiments_manager.py"]
    modules += [path for name in folders for path in (PROJECT_FOLDER / name).rglob("*.py")]
    found = {str(path): dangers_in(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: dangers for path, dangers in found.items() if dangers} == {}
    for source in ("import pickle", "torch.load(path)", "np.load(path, allow_pickle=True)"):
        assert dangers_in(source)
