"""Pages that show pictures side by side: duplicates of one dataset, leaks between two."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample
from dataset_tools.filter.duplicates import (
    Dropped,
    DuplicatePlan,
    Fingerprint,
    fingerprint,
    plan_duplicates,
)
from dataset_tools.leaks import KINDS, Leak, Opened, read_picture
from dataset_tools.stats.contact_sheet import thumbnail
from dataset_tools.stats.html import picture, text

MOST_CLUSTERS = 200
MOST_PICTURES = 12
_TILE_PX = 160
_ID_DIGITS = 12  # of 32: enough to tell pictures apart by eye
_ID = re.compile(r"[0-9a-f]{32}")

_SAID_OF_KIND = {
    "content": "the same bytes",
    "near": "looks the same",
    "mirrored": "looks the same, left and right changed",
    "face": "the same shot of a face, cut otherwise",
    "parent": "one was rendered from the other, or both from one photo",
    "group": "both put it into a group of this name",
}

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1200px;padding:0 1rem;color:#222;
background:#fafafa}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:1rem;align-items:start}
section{background:#fff;border:1px solid #ddd;border-radius:6px;padding:.6rem 1rem}
section.wide{grid-column:1/-1}
h2{font-size:1rem;margin:.2rem 0 .6rem}
figure{display:inline-block;vertical-align:top;margin:0 .8rem .6rem 0;width:180px}
figcaption{font-size:.8rem;overflow-wrap:anywhere;color:#444}
img{max-width:160px;height:auto;border-radius:3px}
.note{color:#666}
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page.

    Attributes:
        caption: lines under it.
        read: gives its pixels, (H, W, 3) uint8; may raise `ItemFault`.
    """

    caption: tuple[str, ...]
    read: Callable[[], RgbImage]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pictures that belong together, and why.

    Attributes:
        heading: one line.
        pictures: those that are shown.
        hidden: how many more there are.
    """

    heading: str
    pictures: tuple[Shown, ...]
    hidden: int = 0


def render_clusters(title: str, lead: str, clusters: Sequence[Cluster]) -> str:
    """One self-contained HTML page; what is too much for it is counted.

    Args:
        title: heading.
        lead: one sentence below it.
        clusters: the largest first; `MOST_CLUSTERS` are shown.
    """
    body = "".join(map(_section, clusters[:MOST_CLUSTERS]))
    more, hidden = "", len(clusters) - MOST_CLUSTERS
    if hidden > 0:
        more = f'<p class="note">{hidden:,} more are not shown.</p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body><h1>{text(title)}</h1>"
        f"<p>{text(lead)}</p><main>{body}</main>{more}</body></html>\n"
    )


def _section(cluster: Cluster) -> str:
    figures = "".join(map(_figure, cluster.pictures))
    more = f'<p class="note">and {cluster.hidden:,} more</p>' if cluster.hidden else ""
    wide = ' class="wide"' if len(cluster.pictures) > 2 else ""
    return f"<section{wide}><h2>{text(cluster.heading)}</h2>{figures}{more}</section>"


def _figure(shown: Shown) -> str:
    try:
        image = picture(thumbnail(shown.read(), (), _TILE_PX), shown.caption[0])
    except ItemFault as fault:
        image = f'<p class="note">{text(fault)}</p>'
    caption = "<br>".join(text(line) for line in shown.caption if line)
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def duplicate_clusters(
    manifest: Manifest,
    images: ImageStore,
    *,
    drop_distance: int,
    group_distance: int,
    face_distance: int | None = None,
) -> tuple[DuplicatePlan, list[Cluster]]:
    """What the filter would drop and group together in a manifest.

    Args:
        manifest: of `detect`, which knows the faces, or of the crawl.
        images: its pictures.
        drop_distance, group_distance, face_distance: as `filter.duplicates.plan_duplicates`.

    Returns:
        The plan, and its clusters, the largest first, `MOST_PICTURES` of each; what stays stands first.
    """
    plan = plan_duplicates(
        map(fingerprint, manifest.samples()),
        drop_distance=drop_distance,
        group_distance=group_distance,
        face_distance=face_distance,
    )
    kept = {why.kept_key for why in plan.dropped.values()}
    joined = set(plan.groups.values())
    members: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in manifest.samples():
        group, key = plan.groups.get(sample.group, sample.group), sample.provenance.item_key
        if group in joined or key in plan.dropped or key in kept:
            members[group].append(sample)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return plan, [_cluster(group, samples, plan, images) for group, samples in ordered]


def _cluster(group: str, samples: list[Sample], plan: DuplicatePlan, images: ImageStore) -> Cluster:
    def order(sample: Sample) -> tuple[bool, str]:
        return sample.provenance.item_key in plan.dropped, sample.provenance.item_key

    staying = len(samples) - sum(sample.provenance.item_key in plan.dropped for sample in samples)
    heading = f"{len(samples)} pictures, {staying} of them kept, in group {_short(group)}"
    prints = [fingerprint(sample) for sample in samples]
    pictures = []
    for sample in sorted(samples, key=order)[:MOST_PICTURES]:
        height, width = sample.image.size_hw
        why = plan.dropped.get(sample.provenance.item_key)
        said = _nearest(fingerprint(sample), prints) if why is None else _said_of(why)
        caption = (sample.provenance.item_key, f"{width}×{height}, id {_short(sample.id)}", said)
        pictures.append(Shown(caption, partial(images.read, sample.image)))
    return Cluster(heading, tuple(pictures), len(samples) - len(pictures))


def _said_of(why: Dropped) -> str:
    if why.reason is Reason.DUPLICATE:
        return f"dropped: the same picture as {why.kept_key}"
    return f"dropped: {why.distance} of 64 bits from {why.kept_key}"


def _nearest(one: Fingerprint, others: Sequence[Fingerprint]) -> str:
    """Which picture of the cluster it resembles most, and in what; that may be another than its link."""
    found = [
        (bits, kind, other.item_key)
        for other in others
        if other.item_key != one.item_key
        for kind, bits in _distances(one, other)
    ]
    if not found:
        return "kept"
    bits, kind, key = min(found, key=lambda one: (one[0], one[1] != "picture", one))
    return f"kept; {kind} {bits} of 64 bits from {key}"


def _distances(one: Fingerprint, other: Fingerprint) -> Iterator[tuple[str, int]]:
    if one.phash is not None and other.phash is not None:
        yield "picture", (one.phash ^ other.phash).bit_count()
    for mine in one.faces:
        for theirs in other.faces:
            yield "face", (mine.seen ^ theirs.seen).bit_count()
            yield "face, mirrored,", (mine.seen ^ theirs.mirrored).bit_count()


def _short(name: str) -> str:
    return name[:_ID_DIGITS] + "…" if _ID.fullmatch(name) else name


def leak_clusters(leaks: Iterable[Leak], first: Opened, second: Opened) -> list[Cluster]:
    """A pair of pictures for each leak, as `find_leaks` orders them."""
    ours = {one.name: one for one in first.pictures}
    theirs = {one.name: one for one in second.pictures}
    clusters = []
    for leak in leaks:
        pair = ((first.title, ours[leak.first]), (second.title, theirs[leak.second]))
        shown = tuple(
            Shown(
                (one.name, f"id {_short(one.id)}" if one.id else "", f"in {title}"),
                partial(read_picture, one),
            )
            for title, one in pair
        )
        bits = f", {leak.distance} of 64 bits differ" if leak.distance >= 0 else ""
        clusters.append(Cluster(f"{leak.kind}: {_SAID_OF_KIND[leak.kind]}{bits}", shown))
    return clusters


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """Counts by kind, for people."""
    counts = [(kind, sum(leak.kind == kind for leak in leaks)) for kind in KINDS]
    return ", ".join(f"{kind} {count}" for kind, count in counts if count) or "none"
