"""How an exported manifest came about: stages, sources, opt-outs and rejections, read from its chain."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.manifest import Manifest, ShardCounts
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection

# Kinds of sources that take over what others have published with labels.
_PUBLISHED_KINDS = frozenset({"coco", "pairs", "dataset"})
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_OPT_OUTS = frozenset({Reason.ROBOTS, Reason.OPT_OUT})


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage as it ran.

    Attributes:
        name, version: of the stage.
        seed: "" for a stage that draws nothing at random.
        counts: how its items ended.
    """

    name: str
    version: str
    seed: str
    counts: ShardCounts


@dataclass(slots=True)
class History:
    """What led to the exported manifest.

    Attributes:
        stages: in the order they ran.
        is_complete: False when manifests of earlier stages are gone from the workspace, so that counts of
            rejections and opt-outs may be too low.
        rejections: by (stage, reason); those of the export itself among them.
        opt_outs: refused for a wish of their site, by kind: robots.txt, X-Robots-Tag, …
        sources: configured kind ("folder", "openverse", …) by source name.
        published: name of each published dataset that a source reads, on the Hub ("user/name") or as the
            configuration calls it, by source name.
        obeys_robots, obeys_opt_outs: as the crawl was set; None when it is not on record.
        keeps_originals: the workspace holds the bytes as they were fetched, too.
        first_day, last_day: of the downloads, e.g. "2026-01-31"; "" for local files alone.
    """

    stages: list[StageRun] = field(default_factory=list)
    is_complete: bool = True
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)
    opt_outs: Counter[str] = field(default_factory=Counter)
    sources: dict[str, str] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    obeys_robots: bool | None = None
    obeys_opt_outs: bool | None = None
    keeps_originals: bool = False
    first_day: str = ""
    last_day: str = ""

    @property
    def duplicates(self) -> dict[str, int]:
        """Items dropped as an exact and as a near copy of another one."""
        wanted = (Reason.DUPLICATE.value, Reason.NEAR_DUPLICATE.value)
        return {
            word: sum(count for (_, reason), count in self.rejections.items() if reason == word)
            for word in wanted
        }

    def as_json(self) -> dict[str, Any]:
        """The same as plain, sorted JSON values."""
        return {
            "stages": [{"name": run.name, "version": run.version, "seed": run.seed} for run in self.stages],
            "is_complete": self.is_complete,
            "opt_outs": dict(sorted(self.opt_outs.items())),
            "obeys_robots": self.obeys_robots,
            "obeys_opt_outs": self.obeys_opt_outs,
            "first_day": self.first_day,
            "last_day": self.last_day,
        }


def read_history(manifest: Manifest, rejections: Iterable[Rejection] = ()) -> History:
    """Read the chain that ends in `manifest`; `rejections` are those of the export itself."""
    history = History()
    chain = manifest_chain(manifest)
    history.is_complete = not chain[0].header.get("parent", "")
    for found in chain:
        history.stages.append(_run(found))
        _add_rejections(history, found.stage, found.rejections())
        if found.stage == "crawl":
            _add_crawl(history, found)
    _add_rejections(history, "export", rejections)
    return history


def manifest_chain(manifest: Manifest) -> list[Manifest]:
    """The manifests that led to this one, from the crawl on; parents that are gone end the chain."""
    chain = [manifest]
    while parent := str(chain[0].header.get("parent", "")):
        found = sorted((manifest.workspace / "manifests").glob(f"*-{parent[:12]}"))
        opened = _open_first(found, parent)
        if opened is None:
            break
        chain.insert(0, opened)
    return chain


def _open_first(folders: Iterable[Path], key: str) -> Manifest | None:
    for folder in folders:
        try:
            manifest = Manifest(folder)
        except ManifestError:
            continue
        if manifest.key == key:
            return manifest
    return None


def _run(manifest: Manifest) -> StageRun:
    config = manifest.header.get("config")
    seed = config.get("seed", "") if isinstance(config, dict) else ""
    return StageRun(manifest.stage, str(manifest.header.get("stage_version", "")), str(seed), manifest.counts)


def _add_rejections(history: History, stage: str, rejections: Iterable[Rejection]) -> None:
    for item in rejections:
        history.rejections[(stage, item.reason.value)] += 1
        if item.reason in _OPT_OUTS:
            history.opt_outs[opt_out_kind(item)] += 1


def opt_out_kind(rejection: Rejection) -> str:
    """By which means a site refused: the word for the table."""
    if rejection.reason is Reason.ROBOTS:
        # A robots.txt that could not be read forbids as well (RFC 9309, section 2.3.1.4).
        return "robots.txt not readable" if rejection.retryable else "robots.txt"
    means = {
        "X-Robots-Tag": "X-Robots-Tag",
        "<meta>": "robots meta tag",
        "text and data mining": "TDM reservation",
    }
    return next((kind for words, kind in means.items() if words in rejection.detail), "other opt-out")


def _add_crawl(history: History, crawl: Manifest) -> None:
    config = crawl.header.get("config")
    config = config if isinstance(config, dict) else {}
    history.obeys_robots = config.get("respect_robots")
    history.obeys_opt_outs = config.get("respect_opt_out")
    history.keeps_originals = (crawl.workspace / "originals").is_dir()
    sources = config.get("sources")
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict):
            _add_source(history, source)
    days = {sample.provenance.retrieved_at[:10] for sample in crawl.samples()} - {""}
    if days:
        history.first_day, history.last_day = min(days), max(days)


def _add_source(history: History, source: dict[str, Any]) -> None:
    name, kind = str(source.get("name", "")), str(source.get("type", ""))
    history.sources[name] = kind
    if kind == "hf_dataset":
        stated = str(source.get("dataset", ""))
        # It may be a folder of the makers' machine, whose path is nobody's business.
        history.published[name] = stated if _HUB_NAME.fullmatch(stated) else name
    elif kind in _PUBLISHED_KINDS:
        history.published[name] = name
