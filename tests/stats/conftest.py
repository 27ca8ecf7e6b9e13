"""The small labelled dataset and its report, a larger one full of hostile names, and a real browser."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import (
    Face,
    Instance,
    Provenance,
    Review,
    ReviewState,
    Sample,
    Split,
    sample_id,
    sorted_pairs,
)

CHROMIUM = Path("/usr/bin/chromium")

# What may stand in names, authors, addresses, licences and notes that come from outside.
HOSTILE = [
    "<script>window.__hit=1</script>",
    "</script><script>window.__hit=2</script>",
    "<img src=x onerror=window.__hit=3>",
    '"><svg onload=window.__hit=4>',
    "' onmouseover='window.__hit=5' x='",
    "javascript:window.__hit=6",
    "<!--<script>window.__hit=7",
    "--><script>window.__hit=8</script>",
    "</style><script>window.__hit=9</script>",
    "</title><script>window.__hit=10</script>",
    "]]><![CDATA[<script>window.__hit=11</script>",
    "{{constructor.constructor('window.__hit=12')()}}",
    "${window.__hit=13}",
    "`${window.__hit=14}`",
    "\\u003cscript\\u003ewindow.__hit=15\\u003c/script\\u003e",
    "&lt;script&gt;window.__hit=16&lt;/script&gt;",
    "<iframe srcdoc='<script>parent.__hit=17</script>'></iframe>",
    "<object data='data:text/html,<script>parent.__hit=18</script>'></object>",
    "<base href='https://example.org/'>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<link rel=stylesheet href=https://example.org/a.css>",
    "<style>body{display:none}</style>",
    "<a href='//example.org' ping='//example.org'>x</a>",
    "<form action=https://example.org><button>",
    "__proto__",
    "constructor",
    "bell \x07 escape \x1b[31m unit \x1f end",
    "line\nbreak\ttab\rreturn \u2028\u2029",
    "\u202egnp.exe\u202c \u2066",
    "x" * 3000,
]


@pytest.fixture(scope="session")
def report(labelled, tmp_path_factory):
    """(page, samples of the last manifest) of one report; not to be altered."""
    from dataset_tools.stats.page import write_report

    root = tmp_path_factory.mktemp("report")
    workspace, manifests = labelled.build_chain(root / "work")
    page = write_report(manifests, workspace.images, root / "report", title="Faces <& masks>")
    return page, list(manifests["split"].samples())


def write_chain(root: Path, stages: dict[str, list[list[Sample]]]) -> dict[str, Manifest]:
    """Manifests by stage, from their shards."""
    chain = {}
    for stage, shards in stages.items():
        directory = root / "manifests" / stage
        for index, samples in enumerate(shards):
            keys = [sample.provenance.item_key for sample in samples]
            counts = write_shard(directory, index, keys, samples, [])
        chain[stage] = write_header(
            directory, {"counts": dataclasses.asdict(counts), "shards": len(shards), "stage": stage}
        )
    return chain


SIDE_PX = 48
BAND = np.repeat(np.arange(SIDE_PX) // 8 == 1, SIDE_PX).reshape(SIDE_PX, SIDE_PX)  # rows 8 to 15
WRONG = (3, 17, 31)  # photos whose reviewed label is cut in half


def square(left: int, right: int) -> np.ndarray:
    mask = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    mask[20:40, left:right] = True
    return mask


def make_sample(images: ImageStore, number: int) -> tuple[Sample, Sample]:
    """A reviewed photo as it ends, and as it was proposed; every third is rendered, the same in both."""
    rgb = np.full((SIDE_PX, SIDE_PX, 3), 90, dtype=np.uint8)
    rgb[..., 0] += np.uint8(number)
    image = images.put_array(rgb)
    word = HOSTILE[number % len(HOSTILE)]
    is_rendered = number % 3 == 2
    origin = Provenance(
        source=word if number % 2 else "plain",
        item_key=f"{number:03d} {word}",
        licence=word if number % 5 == 0 else "CC0-1.0",
        url="" if is_rendered else f"https://example.org/{word}",
        author=word,
        parent_id="f" * 32 if is_rendered else "",
    )
    final = Sample(
        id=sample_id(image),
        image=image,
        provenance=origin,
        group=str(number),
        faces=(Face((5, 5, 40, 44), 0.9, Wearing.MASKED, "d@1", pose_deg=(float(number - 40), 0, 0)),),
        instances=(
            Instance(
                "m",
                Label.FACE_MASK,
                mask_to_rle(square(10, 19 if number in WRONG else 30)),
                f"synth:{word}" if is_rendered else f"human:{word}",
                attributes=sorted_pairs({"mask_type": ("cloth", "n95", word)[number % 3]}),
            ),
            Instance("f", Label.FACE, mask_to_rle(square(30, 36)), "human:a"),
            *([Instance("o", Label.OCCLUDER, mask_to_rle(BAND), "human:a")] if number == 4 else []),
        ),
        split=(Split.TRAIN, Split.TEST)[number % 4 == 0],
        review=Review()
        if is_rendered
        else Review(ReviewState.CORRECTED, ("a", word), "", word, "majority", 0.5 + number / 200),
        is_labelled=True,
    )
    if is_rendered:
        return final, final
    proposal = Instance("p", Label.FACE_MASK, mask_to_rle(square(10, 31)), f"model:{word}@1", 0.8)
    early = dataclasses.replace(final, instances=(proposal,), review=Review(), is_labelled=False)
    return final, early


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """(page, facts of report.json, samples) of 90 pictures with hostile names; three labels are wrong."""
    import json

    from dataset_tools.stats.page import write_report

    root = tmp_path_factory.mktemp("large")
    images = ImageStore(root)
    pairs = [make_sample(images, number) for number in range(90)]
    shards = [pairs[:40], pairs[40:]]
    chain = write_chain(
        root,
        {
            "prelabel": [[early for _, early in shard] for shard in shards],
            "split": [[final for final, _ in shard] for shard in shards],
        },
    )
    page = write_report(chain, images, root / "report", title=HOSTILE[1])
    facts = json.loads((root / "report" / "report.json").read_text(encoding="utf-8"))
    return page, facts, [final for final, _ in pairs]


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


@pytest.fixture
def open_page(browser):
    """Opens a page offline and, at the end, checks that it neither complained nor asked for anything."""
    contexts, complaints, asked, hits = [], [], [], []

    def opened(path: Path, **options):
        context = browser.new_context(offline=True, **{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (hits.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: request.url.startswith(("data:", path.as_uri())) or asked.append(request.url),
        )
        page.goto(path.as_uri())
        return page

    yield opened
    hits += [page.evaluate("window.__hit") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked == []
    assert [hit for hit in hits if hit is not None] == []
