"""The requirements, their lock, what is installed, what is imported, and docs/dependencies.md."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config.text import PROJECT_FOLDER

LOCK = PROJECT_FOLDER / "requirements.lock"
REQUIREMENTS = sorted(PROJECT_FOLDER.glob("requirements*.txt"))
# Used without being imported: a shell, command-line tools, types, plugins.
NOT_IMPORTED = {
    "ipython",
    "mypy",
    "pandas-stubs",
    "pyarrow",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "tabulate",
    "types-psutil",
    "types-tqdm",
    "vulture",
}
# Where the name that is imported is not that of the package.
PACKAGE_OF = {"sklearn": "scikit-learn"}


@cache
def pinned_in(path: Path) -> dict[str, str]:
    """Versions of a requirements file by normalized names; each package must stand there once."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    versions = {}
    for requirement in found:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, requirement
        versions[str(canonicalize_name(requirement.name))] = specifier.version
    assert len(versions) == len(found), f"{path.name} names a package twice"
    return versions


def direct() -> dict[str, str]:
    """Return all that the requirements files name."""
    return {name: version for path in REQUIREMENTS for name, version in pinned_in(path).items()}


def imported() -> set[str]:
    """Return the third-party packages that the code imports."""
    own = {path.stem for path in PROJECT_FOLDER.iterdir()}
    found = set()
    for path in PROJECT_FOLDER.rglob("*.py"):
        place = path.relative_to(PROJECT_FOLDER).parts[0]
        if place.startswith(".") or place == "build":
            continue
        for module in modules_in(ast.parse(path.read_text(encoding="utf-8"))):
            if module not in sys.stdlib_module_names and module not in own:
                package = PACKAGE_OF.get(module, module)
                found.add(str(canonicalize_name(package)))
    return found


def modules_in(tree: ast.Module) -> set[str]:
    """Return the top-level names that a file imports, or skips its tests without."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
            names |= {str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)}
    return {name.partition(".")[0] for name in names}


def test_every_requirement_stands_in_the_lock_as_it_is_pinned() -> None:
    locked = pinned_in(LOCK)
    differing = {name for name, version in direct().items() if locked.get(name) != version}
    assert differing == set(), "run make lock"


def test_everything_imported_is_required_and_the_other_way_round() -> None:
    assert imported() - direct().keys() == set()
    assert direct().keys() - imported() == NOT_IMPORTED


@pytest.mark.parametrize("name", sorted(direct()))
def test_every_requirement_is_explained(name: str) -> None:
    text = (PROJECT_FOLDER / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert name in re.findall(r"[a-z0-9-]+", text)
