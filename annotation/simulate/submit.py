"""What a simulated person submits to a real Label Studio."""

from __future__ import annotations

from typing import Any

from annotation.drawing import Drawing, Region
from annotation.label_studio.codec import encode_results
from annotation.label_studio.labelling import IMAGE, NOTE, VERDICT
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face, Instance


def simulated_results(drawing: Drawing, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """A drawing as the results of an annotation, as the Label Studio editor would submit it.

    Args:
        drawing: of `annotator.act`.
        size_hw: of the picture.

    Returns:
        Results that `codec.decode_results` reads back as the same drawing. A region made from an instance
        keeps that instance's region id, one drawn anew has its own.
    """
    results: list[dict[str, Any]] = []
    for region in drawing.regions:
        results += _region_results(region, size_hw)
    for box in drawing.boxes:
        # The codec numbers faces by their place; this box keeps the face it was made from.
        (own,) = encode_results((), (Face(box.box_xyxy, 1.0, Wearing.UNKNOWN, ""),), size_hw)
        name = f"face-{box.face}" if box.face >= 0 else f"box-{len(results)}"
        results.append(own | {"id": name})
    if drawing.verdict:
        results.append(_single("verdict", "choices", VERDICT, {"choices": [drawing.verdict]}))
    if drawing.note:
        results.append(_single("note", "textarea", NOTE, {"text": [drawing.note]}))
    return results


def _region_results(region: Region, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    instance = Instance(
        id=region.instance_id or region.region_id,
        label=region.label,
        mask=region.mask,
        drawn_by="human:simulated",
        attributes=region.attributes,
    )
    results = encode_results((instance,), (), size_hw)
    return results if region.instance_id else [result | {"id": region.region_id} for result in results]


def _single(name: str, kind: str, control: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "type": kind, "from_name": control, "to_name": IMAGE, "value": value}
