"""The page: complete, harmless, self-contained, and working in a real browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dataset_tools.core.errors import ConfigError
from dataset_tools.stats.page import choose_samples, render_page, write_report

CHROMIUM = Path("/usr/bin/chromium")


class Reader(HTMLParser):
    VOID = ("meta", "img", "br", "rect", "line")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def test_the_page_holds_no_script_and_no_address_but_its_own_pictures(report):
    reader = read(report[0])
    assert "script" not in reader.tags and "link" not in reader.tags
    assert len(reader.links) == 6
    assert all(link.startswith("data:image/jpeg;base64,") for link in reader.links)
    assert "url(" not in report[0].read_text(encoding="utf-8")


def test_foreign_text_is_shown_and_never_obeyed(report):
    text = report[0].read_text(encoding="utf-8")
    assert "<script" not in text and "\x1b" not in text
    assert "Faces <& masks>" in read(report[0]).text
    assert "https://example.org/<script>alert(1)</script>" in read(report[0]).text
    assert "ends\\x1b[31m early" in read(report[0]).text


def test_the_page_and_report_json_hold_the_same_facts(report):
    facts = json.loads((report[0].parent / "report.json").read_text(encoding="utf-8"))
    text = read(report[0]).text
    assert facts["flow"]["crawl"]["inputs"] == 8
    assert facts["flow"]["crawl"]["kept"] + facts["flow"]["crawl"]["rejected"] == 8
    for reason in ("http_4xx", "truncated"):
        assert reason in text
    assert "6 pictures with 2 detected faces and 5 labelled face masks" in text
    assert facts["mask_types"] == {"not known": 2, "cloth": 1, "n95": 1, "surgical": 1}


def test_the_same_manifests_give_the_same_bytes(report, labelled, tmp_path):
    workspace, manifests = labelled.build_chain(tmp_path / "work")
    again = write_report(manifests, workspace.images, tmp_path / "report", title="Faces <& masks>")
    assert again.read_bytes() == report[0].read_bytes()


def test_a_missing_picture_leaves_a_note_and_the_rest(labelled, tmp_path):
    workspace, manifests = labelled.build_chain(tmp_path / "work")
    lost = next(manifests["split"].samples())
    workspace.images.path(lost.image).unlink()
    reader = read(write_report(manifests, workspace.images, tmp_path / "report"))
    assert len(reader.links) == 5
    assert "is not in the workspace" in reader.text


def test_an_empty_chain_is_refused(tmp_path, labelled):
    with pytest.raises(ConfigError, match="finished stage"):
        write_report({}, labelled.ImageStore(tmp_path), tmp_path)


def test_an_empty_dataset_still_gives_a_page(tmp_path):
    from dataset_tools.stats.facts import collect_facts

    page = tmp_path / "page.html"
    page.write_text(render_page(collect_facts([]), [], "empty"), encoding="utf-8")
    assert "Nothing was rejected." in read(page).text


def test_the_sheet_shows_every_kind_and_the_same_samples_in_any_order(report):
    chosen = choose_samples(report[1], per_kind=2)
    assert chosen == choose_samples(reversed(report[1]), per_kind=2)
    assert [(item.is_labelled, item.is_synthetic) for item in chosen] == [
        (True, False), (True, False), (True, True), (False, False),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield launched
        launched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_real_browser_shows_it_offline_without_a_complaint(report, browser, scheme):
    context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report[0].as_uri())
    widths = page.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
    assert len(widths) == 6 and all(widths)
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.clientHeight > 15)")
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(ink, paper) > 7
    assert (luminance(paper) < 0.5) == (scheme == "dark")
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [report[0].as_uri()]
    context.close()


def test_a_narrow_screen_needs_no_sideways_scrolling(report, browser):
    context = browser.new_context(viewport={"width": 380, "height": 800})
    page = context.new_page()
    page.goto(report[0].as_uri())
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    context.close()


def luminance(css: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", css)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
