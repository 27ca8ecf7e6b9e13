"""A dataset from wherever it lies: a manifest, an exported folder, or pictures beside their masks."""

from __future__ import annotations

from pathlib import Path

from dataset_tools.config import BuildConfig
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import digest_json, sha256_file
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.core.settings import parse_settings
from dataset_tools.pipeline import Pipeline

_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
_UNSTATED = "not stated"


def open_labelled(path: Path, scratch: Path, progress: ProgressFactory = silent) -> Manifest:
    """The labelled samples of a folder.

    Args:
        path: a manifest's folder; a workspace that a build finished to `split`; a folder `build-dataset
            export` wrote, or any with `annotations/instances_<split>.json` and `images/`; or a folder with
            `image/` and `mask/`, which is taken for a test set.
        scratch: where a workspace for an imported folder is made; importing it again costs little.
        progress: opens the progress display.

    Raises:
        DataError: none of these, or nothing in it could be read.
    """
    if (path / "header.json").exists():
        return Manifest(path.resolve())
    finished = sorted((path / "manifests").glob("split-*/header.json"))
    if len(finished) == 1:
        return Manifest(finished[0].parent.resolve())
    if finished:
        names = ", ".join(one.parent.name for one in finished)
        raise DataError(f"{path} holds several finished manifests; name one: {names}")
    sources = _coco(path / "coco") or _coco(path) or _pairs(path)
    if not sources:
        raise DataError(
            f"{path} is neither a manifest, nor a workspace with one, nor an exported dataset "
            "(coco/annotations/instances_<split>.json), nor a folder with image/ and mask/"
        )
    values = {"name": path.resolve().name, "workspace": scratch, "crawl": {"sources": sources}}
    config = parse_settings(BuildConfig, values, str(path))
    pipeline = Pipeline(config, progress)
    pipeline.run("crawl")
    return pipeline.manifest("crawl")


def _coco(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for split in _SPLITS:
        file = folder / "annotations" / f"instances_{split.value}.json"
        if file.is_file():
            found.append(
                {
                    "type": "coco",
                    "name": f"{split.value}-{sha256_file(file)[:8]}",
                    "annotations": file.resolve(),
                    "images": (folder / "images").resolve(),
                    "licence": _UNSTATED,
                    "split": split.value,
                }
            )
    return found


def _pairs(path: Path) -> list[dict[str, object]]:
    if not ((path / "image").is_dir() and (path / "mask").is_dir()):
        return []
    images, masks = (path / "image").resolve(), (path / "mask").resolve()
    return [
        {
            "type": "pairs",
            "name": f"pairs-{digest_json(sorted(one.name for one in images.iterdir()))[:8]}",
            "images": images,
            "masks": masks,
            "licence": _UNSTATED,
            "split": Split.TEST.value,
        }
    ]
