"""Pages that show pictures side by side: duplicates of one dataset, leaks between two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Sample
from dataset_tools.filter.duplicates import DuplicatePlan, fingerprint, plan_duplicates
from dataset_tools.leaks import KINDS, Leak, Opened, read_picture
from dataset_tools.stats.contact_sheet import thumbnail
from dataset_tools.stats.html import picture, text

MOST_CLUSTERS = 200
MOST_PICTURES = 12
_TILE_PX = 160

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1200px;padding:0 1rem;color:#222;
background:#fafafa}
section{background:#fff;border:1px solid #ddd;border-radius:6px;padding:.6rem 1rem;margin:1rem 0}
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
    """Pictures that belong together, and why."""

    heading: str
    pictures: tuple[Shown, ...]


def render_clusters(title: str, lead: str, clusters: Sequence[Cluster]) -> str:
    """One self-contained HTML page; what is too much for it is counted.

    Args:
        title: heading.
        lead: one sentence below it.
        clusters: the largest first; `MOST_CLUSTERS` are shown, `MOST_PICTURES` of each.
    """
    body = "".join(map(_section, clusters[:MOST_CLUSTERS]))
    hidden = len(clusters) - MOST_CLUSTERS
    if hidden > 0:
        body += f'<p class="note">{hidden:,} more are not shown.</p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body><h1>{text(title)}</h1>"
        f"<p>{text(lead)}</p>{body}</body></html>\n"
    )


def _section(cluster: Cluster) -> str:
    figures = "".join(map(_figure, cluster.pictures[:MOST_PICTURES]))
    hidden = len(cluster.pictures) - MOST_PICTURES
    more = f'<p class="note">and {hidden:,} more</p>' if hidden > 0 else ""
    return f"<section><h2>{text(cluster.heading)}</h2>{figures}{more}</section>"


def _figure(shown: Shown) -> str:
    try:
        image = picture(thumbnail(shown.read(), (), _TILE_PX), shown.caption[0])
    except ItemFault as fault:
        image = f'<p class="note">{text(fault)}</p>'
    caption = "<br>".join(map(text, shown.caption))
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def duplicate_clusters(
    manifest: Manifest, images: ImageStore, *, drop_distance: int, group_distance: int
) -> tuple[DuplicatePlan, list[Cluster]]:
    """What the filter would drop and group together in a manifest.

    Args:
        manifest: usually that of the crawl.
        images: its pictures.
        drop_distance, group_distance: as `filter.duplicates.plan_duplicates`.

    Returns:
        The plan, and its clusters, the largest first; what stays stands first in each.
    """
    plan = plan_duplicates(
        map(fingerprint, manifest.samples()), drop_distance=drop_distance, group_distance=group_distance
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

    dropped = sum(sample.provenance.item_key in plan.dropped for sample in samples)
    heading = f"{len(samples)} pictures, {len(samples) - dropped} stay, in group {group}"
    return Cluster(heading, tuple(_shown(sample, plan, images) for sample in sorted(samples, key=order)))


def _shown(sample: Sample, plan: DuplicatePlan, images: ImageStore) -> Shown:
    height, width = sample.image.size_hw
    why = plan.dropped.get(sample.provenance.item_key)
    said = "stays" if why is None else f"{why.reason}, {why.distance} bits from {why.kept_key}"
    caption = (sample.provenance.item_key, f"{width}×{height}, id {sample.id}", said)
    return Shown(caption, partial(images.read, sample.image))


def leak_clusters(leaks: Iterable[Leak], first: Opened, second: Opened) -> list[Cluster]:
    """A pair of pictures for each leak, as `find_leaks` orders them."""
    ours = {one.name: one for one in first.pictures}
    theirs = {one.name: one for one in second.pictures}
    clusters = []
    for leak in leaks:
        pair = ((first.title, ours[leak.first]), (second.title, theirs[leak.second]))
        shown = tuple(
            Shown((one.name, f"id {one.id}", f"in {title}"), partial(read_picture, one))
            for title, one in pair
        )
        bits = f", {leak.distance} of 64 bits differ" if leak.distance >= 0 else ""
        clusters.append(Cluster(f"{leak.kind}{bits}", shown))
    return clusters


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """Counts by kind, for people."""
    counts = [(kind, sum(leak.kind == kind for leak in leaks)) for kind in KINDS]
    return ", ".join(f"{kind} {count}" for kind, count in counts if count) or "none"
