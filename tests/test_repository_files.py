"""CITATION.cff, CHANGELOG, CONTRIBUTING, the pages of licences and methods say what is so."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import pytest

from config.text import PROJECT_FOLDER
from preprocessing.corpora import all_corpora
from tests.test_dependencies import direct
from training.methods.kinds import AT_METHODS

PAGES = sorted([*PROJECT_FOLDER.glob("*.md"), *PROJECT_FOLDER.glob("docs/*.md")])
VERSION = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["project"]["version"]
NAMED = re.compile(r"[a-z0-9-]+(?= \(|,|$)")


def read(name: str) -> str:
    return (PROJECT_FOLDER / name).read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = read("CITATION.cff")
    assert re.findall(r"^version: *(.*)$", citation, re.MULTILINE) == [VERSION]
    (reference,) = re.findall(r"^references:\n((?:  .*\n)+)", citation, re.MULTILINE)
    assert re.findall(r"family-names: (\w+)", reference) == ["Guizzo", "Weyde", "Tarroni"]


def test_the_last_version_in_the_changelog_is_this_one() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", read("CHANGELOG.md"), re.M)
    assert headings[:2] == ["Unreleased", VERSION]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Any) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_page_of_methods_has_a_row_for_each() -> None:
    assert re.findall(r"^\| `(\w+)` \|", read("docs/method.md"), re.M) == list(AT_METHODS)


def test_what_contributing_names_is_there() -> None:
    named = re.findall(r"[`\s]((?:\w+/)+(?:\w+\.\w+)?)", read("CONTRIBUTING.md"))
    assert [path for path in named if not (PROJECT_FOLDER / path).exists()] == []
    assert len(read("CONTRIBUTING.md").splitlines()) < 80


def licences() -> dict[str, str]:
    """The licence of each package on the page, by its name."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", read("docs/licences.md"), re.MULTILINE)
    return {name: licence for licence, names in rows for name in NAMED.findall(names)}


@pytest.mark.parametrize("package", sorted(direct()))
def test_the_licence_of_every_requirement_is_named(package: str) -> None:
    stated = licences()[package]
    try:
        expression = metadata(package).json.get("license_expression", "")
    except PackageNotFoundError:  # for a CUDA build of torch alone
        return
    if expression and " " not in expression:  # others are named with what is in them
        assert stated == expression


def test_the_licence_of_every_corpus_is_named() -> None:
    page = read("docs/licences.md")
    for corpus in all_corpora().values():
        assert f"| {corpus.name} | <{corpus.page}> | {corpus.licence} |" in page
