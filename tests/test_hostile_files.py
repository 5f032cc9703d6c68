"""Files made to mislead, given to the commands that users type: refused in one line, never run."""

import ast
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from config import files as config_files
from config.errors import UserError
from config.extractors import EXTRACTORS
from experiments_manager import build_parser, main
from plotting import plot_loss_epochs, plot_perLayer_improvement
from pretraining.pretrain import pretrain
from training.models.weights import save_weights

if TYPE_CHECKING:
    from tests.conftest import Suite

ROOT = Path(config_files.__file__).resolve().parent.parent
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}
NAME = "tiny_spectrum_fast"

Damage = Callable[["Suite", Path], Any]


class Trap:
    """What makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def pickled(trace: Path) -> bytes:
    return pickle.dumps({"a": Trap(trace)}, protocol=2)


def npy(header: str) -> bytes:
    text = header.encode() + b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(1000)


def manage(suite: "Suite", *words: str) -> int:
    """What `python experiments_manager.py ...` does in the suite's folder; returns its code."""
    return main(build_parser().parse_intermixed_args([*suite.arguments, *words]))


def refusal_of(command: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> str:
    """How a command that must not succeed says so: an error of one line, or lines on stderr."""
    try:
        code = command()
    except UserError as error:
        assert str(error).isprintable()
        return str(error)
    assert code in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "Error:" not in said
    return said


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def prepared(suite: "Suite") -> "Suite":
    """Matrices, an extractor, a baseline (5) and an anti-transfer experiment (28)."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(5)
    suite.write_experiment(28, AGAINST_NOISE)
    return suite


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """Where a trap would leave its mark; there must be none after any test."""
    path = tmp_path / "a trap was sprung"
    yield path
    assert not path.exists()


def in_npy(header: str) -> Damage:
    return lambda suite, _: (suite.matrices / f"{NAME}_predictors.npy").write_bytes(npy(header))


def object_array(suite: "Suite", trace: Path) -> None:
    array = np.array([Trap(trace)], dtype=object)
    np.save(suite.matrices / f"{NAME}_predictors.npy", array, allow_pickle=True)


def raw_pickle(suite: "Suite", trace: Path) -> None:
    (suite.matrices / f"{NAME}_target.npy").write_bytes(pickled(trace))


def shorter_index(suite: "Suite", _: Path) -> None:
    path = suite.matrices / f"{NAME}_index.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))


def index_without_groups(suite: "Suite", _: Path) -> None:
    path = suite.matrices / f"{NAME}_index.csv"
    path.write_text(path.read_text().replace("group", "grp", 1))


def unknown_groups(suite: "Suite", _: Path) -> None:
    path = suite.matrices / f"{NAME}_splits.json"
    path.write_text(path.read_text().replace("clip007", "clip777"))


def no_folds(suite: "Suite", _: Path) -> None:
    change_json(suite.matrices / f"{NAME}_splits.json", folds=3)


def deep_description(suite: "Suite", _: Path) -> None:
    (suite.matrices / f"{NAME}_info.json").write_text('{"a":' * 100_000)


def no_classes(suite: "Suite", _: Path) -> None:
    change_json(suite.matrices / f"{NAME}_info.json", classes=3)


@pytest.mark.parametrize(
    ("damage", "file", "problem"),
    [
        (object_array, "predictors.npy", "is no usable matrix"),
        (raw_pickle, "target.npy", "is no usable matrix"),
        (
            in_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (250000000000, 40, 33)}"),
            "predictors.npy",
            "is no usable matrix",
        ),
        (
            in_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-60, 40, 33)}"),
            "predictors.npy",
            "is no usable matrix",
        ),
        (
            in_npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2, 2)}"),
            "predictors.npy",
            "holds >f4",
        ),
        (
            in_npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 2)}"),
            "predictors.npy",
            "stored column by column",
        ),
        (shorter_index, "index.csv", "has 57 rows for 60 examples"),
        (index_without_groups, "index.csv", "has no column group"),
        (unknown_groups, "splits.json", "does not fit the index: 2 groups, such as clip007"),
        (no_folds, "splits.json", "folds: must be a valid list"),
        (deep_description, "info.json", "nested too deeply"),
        (no_classes, "info.json", "classes: must be a valid list"),
    ],
)
def test_matrices_that_mislead_are_refused_by_experiments_and_pretraining(
    prepared: "Suite",
    trace: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Damage,
    file: str,
    problem: str,
) -> None:
    damage(prepared, trace)
    said = refusal_of(lambda: manage(prepared, "[5]", "-1"), capsys)
    assert f"{NAME}_{file}: " in said
    assert problem in said
    assert not list(prepared.results.rglob("results_*.json"))
    for path in prepared.matrices.iterdir():
        path.rename(path.with_name(path.name.replace("tiny", "noisyspeech_randsplit")))
    extractor = EXTRACTORS["noisyspeech"]
    settings = prepared.settings(
        extractor_num_epochs=1, **{"results.pretraining_folder": trace.parent / "p"}
    )
    said = refusal_of(lambda: pretrain(extractor, settings, -1), capsys)
    assert f"noisyspeech_randsplit_spectrum_fast_{file}: " in said
    assert problem in said
    assert not list((trace.parent / "p").rglob("model.pt"))


def resaved(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """The extractor's weights after a change, with the description that they had before."""

    def damage(suite: "Suite", _: Path) -> None:
        path = suite.extractors / "noisyspeech" / "model.pt"
        weights = torch.load(path, weights_only=True)
        change(weights)
        save_weights(path, weights)

    return damage


def pickled_model(suite: "Suite", trace: Path) -> None:
    (suite.extractors / "noisyspeech" / "model.pt").write_bytes(pickled(trace))


def model_with_trap(suite: "Suite", trace: Path) -> None:
    path = suite.extractors / "noisyspeech" / "model.pt"
    weights = torch.load(path, weights_only=True)
    torch.save({**weights, "features.0.weight": Trap(trace)}, path)


def described(**changes: Any) -> Damage:
    return lambda suite, _: change_json(
        suite.extractors / "noisyspeech" / "extractor.json", **changes
    )


def nan_weights(weights: dict[str, Any]) -> None:
    weights["features.5.weight"][0] = float("nan")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (pickled_model, "model.pt: is no file of weights"),
        (model_with_trap, "model.pt: is no file of weights"),
        (resaved(lambda w: w.update({"features.0.bias": torch.zeros(9)})), "model.pt: is not the"),
        (resaved(lambda w: w.update({"other": w.pop("features.2.bias")})), "model.pt: is not the"),
        (resaved(lambda w: w["features.0.bias"].add_(1)), "model.pt: is not the network that"),
        (resaved(nan_weights), "model.pt: is not the network that extractor.json describes"),
        (described(architecture="vgg16"), "extractor.json: architecture: must be a valid dict"),
        (described(test_accuracy="good"), "extractor.json: test_accuracy: must be a valid number"),
        (described(test_accuracy=float("nan")), "extractor.json: is no JSON file: NaN"),
        (described(num_test_examples=-1), "extractor.json: num_test_examples: must be greater"),
        (described(weights_fingerprint="0" * 16), "model.pt: is not the network that"),
    ],
)
def test_extractors_that_mislead_are_refused_by_both_ways_to_use_them(
    prepared: "Suite",
    trace: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Damage,
    problem: str,
) -> None:
    prepared.write_experiment(108, {"at_pretraining": "noisyspeech"})
    damage(prepared, trace)
    for identifier in (28, 108):
        said = refusal_of(lambda number=identifier: manage(prepared, f"[{number}]", "-1"), capsys)  # type: ignore[misc]
        assert problem in said
        assert "pretrain_vgg_noisyspeech.py" in said
    assert not list(prepared.results.rglob("results_*.json"))


