"""Which photos a shipped model is made of, as a command states them, and the build that collects them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.config import BuildConfig
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.settings import Settings, parse_settings
from dataset_tools.defaults.about import PictureSource
from synth.recipe import recipe_from_json


@dataclass(frozen=True, slots=True)
class Photos:
    """A folder of photos of bare faces.

    Attributes:
        name: its source's name in the build and on the card.
        folder: of photos, and of folders of them.
        licence: as whoever runs the command states it.
        origin: where they come from, in words; "" when not told.
    """

    name: str
    folder: Path
    licence: str
    origin: str = ""


def parse_photos(given: Sequence[str], origins: Sequence[str] = ()) -> tuple[Photos, ...]:
    """Read FOLDER=LICENCE words, and NAME=WORDS of where photos come from.

    Args:
        given: one of each folder; the source is named after the folder's own name.
        origins: NAME is such a name.

    Raises:
        ConfigError: not of that form, no such folder, two folders of one name, or an origin of no folder.
    """
    told = dict(_cut(word, "--origin", "NAME=WORDS") for word in origins)
    found: dict[str, Photos] = {}
    for word in given:
        place, licence = _cut(word, "--photos", "FOLDER=LICENCE")
        folder = Path(place).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--photos {word}: there is no folder {place}")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("._-") or "photos"
        if name in found:
            raise ConfigError(f"--photos {word}: two folders are called {name}; rename one")
        found[name] = Photos(name, folder, licence, told.pop(name, ""))
    if told:
        raise ConfigError(
            f"--origin {next(iter(told))}: no such source; there are {', '.join(found) or 'none'}"
        )
    return tuple(found.values())


def _cut(word: str, option: str, form: str) -> tuple[str, str]:
    # A folder's name may hold "=", a licence does not.
    before, _, after = word.partition("=") if option == "--origin" else word.rpartition("=")
    if not before.strip() or not after.strip():
        raise ConfigError(f"{option} {word}: write {form}")
    return before.strip(), after.strip()


def build_config(
    photos: Sequence[Photos], workspace: Path, sections: Mapping[str, Settings], seed: int, workers: int
) -> BuildConfig:
    """The build that collects photos and renders masks onto them; nothing is pre-labelled.

    Raises:
        ConfigError: no photos, or a licence that is none.
    """
    if not photos:
        raise ConfigError("no photos: name a folder and its licence, --photos FOLDER=LICENCE")
    sources: list[dict[str, Any]] = [
        {"type": "folder", "name": one.name, "path": one.folder, "licence": one.licence} for one in photos
    ]
    values = {
        "name": "maskset-defaults",
        "workspace": workspace.resolve(),
        "seed": seed,
        "workers": workers,
        "crawl": {"sources": sources},
        "prelabel": {"checkpoint": "none"},
    }
    return parse_settings(BuildConfig, values, "defaults train").model_copy(update=sections)


def picture_sources(photos: Sequence[Photos], manifest: Manifest) -> tuple[PictureSource, ...]:
    """Each source with what a manifest holds of it."""
    names = {one.id: one.provenance.source for one in manifest.samples() if not one.is_synthetic}
    counts = Counter(names.values())
    rendered = Counter(
        names.get(one.provenance.parent_id, "") for one in manifest.samples() if one.is_synthetic
    )
    return tuple(
        PictureSource(
            name=one.name,
            origin=one.origin,
            licence=one.licence,
            photos=counts[one.name],
            rendered=rendered[one.name],
        )
        for one in photos
    )


def cutout_source(cutouts: Photos, manifest: Manifest) -> PictureSource:
    """The cut-outs that a manifest's rendered pictures show, as a source of their own."""
    rendered = 0
    shown: set[str] = set()
    for one in manifest.samples():
        if one.is_synthetic:
            things = {thing.cutout for _, thing in recipe_from_json(one.provenance.recipe).occluders} - {""}
            shown |= things
            rendered += bool(things)
    return PictureSource(
        name=cutouts.name,
        origin=cutouts.origin,
        licence=cutouts.licence,
        photos=len(shown),
        rendered=rendered,
    )
