"""The gallery in a real browser: filters, overlays, keyboard, colours, print; and its data."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.text import printable
from dataset_tools.stats.facets import FACETS
from dataset_tools.stats.gallery import script_json


def pixels(locator) -> np.ndarray:
    with Image.open(io.BytesIO(locator.screenshot())) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def show_all(page) -> int:
    """Ask for more until no card is left to build; gives their number."""
    page.evaluate("{ const more = document.querySelector('#more'); while (!more.hidden) more.click(); }")
    return page.locator("#cards li").count()


def matching(page) -> int:
    return int(page.inner_text("#shown").split()[0])


@pytest.mark.parametrize("facet", [*FACETS])
def test_each_filter_shows_exactly_the_pictures_the_facts_count(large, open_page, facet):
    path, facts, _ = large
    page = open_page(path)
    for value, count in facts["pictures_by"][facet].items():
        page.select_option(f"#filter-{facet}", f"={printable(value)}")
        assert matching(page) == count, value
    assert show_all(page) == count


def test_filters_narrow_each_other_and_a_reset_brings_all_back(large, open_page):
    path, facts, samples = large
    page = open_page(path)
    assert (matching(page), page.locator("#cards li").count()) == (90, 60)
    page.select_option("#filter-split", "=test")
    page.select_option("#filter-kind", "=real")
    wanted = {item.id for item in samples if item.split.value == "test" and not item.is_synthetic}
    assert matching(page) == len(wanted)
    shown = page.eval_on_selector_all("#cards li", "items => items.map(item => item.dataset.id)")
    assert set(shown) == wanted
    assert f"test ({facts['by_split']['kind']['real/test']})" in page.inner_text("#filter-split")
    page.get_by_role("button", name="Reset").click()
    page.get_by_text("90 of 90 pictures match").wait_for()
    assert show_all(page) == 90


def test_more_cards_come_by_scrolling(large, open_page):
    page = open_page(large[0])
    page.locator("#cards li").nth(59).scroll_into_view_if_needed()
    page.locator("#cards li").nth(89).wait_for()
    assert page.locator("#cards li").count() == 90
    assert not page.locator("#more").is_visible()


def test_a_picture_is_found_by_its_name_and_by_its_id(large, open_page):
    path, _, samples = large
    page = open_page(path)
    for words in (samples[17].provenance.item_key[:12], samples[17].id):
        page.fill("#search", words)
        assert matching(page) == 1
        assert page.locator("#cards li").get_attribute("data-id") == samples[17].id


def test_each_overlay_changes_its_own_pixels_and_no_others(large, open_page):
    path, _, samples = large
    page = open_page(path)
    page.fill("#search", samples[4].id)
    picture = page.locator("#cards .frame")
    scale = page.evaluate("document.querySelector('#cards .frame').clientWidth") / 48
    both = pixels(picture)
    boxes = {
        "face_mask": (10, 20, 30, 40),
        "face": (30, 20, 36, 40),
        "guess": (10, 20, 31, 40),
        "occluder": (0, 8, 48, 16),
    }
    for layer, box_xyxy in boxes.items():
        page.uncheck(f"[data-layer={layer}]")
        changed = np.argwhere((pixels(picture) != both).any(axis=2))
        page.check(f"[data-layer={layer}]")
        (top, first), (bottom, last) = changed.min(axis=0), changed.max(axis=0)
        assert np.abs(np.array([first, top, last, bottom]) / scale - box_xyxy).max() < 1.5, layer
    assert (pixels(picture) == both).all()


def test_an_opacity_of_zero_shows_the_bare_picture(large, open_page):
    path, _, samples = large
    page = open_page(path)
    page.fill("#search", samples[4].id)
    picture = page.locator("#cards .frame")
    page.fill("#opacity", "0")
    bare = pixels(picture)[12:-12, 12:-12]  # the card's corners are round
    assert np.abs(bare - bare[0, 0]).max() <= 3  # the picture is one colour
    page.fill("#opacity", "100")
    full = pixels(picture)[12:-12, 12:-12]
    assert np.abs(full - bare).max() > 60
    assert (full == bare).all(axis=2).any()


def test_the_most_suspicious_pictures_come_first_and_are_the_wrong_ones(large, open_page):
    path, facts, samples = large
    wrong = {samples[number].id for number in (3, 31)} | {samples[17].id} - {
        item.id for item in samples if item.is_synthetic
    }
    page = open_page(path)
    page.select_option("#order", "doubt")
    shown = page.eval_on_selector_all("#cards li", "items => items.map(item => item.dataset.id)")
    assert set(shown[: len(wrong)]) == wrong
    assert {row["sample"] for row in facts["noise"]["most_suspicious"][: len(wrong)]} == wrong
    page.select_option("#filter-suspicion", "=30% and more")
    assert matching(page) == len(wrong)
    page.select_option("#filter-suspicion", "=no prediction")
    assert matching(page) == sum(item.is_synthetic for item in samples)


def test_the_gallery_is_used_by_keyboard_alone(large, open_page):
    page = open_page(large[0])
    page.focus("#controls button[type=reset]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    first = page.inner_text("#detail-title")
    assert page.locator("#detail").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#detail-title") != first
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#detail-title") == first
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    page.focus("[data-layer=face]")
    page.keyboard.press("Space")
    assert page.evaluate("getComputedStyle(document.querySelector('path.l-face')).display") == "none"


def test_hostile_names_are_shown_as_they_are_and_nothing_else_happens(large, open_page):
    path, _, samples = large
    page = open_page(path)
    assert show_all(page) == 90
    page.locator("#cards button").first.click()
    seen = []
    for _ in range(90):
        seen.append(page.inner_text("#detail").replace("\xa0", " "))
        if page.locator("#next").is_enabled():
            page.locator("#next").click()
    shown = "\n".join(seen)
    for sample in samples:
        assert " ".join(printable(sample.provenance.author).split()) in " ".join(shown.split())
    assert page.evaluate("document.querySelectorAll('iframe, object, base, link, a[ping]').length") == 0
    assert page.evaluate("document.querySelectorAll('form').length") == 1
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def test_everything_that_is_used_has_a_name(large, open_page):
    page = open_page(large[0])
    page.locator("#cards button").first.click()
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, select, img, [role=img]')]
        .filter(item => item.offsetParent !== null)
        .filter(item => !(item.alt || item.ariaLabel || item.textContent.trim()
            || [...(item.labels || [])].map(label => label.textContent.trim()).join('')))
        .map(item => item.outerHTML.slice(0, 120))""")
    assert nameless == []
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(i => i.id)).size"
    ) == page.evaluate("document.querySelectorAll('[id]').length")


@pytest.mark.parametrize("value", ["</script>", "<!--", "&", "\u2028", "\ud800", '"'])
def test_data_in_a_script_can_neither_end_it_nor_change(value):
    written = script_json({"a": value})
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {"a": value}