def test_a_described_extractor_of_other_shapes_names_or_nan_is_refused(
    prepared: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody has renewed the fingerprint, too."""
    from training.models.weights import save_extractor

    folder = prepared.extractors / "noisyspeech"
    weights = torch.load(folder / "model.pt", weights_only=True)
    description = json.loads((folder / "extractor.json").read_text())
    other = {name: value.clone() for name, value in weights.items()}
    nan_weights(other)
    for changed, problem in (
        ({**weights, "features.0.bias": torch.zeros(9)}, "features.0.bias has shape (9,)"),
        ({**weights, "payload": torch.zeros(1)}, "payload does not belong to this network"),
        (other, "features.5.weight (4, 2, 3, 3) holds NaN or infinite values"),
    ):
        save_extractor(folder, changed, description)
        said = refusal_of(lambda: manage(prepared, "[28]", "-1"), capsys)
        assert f"model.pt: {problem}" in said


def finished(suite: "Suite", identifier: int = 5) -> Path:
    """The JSON twin of an instance that was trained for an epoch."""
    assert manage(suite, f"[{identifier}]", "-1", "--set", "num_epochs=1") == 0
    twin: Path = suite.files(identifier).json_path
    return twin


def test_the_numpy_dictionary_that_users_get_is_never_read(
    prepared: "Suite", trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = finished(prepared)
    np.save(twin.with_suffix(".npy"), np.array({"a": Trap(trace)}, dtype=object), allow_pickle=True)
    figures = ["--set", f"figures_folder={prepared.folder / 'figures'}"]
    one = ["--set", "num_epochs=1"]
    for words in (["[5]", "-1"], ["--summary", "[5]"], ["--list"], ["--check", "[5]"]):
        assert manage(prepared, *words, *one) == 0
    plot_loss_epochs.main([str(twin), *figures])
    said = refusal_of(
        lambda: plot_loss_epochs.main([str(twin.with_suffix(".npy")), *figures]), capsys
    )
    assert "is a numpy dictionary; give its twin" in said


def test_results_may_lie_on_another_disk(prepared: "Suite") -> None:
    """Linked folders are what people with small disks have: results, one experiment, models."""
    disk = prepared.folder / "large disk"
    for name in ("all", "28", "models"):
        (disk / name).mkdir(parents=True)
    prepared.results.symlink_to(disk / "all")
    (prepared.results / "experiment_28").symlink_to(disk / "28")
    (prepared.results / "experiment_5").mkdir()
    (prepared.results / "experiment_5" / "models").symlink_to(disk / "models")
    finished(prepared, 5)
    finished(prepared, 28)
    assert len(list((disk / "models").glob("*.pt"))) == 1
    assert len(list((disk / "28" / "models").glob("*.pt"))) == 1
    assert manage(prepared, "--summary", "[5,28]") == 0


def test_links_in_the_results_are_replaced_and_not_written_through(prepared: "Suite") -> None:
    target = prepared.folder / "precious"
    target.write_text("precious")
    files = prepared.files(5)
    names = (
        files.model(0),
        files.dictionary,
        files.parameters,
        files.spreadsheet,
        files.folder / "description.txt",
    )
    for path in names[:-1]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    finished(prepared)
    assert target.read_text() == "precious"
    assert all(path.is_file() and not path.is_symlink() for path in names)


def test_plots_refuse_what_is_no_result(
    prepared: "Suite", trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = finished(prepared)
    folders = [
        *("--set", f"results_folder={prepared.results}"),
        *("--set", f"figures_folder={prepared.folder / 'figures'}"),
    ]
    other = prepared.folder / "other.json"
    other.write_bytes(twin.read_bytes())

    def replaced(make: Callable[[Path], Any]) -> None:
        twin.unlink()
        make(twin)

    damages: list[tuple[Callable[[], Any], str]] = [
        (lambda: twin.write_bytes(pickled(trace)), "is no JSON file"),
        (lambda: twin.write_text("[" * 100_000), "nested too deeply"),
        (lambda: twin.write_text('{"0": {}, "summary": 3}'), "missing"),
        (lambda: twin.write_text("{}"), "missing"),
        (lambda: replaced(lambda path: path.symlink_to(other)), "is a symbolic link"),
        (lambda: replaced(os.mkfifo), "is no file"),
    ]
    for damage, problem in damages:
        damage()
        for command in (
            lambda: plot_loss_epochs.main([str(twin), *folders]),
            lambda: plot_perLayer_improvement.main(
                ["--experiment", "5", "--baseline", "5", *folders]
            ),
        ):
            said = refusal_of(command, capsys)
            assert f"{twin.name}: " in said
            assert problem in said
    assert not (prepared.folder / "figures").exists()


FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "joblib.load",
    "pandas.read_pickle",
    "numpy.load",
}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml"}


def dotted(node: ast.expr) -> str:
    """The name of what is called, as numpy.load for np.load."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    names = {"np": "numpy", "pd": "pandas"}
    parts.insert(0, names.get(node.id, node.id) if isinstance(node, ast.Name) else "?")
    return ".".join(parts)


def dangers_in(source: str) -> list[str]:
    """Whatever in a module could run what a file holds, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module).partition(".")[0]]
        found += [f"{node.lineno}: {name}" for name in names if name in FORBIDDEN_MODULES]  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
            unsafe_torch = name == "torch.load" and arguments.get("weights_only") != "True"
            forbidden = name in FORBIDDEN_CALLS and "mmap_mode" not in arguments
            pickles = "allow_pickle" in arguments and arguments["allow_pickle"] != "False"
            shell = arguments.get("shell", "False") != "False"
            if unsafe_torch or forbidden or pickles or shell:
                found.append(f"{node.lineno}: {name}")
    return found


def test_no_code_of_the_project_can_run_what_a_file_holds() -> None:
    folders = ("benchmarks", "config", "plotting", "preprocessing", "pretraining", "training")
    modules = [
        *ROOT.glob("*.py"),
        *(path for name in folders for path in (ROOT / name).rglob("*.py")),
    ]
    assert len(modules) > 80
    assert ROOT / "training" / "models" / "weights.py" in modules
    found = {str(path): dangers_in(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: dangers for path, dangers in found.items() if dangers} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "x = eval('1')",
        "exec(text)",
        "__import__('os')",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, mmap_mode='r', allow_pickle=True)",
        "np.lib.format.read_array(file, allow_pickle=flag)",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "import os\nos.system('ls')",
        "subprocess.run(line, shell=True)",
        "pd.read_pickle(path)",
        "import joblib\njoblib.load(path)",
    ],
)
def test_the_search_finds_each_of_them(source: str) -> None:
    assert dangers_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, map_location='cpu', weights_only=True)",
        "np.load(path, mmap_mode='r')",
        "model.eval()",
        "Network().eval()",
        "subprocess.run(['ls'])",
        "re.compile('a')",
    ],
)
def test_the_search_leaves_the_rest_alone(source: str) -> None:
    assert dangers_in(source) == []
