"""The page itself: it needs nothing else, what it says, and how a real browser shows it."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from plotting.report import main
from tests.synthetic_results import write_rich_results

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}"
EXPECTED_FIGURES = (*("layers_1", "confusion_2", "epochs_2", "invariance_probes"),)


class Page(HTMLParser):
    """What elements a page has, and all that is written in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Page]]:
    folder = tmp_path_factory.mktemp("rich")
    arguments = write_rich_results(folder, [3, 5], 3, drawn=(200, 202, 203))
    file = next((folder / "experiments").glob("204_*"))
    file.write_text(file.read_text().replace("Synthetic: other", HOSTILE))
    result = next((folder / "results" / "experiment_204" / "results").glob("*.json"))
    content = json.loads(result.read_text())
    content["model"]["classes"][0] = HOSTILE
    result.write_text(json.dumps(content))
    assert main(arguments) == 0
    report = folder / "results" / "report"
    yield report, Page((report / "report.html").read_text())


def test_the_page_needs_nothing_else(rich: tuple[Path, Page]) -> None:
    _, page = rich
    assert page.of("link") == []
    assert all("src" not in script for script in page.of("script"))
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.of("img"))
    assert all(image["alt"] for image in page.of("img"))
    policies = [meta["content"] for meta in page.of("meta") if "http-equiv" in meta]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_links_on_the_page_lead_to_written_files(rich: tuple[Path, Page]) -> None:
    report, page = rich
    links = [str(link["href"]) for link in page.of("a")]
    anchors = {attributes.get("id") for _, attributes in page.elements}
    for link in links:
        assert link[1:] in anchors if link.startswith("#") else (report / link).is_file()
    written = {path.relative_to(report).as_posix() for path in report.glob("*s/*")}
    assert written == {link for link in links if not link.startswith("#")}


def test_every_kind_of_figure_is_there_as_png_and_pdf(rich: tuple[Path, Page]) -> None:
    report, page = rich
    names = {path.stem for path in (report / "figures").glob("*.png")}
    assert {f"01_gsc_confounded_speakersplit_{name}" for name in EXPECTED_FIGURES} <= names
    assert {path.stem for path in (report / "figures").glob("*.pdf")} == names
    assert len(page.of("img")) == len(names)


def test_what_comes_from_files_is_no_markup(rich: tuple[Path, Page]) -> None:
    _, page = rich
    assert len(page.of("script")) == 1
    assert HOSTILE in "".join(page.texts)
    assert not any("onerror" in attributes for _, attributes in page.elements)


def test_the_tables_of_the_page_are_those_of_the_files(rich: tuple[Path, Page]) -> None:
    report, page = rich
    names = {table["id"] for table in page.of("table")}
    for suffix in ("csv", "tex", "md"):
        assert {path.stem for path in (report / "tables").glob(f"*.{suffix}")} == names
    text = "".join(page.texts)
    markdown = (report / "tables" / "01_gsc_confounded_speakersplit_methods.md").read_text()
    for cell in re.findall(r"\d+\.\d ± \d+\.\d", markdown):
        assert cell in text


# The real browser: Debian's packages chromium and chromium-driver.

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium that notes its console and every request."""
    if not (Path(CHROMIUM).exists() and Path(DRIVER).exists()):
        pytest.skip(f"needs {CHROMIUM} and {DRIVER}: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_it_opens_from_disk_without_complaint_or_request(
    browser: Any, rich: tuple[Path, Page]
) -> None:
    address = (rich[0] / "report.html").as_uri()
    browser.get("about:blank")  # and not the browser's own first page, which loads this and that
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(address)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert address in requested
    assert {url for url in requested if not url.startswith("data:")} == {address}
    assert browser.get_log("browser") == []
    shown = browser.execute_script("return [...document.images].map(i => i.clientWidth)")
    assert len(shown) >= len(EXPECTED_FIGURES)
    assert min(shown) > 100


def column(browser: Any, number: int) -> list[str]:
    script = "return [...document.querySelector('table').tBodies[0].rows]"
    found: list[str] = browser.execute_script(f"{script}.map(r => r.cells[{number}].dataset.sort)")
    return found


def test_a_click_on_a_heading_sorts_its_table(browser: Any, rich: tuple[Path, Page]) -> None:
    browser.get((rich[0] / "report.html").as_uri())
    headings = browser.find_elements("css selector", "table:first-of-type th button")
    names = [heading.text for heading in headings]
    number = names.index("difference")
    before = column(browser, number)
    assert before[0] == ""
    headings[number].click()
    numbers = [float(value) for value in before if value]
    assert column(browser, number) == [*map(str, sorted(numbers)), ""]
    headings[number].click()
    assert column(browser, number) == [*map(str, sorted(numbers, reverse=True)), ""]
