"""Draw stored children again and compare them with what is stored, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import ImageStore, encode_png
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Sample
from synth.dress import DressedPhoto, replay
from synth.resources import Resources


@dataclass(frozen=True)
class Replay:
    """What drawing a child again gave.

    Attributes:
        child: the stored sample.
        dressed: the new picture; None when it could not be drawn.
        problem: "" when every stored byte came out again, else what differs or why it cannot be drawn.
    """

    child: Sample
    dressed: DressedPhoto | None
    problem: str


def replays(synth: Manifest, images: ImageStore, resources: Resources, wanted: str = "") -> Iterator[Replay]:
    """Replay the children of an overlay manifest.

    Args:
        synth: as the overlay stage wrote it; a photo and its children share a shard.
        images: the workspace's pictures.
        resources: the user's masks and occluders that the recipes name.
        wanted: only children whose sample id or item key starts with this; "" takes all.
    """
    for samples, _ in synth.shards():
        photos = {item.id: item for item in samples if not item.is_synthetic}
        for child in samples:
            named = child.id.startswith(wanted) or child.provenance.item_key.startswith(wanted)
            if child.is_synthetic and named:
                yield replay_child(child, photos.get(child.provenance.parent_id), images, resources)


def replay_child(child: Sample, parent: Sample | None, images: ImageStore, resources: Resources) -> Replay:
    """Draw one child again from its parent."""
    if parent is None:
        return Replay(child, None, f"its photo {child.provenance.parent_id} is not in the manifest")
    try:
        dressed = replay(child.provenance.recipe, images.read(parent.image), parent.faces, resources)
    except (ItemFault, DataError) as error:
        return Replay(child, None, str(error))
    return Replay(child, dressed, "; ".join(_differences(child, dressed)))


def _differences(child: Sample, dressed: DressedPhoto) -> Iterator[str]:
    if sha256_hex(encode_png(dressed.image)) != child.image.sha256:
        yield "the picture differs"
    alphas = {
        (face.face, label): alpha
        for face in dressed.faces
        for label, alpha in (
            (Label.FACE_MASK, face.mask_alpha),
            (Label.STRAP, face.strap_alpha),
            (Label.OCCLUDER, face.occluder_alpha),
        )
    }
    for item in child.instances:
        if item.soft is None:
            continue
        again = alphas.get((item.face, item.label))
        if again is None or sha256_hex(encode_png(again)) != item.soft.sha256:
            yield f"label {item.id} differs"
