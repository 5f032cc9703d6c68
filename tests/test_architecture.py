"""docs/architecture.md names files and functions that are there, and imports go one way."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STATIONS = re.findall(r"\| `([\w/]+\.py)` \| `([\w.]+)` \|", PAGE)
# Each folder, and those that it may import; config may read any registry to check a name.
ORDER = {
    "preprocessing": {"config"},
    "training": {"config", "preprocessing"},
    "pretraining": {"config", "preprocessing", "training"},
    "plotting": {"config", "preprocessing", "training"},
}


def _imports(path: Path) -> set[str]:
    """Return the modules that a file imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize(("file", "function"), STATIONS)
def test_the_stations_of_a_clip_are_there(file: str, function: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"\b{function.rpartition('.')[2]}\b", source)


def test_every_named_path_is_there() -> None:
    assert len(STATIONS) > 20
    for name in re.findall(r"`([\w/]+/(?:\w+\.\w+)?)`", PAGE):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("place", ["preprocessing/corpora", "config/experiments.py"])
def test_what_the_user_gives_is_listed_by_one_rule(place: str) -> None:
    """config/listing.py; other ways would meet other programs' files."""
    path = ROOT / place
    for file in [path] if path.is_file() else sorted(path.glob("*.py")):
        assert not re.search(r"glob\(|iterdir\(|scandir\(|listdir\(|walk\(", file.read_text()), file


@pytest.mark.parametrize("folder", ORDER)
def test_folders_import_only_what_comes_before_them(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        used = {module.partition(".")[0] for module in _imports(path)} & {"config", *ORDER}
        assert used <= ORDER[folder] | {folder}, path
