"""What people see and do, in a real browser on the real server."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from annotation.drawing import FaceBox
from annotation.judging import PROPOSED_BY
from annotation.label_studio.adjudication import VIEWS, adjudication_config
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.codec import encode_results
from annotation.label_studio.labelling import CLICK
from annotation.label_studio.previews import EASY_TITLE
from annotation.label_studio.sending import PROPOSAL_VERSION
from annotation.label_studio.tool import LabelStudioTool
from annotation.session import Case
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.verdict import Verdict
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, ReviewState

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
VIEWPORT = {"width": 1400, "height": 900}
SELECTED = "window.Htx && Htx.annotationStore.selected"
# Corners of the photo in the page, and how large one of its pixels is there.
PLACE = """() => {
    const image = Htx.annotationStore.selected.names.get('image');
    const frame = document.querySelector('.lsf-image').getBoundingClientRect();
    return {x: frame.x, y: frame.y, scale: image.stageWidth * image.zoomScale / image.naturalWidth};
}"""
# What may stand in file names, ids and notes that come from outside.
PAYLOADS = [
    "<script>window.__hit=1</script>",
    "<img src=x onerror=window.__hit=2>",
    '"><svg onload=window.__hit=3>',
    "' onmouseover='window.__hit=4' x='",
    "</View><View><Header value='hit'/></View>",
    "javascript:window.__hit=5",
    "[a](javascript:window.__hit=6) ![b](x)",
    "{{constructor.constructor('window.__hit=7')()}}",
    "${window.__hit=8}",
    "$image",
    "$reason $a",
    "]]><!--",
    "&lt;b&gt;&amp;&#60;script&#62;",
    "<iframe srcdoc='<script>parent.__hit=9</script>'></iframe>",
    "<style>body{display:none}</style>",
    "bell \x07 escape \x1b[31m unit \x1f end",
    "line\nbreak\ttab\rreturn",
    "\u202egnp.exe\u202c \u200f\u2066",
    "../../etc/passwd%00?x=1#y",
    "x" * 3000,
]
STROKE_WIDTH = f"{SELECTED}.names.get('image').getToolsManager().findSelectedTool().strokeWidth"

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason=f"no browser at {CHROMIUM}")


@pytest.fixture(scope="module")
def login(label_studio) -> Iterator[Any]:
    """A browser context in which the server's owner is logged in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        context = browser.new_context(viewport=VIEWPORT)
        page = context.new_page()
        page.goto(f"{label_studio.url}/user/login/")
        page.fill("input[name=email]", label_studio.account.email)
        page.fill("input[name=password]", label_studio.account.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/user/login" not in address)
        page.close()
        yield context
        browser.close()


@pytest.fixture
def page(login) -> Iterator[Any]:
    opened = login.new_page()
    yield opened
    opened.close()


@pytest.fixture
def client(label_studio):
    with LabelStudioClient(label_studio.url, label_studio.account.token) as opened:
        yield opened


@pytest.fixture
def make_tool(label_studio, client, store):
    def make(title: str, **settings: Any) -> LabelStudioTool:
        return LabelStudioTool(
            lambda lane: client, ReviewSettings(url=label_studio.url, project=title, **settings), store
        )

    return make


def showing(*samples):
    return Showing(samples, {})


def tasks_of(client, title):
    (project,) = client.find_projects(title)
    return project, list(client.tasks(project.id, with_annotations=False))


def stored(client, project):
    return client.request("read", "GET", f"api/projects/{project.id}/")


def open_task(page, project, task, regions):
    page.goto(f"{project.url}?task={task.id}")
    page.wait_for_selector("canvas")
    page.wait_for_function(f"{SELECTED} && {SELECTED}.regions.length === {regions}")
    page.wait_for_function(f"{SELECTED}.names.get('image').imageIsLoaded")


def submit(page):
    page.get_by_role("button", name="Submit").click()
    page.wait_for_function(f"{SELECTED} && {SELECTED}.pk")


def test_the_picture_and_the_proposal_are_shown_and_submitted_unchanged(
    make_sample, make_tool, client, page, tmp_path
):
    sample, tool = make_sample(), make_tool("in the browser")
    tool.open(showing(sample), "a")
    project, (task,) = tasks_of(client, "in the browser a")
    open_task(page, project, task, 3)
    shown = page.evaluate(f"{SELECTED}.regions.map(region => [region.type, region.labelName])")
    page.screenshot(path=str(tmp_path / "task.png"))
    submit(page)
    assert shown == [
        ["brushregion", "face_mask"],
        ["brushregion", "face"],
        ["rectangleregion", "face_box"],
    ]
    (verdict,) = tool.pull(showing(sample), "a", ()).verdicts
    assert verdict.state is ReviewState.ACCEPTED
    assert [item.mask for item in verdict.instances] == [item.mask for item in sample.instances]
    assert np.all([item.drawn_by.startswith("human:") for item in verdict.instances])


def test_the_eraser_takes_away_what_the_mouse_went_over_and_nothing_else(
    make_sample, make_tool, client, page, tmp_path
):
    sample, tool = make_sample(1), make_tool("erasing")
    tool.open(showing(sample), "a")
    project, (task,) = tasks_of(client, "erasing a")
    open_task(page, project, task, 3)
    page.locator("[class*=outliner-item]").get_by_text("face_mask").first.click()
    page.keyboard.press("e")
    place = page.evaluate(PLACE)
    start_xy, end_xy = (75, 130), (130, 155)  # across the mask and its hole
    page.mouse.move(place["x"] + start_xy[0] * place["scale"], place["y"] + start_xy[1] * place["scale"])
    page.mouse.down()
    page.mouse.move(
        place["x"] + end_xy[0] * place["scale"], place["y"] + end_xy[1] * place["scale"], steps=12
    )
    page.mouse.up()
    page.screenshot(path=str(tmp_path / "erased.png"))
    submit(page)
    (verdict,) = tool.pull(showing(sample), "a", ()).verdicts
    before, after = (rle_to_mask(items[0].mask) for items in (sample.instances, verdict.instances))
    to_stroke = distance_to_segment(before.shape, start_xy, end_xy)
    radius_px = page.evaluate(STROKE_WIDTH) / 2 / place["scale"]
    erased = before & ~after
    assert verdict.state is ReviewState.CORRECTED
    assert not (after & ~before).any()
    assert to_stroke[erased].max() < radius_px + 0.5  # half a pixel: where the edge's alpha passes 128
    assert to_stroke[after].min() > radius_px - 0.5
    expected = before & ~(to_stroke < radius_px)
    assert (after & expected).sum() / (after | expected).sum() > 0.995
    assert 100 < erased.sum() < 500
    assert verdict.instances[1].mask == sample.instances[1].mask
    shown = sample.instances[0]
    assert dict(verdict.instances[0].attributes) == {**dict(shown.attributes), PROPOSED_BY: shown.drawn_by}


def distance_to_segment(size_hw, start_xy, end_xy):
    """Of every pixel's centre to the segment, px."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    start, step = np.array(start_xy, float), np.subtract(end_xy, start_xy).astype(float)
    along = np.clip(((x - start[0]) * step[0] + (y - start[1]) * step[1]) / (step @ step), 0, 1)
    return np.hypot(x - start[0] - along * step[0], y - start[1] - along * step[1])


def opinion(sample, lane, instances, name, note=""):
    return Verdict(
        sample_id=sample.id,
        item_key=sample.provenance.item_key,
        state=ReviewState.CORRECTED,
        reviewer=name,
        reviewer_email="",
        reviewed_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:00:00Z",
        note=note,
        instances=instances,
        boxes=(FaceBox(0, sample.faces[0].box_xyxy),),
        annotation_id=1,
        project_id=1,
        lane=lane,
    )


@pytest.fixture
def case(make_sample):
    """A contested sample: B saw a strap and half of A's mask; the draft is A's word."""
    sample = make_sample(2)
    half = rle_to_mask(sample.instances[0].mask).copy()
    half[:, :100] = False
    strap = np.zeros(half.shape, dtype=bool)
    strap[118:124, 50:75] = True
    other = (
        dataclasses.replace(sample.instances[0], mask=mask_to_rle(half)),
        Instance("drawn-strap", Label.STRAP, mask_to_rle(strap), "human:Bob Reviewer"),
    )
    opinions = (
        opinion(sample, "a", sample.instances, "Ann Otator"),
        opinion(sample, "b", other, "Bob Reviewer"),
    )
    return Case(sample, sample.instances, opinions, "face_mask: overlap 0.50, less than 0.9; strap: only B")


def test_the_adjudicator_sees_draft_and_difference_at_a_glance_and_submits(
    case, make_tool, client, page, tmp_path
):
    tool = make_tool("contested")
    tool.open_cases([case])
    project, (task,) = tasks_of(client, "contested adjudication")
    open_task(page, project, task, 3)
    page.wait_for_function(
        "[...document.querySelectorAll('.maskset-views img')].filter(item => item.naturalWidth).length === 3"
    )
    bottoms = page.evaluate(
        "[...document.querySelectorAll('.maskset-views img, .lsf-image')]"
        ".map(item => item.getBoundingClientRect().bottom)"
    )
    submit_top = page.get_by_role("button", name="Submit").bounding_box()["y"]
    shown = page.inner_text("body")
    page.screenshot(path=str(tmp_path / "adjudication.png"))
    submit(page)
    assert len(bottoms) == 1 + len(VIEWS)
    assert max(bottoms) < submit_top
    assert case.reason in shown
    assert "Ann Otator" not in shown
    assert "Bob" not in shown
    assert [name for name in ("draft", "A", "B") if name in shown.split("\n")] == ["draft", "A", "B"]
    (verdict,) = tool.pull_cases([case], ()).verdicts
    assert verdict.state is ReviewState.ACCEPTED
    assert [item.mask for item in verdict.instances] == [item.mask for item in case.draft]


def test_easy_tasks_are_looked_through_as_pictures_and_accepted_together(
    make_sample, make_tool, client, label_studio, page, tmp_path
):
    samples = [make_sample(number) for number in range(10, 16)]
    tool = make_tool("easy ones", easy_from=0.5)
    tool.open(showing(*samples), "a")
    project, _ = tasks_of(client, "easy ones a")
    tabs = client.request("read tabs", "GET", "api/dm/views/", params={"project": project.id})
    (tab,) = (row["id"] for row in tabs if row["data"]["title"] == EASY_TITLE)
    page.goto(f"{project.url}?tab={tab}")
    page.wait_for_function(
        "[...document.images].filter(item => /-preview/.test(item.src) && item.naturalWidth).length === 6"
    )
    page.screenshot(path=str(tmp_path / "easy.png"))
    for number in range(2):
        page.get_by_label("Select Task").nth(number).click()
    page.get_by_role("button", name="Actions").click()
    page.get_by_text("Create Annotations From Predictions").click()
    page.get_by_test_id("dialog-ok-button").click()
    page.wait_for_function("document.querySelectorAll('[aria-label^=\"Select Task\"]').length === 4")
    done: list[Any] = []
    for _ in range(300):  # the page shows what it asked for, maybe before the server has done it
        rows = client.request("read", "GET", "api/tasks/", params={"project": project.id, "fields": "all"})
        done = [(row["predictions"], row["annotations"]) for row in rows["tasks"] if row["annotations"]]
        if len(done) == 2:
            break
        page.wait_for_timeout(100)
    assert len(done) == 2
    owner = [person for person in client.people().values() if person.email == label_studio.account.email]
    for (prediction,), (annotation,) in done:
        assert annotation["parent_prediction"] == prediction["id"]
        assert annotation["result"] == prediction["result"]
        assert annotation["completed_by"] == owner[0].id
    pulled = tool.pull(showing(*samples), "a", ())
    assert [verdict.state for verdict in pulled.verdicts] == [ReviewState.ACCEPTED] * 2
    assert pulled.open_tasks == 4


def test_nothing_that_comes_from_outside_runs_or_changes_the_page(
    make_sample, make_tool, client, page, tmp_path
):
    assert len(PAYLOADS) == 20
    plain = make_sample(20)
    masks = [np.zeros(plain.image.size_hw, dtype=bool) for _ in PAYLOADS]
    for number, mask in enumerate(masks):
        mask[10 * number : 10 * number + 8, 20:200] = True
    instances = tuple(
        dataclasses.replace(
            plain.instances[0], id=payload, mask=mask_to_rle(mask), attributes=(("mask_type", payload),)
        )
        for payload, mask in zip(PAYLOADS, masks, strict=True)
    )
    everything = " ".join(PAYLOADS)
    name = dataclasses.replace(plain.provenance, item_key=everything, source=everything)
    sample = dataclasses.replace(plain, instances=instances, provenance=name)
    opinions = [opinion(sample, lane, instances, everything, everything) for lane in "ab"]
    title = "<img src onerror=__hit=10>"
    tool = make_tool(title)
    contested = Case(sample, instances, tuple(opinions), everything)
    tool.open_cases([contested])
    project, (task,) = tasks_of(client, f"{title} adjudication")
    assert stored(client, project)["label_config"] == adjudication_config()
    assert task.data["item_key"] == task.data["reason"] == everything
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    page.goto(project.url)
    page.wait_for_selector(f"text={title}")
    assert page.evaluate("window.__hit") is None
    open_task(page, project, task, len(PAYLOADS) + 1)
    page.wait_for_function("document.querySelectorAll('.maskset-views img').length === 3")
    texts = page.evaluate("[...document.querySelectorAll('*')].map(item => item.textContent)")
    page.screenshot(path=str(tmp_path / "payloads.png"))
    assert everything in texts  # an element with just this text: nothing of it became markup
    for number in range(len(PAYLOADS)):  # the panel then shows the region's id
        page.evaluate(f"{SELECTED}.selectArea({SELECTED}.regions[{number}])")
    page.keyboard.press("u")
    note = " ".join(PAYLOADS[:15])
    page.get_by_placeholder("note").fill(note)
    page.get_by_placeholder("note").press("Enter")
    submit(page)
    assert page.evaluate("window.__hit") is None
    assert dialogs == []
    (verdict,) = tool.pull_cases([contested], ()).verdicts
    assert verdict.state is ReviewState.ACCEPTED
    assert [item.id for item in verdict.instances] == PAYLOADS
    assert [item.mask for item in verdict.instances] == [item.mask for item in instances]
    assert verdict.note == note


@pytest.fixture
def segmenter() -> Iterator[str]:
    """Address of a model that answers every prompt with one square of the label it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Segmenter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class _Segmenter(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer({"status": "UP", "model_class": "Squares"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        prompts = ((asked.get("params") or {}).get("context") or {}).get("result")
        self._answer({"model_version": "squares", "results": [_square(prompts)] if prompts else []})

    def _answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


SQUARE = np.s_[10:40, 10:40]


def _square(prompts):
    size_hw = prompts[0]["original_height"], prompts[0]["original_width"]
    mask = np.zeros(size_hw, dtype=bool)
    mask[SQUARE] = True
    assert prompts[0]["from_name"] == CLICK
    label = Label(prompts[0]["value"]["keypointlabels"][0])
    answer = Instance("square", label, mask_to_rle(mask), "model:squares@1", 0.5)
    return {"model_version": "squares", "score": 0.5, "result": encode_results([answer], (), size_hw)}


def test_a_click_asks_the_model_and_its_accepted_answer_is_all_that_remains(
    make_sample, client, store, label_studio, segmenter, page, tmp_path
):
    sample = make_sample(3)
    tool = LabelStudioTool(
        lambda lane: client,
        ReviewSettings(url=label_studio.url, project="assisted"),
        store,
        assist=lambda reached, project: reached.add_backend(project, segmenter, "squares"),
    )
    tool.open(showing(sample), "a")
    project, (task,) = tasks_of(client, "assisted a")
    # Else "Label All Tasks" would fill in the model's answer of that moment instead of the proposal.
    assert stored(client, project)["model_version"] == PROPOSAL_VERSION
    open_task(page, project, task, 3)
    page.get_by_text("Auto-Annotation", exact=True).last.click()
    page.get_by_text("verdict", exact=True).click()  # the switch would swallow the keys
    place = page.evaluate(PLACE)
    for key in ("k", "Shift+s"):
        page.keyboard.press(key)
    page.mouse.click(place["x"] + 20 * place["scale"], place["y"] + 220 * place["scale"])
    page.get_by_test_id("bottombar-accept-suggestions-button").wait_for()
    page.screenshot(path=str(tmp_path / "asked.png"))
    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    page.wait_for_function(f"{SELECTED}.regionStore.suggestions.length === 0")
    submit(page)
    (verdict,) = tool.pull(showing(sample), "a", ()).verdicts
    assert verdict.state is ReviewState.CORRECTED
    *kept, added = verdict.instances
    assert [item.mask for item in kept] == [item.mask for item in sample.instances]
    assert added.label is Label.STRAP
    expected = np.zeros(sample.image.size_hw, dtype=bool)
    expected[SQUARE] = True
    assert (rle_to_mask(added.mask) == expected).all()
