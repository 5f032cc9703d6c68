"""The requirements, their lock, what is installed, what is imported, and docs/dependencies.md."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from config.text import PROJECT_FOLDER

LOCK = PROJECT_FOLDER / "requirements.lock"
REQUIREMENTS = sorted(PROJECT_FOLDER.glob("requirements*.txt"))
# Used without being imported: a shell, command-line tools, types, plugins.
NOT_IMPORTED = {
    "ipython",
    "mypy",
    "pandas-stubs",
    "pytest-xdist",
    "ruff",
    "tabulate",
    "types-psutil",
    "types-tqdm",
}
# Where the name that is imported is not that of the package.
PACKAGE_OF = {"sklearn": "scikit-learn"}


def lines_of(path: Path) -> list[str]:
    """Lines of a requirements file that are no comment."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pinned_in(path: Path) -> dict[str, Requirement]:
    """The requirements of a file by their normalized names, options (-r, -c, -e) left out."""
    found = [Requirement(line) for line in lines_of(path) if not line.startswith("-")]
    by_name = {str(canonicalize_name(requirement.name)): requirement for requirement in found}
    assert len(by_name) == len(found), f"{path.name} names a package twice"
    return by_name


def direct() -> dict[str, Requirement]:
    """All that the requirements files name."""
    named: dict[str, Requirement] = {}
    for path in REQUIREMENTS:
        own = pinned_in(path)
        assert not named.keys() & own.keys(), f"{path.name}: also named in another file"
        named |= own
    return named


@cache
def locked() -> dict[str, Version]:
    return {name: Version(exact(found)) for name, found in pinned_in(LOCK).items()}


def exact(requirement: Requirement) -> str:
    """The version that a requirement pins, '' if it pins none."""
    specifiers = list(requirement.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
        return ""
    return specifiers[0].version


def read_with(path: Path) -> set[str]:
    """A requirements file and those that it names in turn with -r."""
    named = {line.split()[1] for line in lines_of(path) if line.startswith("-r ")}
    return {path.name}.union(*(read_with(path.with_name(name)) for name in named))


def needed(names: list[str]) -> Iterator[tuple[str, Requirement]]:
    """Everything that installed packages need in turn, as (who, what)."""
    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in names]
    seen = set(waiting)
    while waiting:
        owner, extras = waiting.pop()
        for text in distribution(owner).requires or []:
            requirement = Requirement(text)
            asked = any(
                requirement.marker is None or requirement.marker.evaluate({"extra": extra})
                for extra in extras | {""}
            )
            if not asked:
                continue
            yield owner, requirement
            following = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if following not in seen:
                seen.add(following)
                waiting.append(following)


def is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


@cache
def own_modules() -> set[str]:
    """What an import statement can find in the project itself."""
    return {path.stem for path in PROJECT_FOLDER.iterdir() if path.suffix in ("", ".py")}


@cache
def imported() -> dict[str, list[str]]:
    """Third-party packages that the code imports, each with the files that do."""
    known = packages_distributions()
    found: dict[str, list[str]] = {}
    for path in sorted(PROJECT_FOLDER.rglob("*.py")):
        place = path.relative_to(PROJECT_FOLDER)
        if place.parts[0].startswith(".") or place.parts[0] == "build":
            continue
        for module in modules_in(ast.parse(path.read_text(encoding="utf-8"))):
            if module not in sys.stdlib_module_names and module not in own_modules():
                package = PACKAGE_OF.get(module) or known.get(module, [module])[0]
                found.setdefault(canonicalize_name(package), []).append(str(place))
    return found


def modules_in(tree: ast.Module) -> set[str]:
    """The top-level names that a file imports, or skips its tests without."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
            names |= {str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)}
    return {name.partition(".")[0] for name in names}


def test_every_requirement_is_pinned() -> None:
    assert [name for name, requirement in direct().items() if not exact(requirement)] == []
    build = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    for text in build["build-system"]["requires"]:
        assert exact(Requirement(text)), f"pyproject.toml: {text} is not pinned"
    assert build["project"].get("dependencies", []) == []


def test_every_requirement_stands_in_the_lock_as_it_is_pinned() -> None:
    differing = {
        name: (exact(requirement), str(locked().get(name)))
        for name, requirement in direct().items()
        if locked().get(name) != Version(exact(requirement))
    }
    assert differing == {}, "run make lock"


def test_the_lock_pins_each_package_once_and_no_build_of_it() -> None:
    assert len(locked()) > len(direct())
    for line in lines_of(LOCK):
        assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line), line


def test_every_installation_is_held_to_the_lock() -> None:
    assert "--constraint requirements.lock" in lines_of(PROJECT_FOLDER / "requirements.txt")
    for path in REQUIREMENTS:
        assert "requirements.txt" in read_with(path), path.name


def test_what_is_installed_agrees_with_the_lock() -> None:
    present = [name for name in direct() if is_installed(name)]
    assert set(pinned_in(PROJECT_FOLDER / "requirements.txt")) <= set(present)
    names = {*present, *(canonicalize_name(what.name) for _, what in needed(present))}
    differing = {}
    for name in sorted(names):
        installed = Version(distribution(name).version)
        if locked().get(name) != Version(installed.public):
            differing[name] = f"{installed} installed, {locked().get(name)} locked"
    assert differing == {}, "run make setup; if a package is not locked at all, make lock"


def test_what_is_installed_goes_together() -> None:
    present = [name for name in direct() if is_installed(name)]
    unmet = [
        f"{owner} needs {what}, {distribution(what.name).version} is installed"
        for owner, what in needed(present)
        if not what.specifier.contains(distribution(what.name).version, prereleases=True)
    ]
    assert unmet == []


def test_everything_imported_is_required() -> None:
    unnamed = {name: files for name, files in imported().items() if name not in direct()}
    assert unnamed == {}, "name them in a requirements file and in docs/dependencies.md"


def test_what_the_suite_imports_does_not_come_with_the_tests() -> None:
    for name in pinned_in(PROJECT_FOLDER / "requirements-dev.txt"):
        users = [file for file in imported().get(name, []) if not file.startswith("tests/")]
        assert users == [], f"{name} is not installed where only the suite is"


def test_everything_required_is_imported_or_is_a_tool() -> None:
    assert direct().keys() - imported().keys() == NOT_IMPORTED


@pytest.mark.parametrize("name", sorted(direct()))
def test_every_requirement_is_explained(name: str) -> None:
    text = (PROJECT_FOLDER / "docs" / "dependencies.md").read_text(encoding="utf-8")
    words = re.findall(r"[a-z0-9-]+", text)
    assert name in words
