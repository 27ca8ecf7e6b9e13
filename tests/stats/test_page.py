"""The page: complete, harmless, self-contained, and working in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.stats import sections
from dataset_tools.stats.page import write_report


class Reader(HTMLParser):
    VOID = ("meta", "img", "br", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.policy = ""
        self.scripts: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "script":
            self.scripts.append((given.get("type", ""), ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            kind, before = self.scripts.pop()
            self.scripts.append((kind, before + data))
        elif self.open[-1:] != ["style"]:
            self.text += data


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def rows_of(page: Path) -> list[dict]:
    (data,) = (text for kind, text in read(page).scripts if kind == "application/json")
    return json.loads(data)["rows"]


def pictures_of(page: Path) -> list[str]:
    return [line for kind, text in read(page).scripts if kind == "text/plain" for line in text.split("\n")]


def test_the_page_holds_one_script_which_its_policy_names_and_no_address(report):
    reader = read(report[0])
    (script,) = (text for kind, text in reader.scripts if kind == "")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in reader.policy
    assert "default-src 'none'" in reader.policy
    assert "link" not in reader.tags
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in reader.links)
    assert "url(" not in report[0].read_text(encoding="utf-8")


def test_every_picture_of_a_small_dataset_is_carried_along(report):
    rows, pictures = rows_of(report[0]), pictures_of(report[0])
    assert {row["id"] for row in rows} == {sample.id for sample in report[1]}
    assert len(pictures) == len(rows) == 6
    assert all(base64.b64decode(line).startswith(b"\xff\xd8") for line in pictures)


def test_foreign_text_is_shown_and_never_obeyed(report):
    text = report[0].read_text(encoding="utf-8")
    assert "<script>alert" not in text and "\x1b" not in text
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


def test_without_a_models_opinion_the_page_says_so_and_invents_nothing(report):
    facts = json.loads((report[0].parent / "report.json").read_text(encoding="utf-8"))
    assert facts["noise"]["wrong_share_of_face_mask"] is None
    assert facts["noise"]["most_suspicious"] == []
    assert "no picture has both a ground truth and a model's opinion" in read(report[0]).text
    assert "No picture was labelled by two or more people" in read(report[0]).text


def test_agreement_and_noise_are_told_where_they_are_known(large):
    page, facts, samples = large
    seen = [item.review.agreement for item in samples if item.review.agreement is not None]
    assert facts["agreement"]["mean"] == pytest.approx(sum(seen) / len(seen), abs=1e-4)
    assert sum(facts["agreement"]["pictures"].values()) == len(seen) == 60
    assert facts["noise"]["pictures_from_proposals"] == 60
    assert f"Mean {facts['agreement']['mean']:.3f} over 60 pictures" in read(page).text


def test_people_who_drew_or_reviewed_are_counted_and_not_named(labelled, tmp_path):
    workspace, manifests = labelled.build_chain(tmp_path / "work")
    page = write_report(manifests, workspace.images, tmp_path / "report")
    written = page.read_text() + (page.parent / "report.json").read_text()
    assert "human:test" not in written
    assert '"human:": 4' in written


def test_the_same_manifests_give_the_same_bytes(report, labelled, tmp_path):
    workspace, manifests = labelled.build_chain(tmp_path / "work")
    again = write_report(manifests, workspace.images, tmp_path / "report", title="Faces <& masks>")
    assert again.read_bytes() == report[0].read_bytes()


def test_a_missing_picture_leaves_a_note_and_the_rest(labelled, tmp_path):
    workspace, manifests = labelled.build_chain(tmp_path / "work")
    lost = next(manifests["split"].samples())
    workspace.images.path(lost.image).unlink()
    page = write_report(manifests, workspace.images, tmp_path / "report")
    faults = {row["id"]: row["fault"] for row in rows_of(page) if "fault" in row}
    assert list(faults) == [lost.id]
    assert "is not in the workspace" in faults[lost.id]
    assert sum(map(bool, pictures_of(page))) == 5


def test_an_empty_chain_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="finished stage"):
        write_report({}, ImageStore(tmp_path), tmp_path)


def test_an_empty_dataset_still_gives_a_page(tmp_path, open_page):
    directory = tmp_path / "manifests" / "crawl"
    write_shard(directory, 0, [], [], [])
    chain = {"crawl": write_header(directory, {"counts": {}, "shards": 1})}
    assert isinstance(chain["crawl"], Manifest)
    path = write_report(chain, ImageStore(tmp_path), tmp_path / "report", "empty")
    assert "Nothing was rejected." in read(path).text
    assert open_page(path).inner_text("#shown") == "0 of 0 pictures match"


def test_every_section_counts_every_picture_once(large):
    facts = large[1]
    for facet in ("split", "kind", "source", "licence", "review"):
        assert sum(facts["pictures_by"][facet].values()) == 90
    assert sum(facts["by_split"]["kind"].values()) == 90
    assert sections.MEANINGS.keys() == {"human", "synth", "published", "model"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_real_browser_shows_it_offline_and_readable(report, open_page, scheme):
    page = open_page(report[0], color_scheme=scheme)
    widths = page.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
    assert len(widths) == 6 and all(widths)
    for selector in ("body", ".note", "nav a", ".lead", "#cards .caption", "button", "td small"):
        ink, paper = page.eval_on_selector(
            selector,
            """item => {
                let behind = item;
                while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
                    behind = behind.parentElement;
                return [getComputedStyle(item).color, getComputedStyle(behind).backgroundColor];
            }""",
        )
        assert contrast(ink, paper) > 4.5, selector
        assert (luminance(paper) < 0.5) == (scheme == "dark")
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def test_the_switch_goes_through_light_and_dark_and_back(report, open_page):
    page = open_page(report[0], color_scheme="light")
    switch = page.locator("#theme")

    def is_dark() -> bool:
        return luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.5

    seen = []
    for _ in range(4):
        seen.append((switch.inner_text(), is_dark()))
        switch.click()
    assert seen == [
        ("Colours: automatic", False),
        ("Colours: light", False),
        ("Colours: dark", True),
        ("Colours: automatic", False),
    ]


@pytest.mark.parametrize("width", [390, 320])
def test_a_narrow_screen_needs_no_sideways_scrolling(large, open_page, width):
    page = open_page(large[0], viewport={"width": width, "height": 800})
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    small = page.evaluate("""() => Math.min(...[...document.querySelectorAll('.columns *, .bars *, .cross *')]
        .filter(item => item.textContent.trim())
        .map(item => parseFloat(getComputedStyle(item).fontSize)))""")
    assert small >= 12


def test_it_prints_in_black_on_white_without_its_controls(large, open_page):
    page = open_page(large[0], color_scheme="dark")
    printed = page.pdf(format="A4", print_background=True)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 16
    page.emulate_media(media="print")
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.95
    assert luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.05
    for hidden in ("#controls", "#theme", "nav", "#more"):
        assert not page.locator(hidden).is_visible()
    assert sum(item.is_visible() for item in page.locator("#cards li").all()) == 24
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def luminance(css: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", css)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
