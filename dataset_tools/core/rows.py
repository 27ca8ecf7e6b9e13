"""Records as Parquet rows: one written-out Arrow schema, and the exact conversion both ways.

Column meanings are those of `record.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import RleMask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import (
    Face,
    ImageRef,
    Instance,
    Layer,
    Provenance,
    Rejection,
    Review,
    ReviewState,
    Sample,
    Score,
    Split,
)
from dataset_tools.core.text import storable

_IMAGE = pa.struct(
    [
        ("sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("format", pa.string()),
    ]
)
_PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))

SAMPLE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", _IMAGE),
        (
            "provenance",
            pa.struct(
                [
                    ("source", pa.string()),
                    ("item_key", pa.string()),
                    ("licence", pa.string()),
                    ("url", pa.string()),
                    ("author", pa.string()),
                    ("retrieved_at", pa.string()),
                    ("content_sha256", pa.string()),
                    ("parent_id", pa.string()),
                    ("recipe", pa.string()),
                    ("seed", pa.int64()),
                    ("evidence", _PAIRS),
                ]
            ),
        ),
        ("group", pa.string()),
        ("phash", pa.string()),
        (
            "faces",
            pa.list_(
                pa.struct(
                    [
                        ("box_xyxy", pa.list_(pa.float64())),
                        ("score", pa.float64()),
                        ("wearing", pa.string()),
                        ("detector", pa.string()),
                        ("landmarks_xyz", pa.list_(pa.float32())),
                        ("pose_deg", pa.list_(pa.float64())),
                    ]
                )
            ),
        ),
        (
            "instances",
            pa.list_(
                pa.struct(
                    [
                        ("id", pa.string()),
                        ("label", pa.string()),
                        ("height", pa.int32()),
                        ("width", pa.int32()),
                        ("counts", pa.list_(pa.int32())),
                        ("drawn_by", pa.string()),
                        ("confidence", pa.float64()),
                        ("face", pa.int32()),
                        ("soft", _IMAGE),
                        ("attributes", _PAIRS),
                    ]
                )
            ),
        ),
        ("layers", pa.list_(pa.struct([("name", pa.string()), ("image", _IMAGE)]))),
        ("scores", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))),
        ("split", pa.string()),
        (
            "review",
            pa.struct(
                [
                    ("state", pa.string()),
                    ("reviewers", pa.list_(pa.string())),
                    ("reviewed_at", pa.string()),
                    ("note", pa.string()),
                    ("method", pa.string()),
                    ("agreement", pa.float64()),
                ]
            ),
        ),
        ("is_labelled", pa.bool_()),
    ]
)

REJECTION_SCHEMA = pa.schema(
    [
        ("stage", pa.string()),
        ("item_key", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("derived", pa.bool_()),
        ("retryable", pa.bool_()),
        ("tries", pa.int32()),
        ("due", pa.string()),
    ]
)


def _image_row(ref: ImageRef | None) -> dict[str, Any] | None:
    if ref is None:
        return None
    height, width = ref.size_hw
    return {"sha256": ref.sha256, "height": height, "width": width, "format": ref.format}


def _image_from_row(row: dict[str, Any]) -> ImageRef:
    return ImageRef(row["sha256"], (row["height"], row["width"]), row["format"])


def _pairs_row(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs]


def _pairs_from_row(rows: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((row["key"], row["value"]) for row in rows)


def sample_to_row(sample: Sample) -> dict[str, Any]:
    """A sample as the plain values of `SAMPLE_SCHEMA`."""
    provenance = {
        item.name: getattr(sample.provenance, item.name)
        for item in dataclasses.fields(Provenance)
        if item.name != "evidence"
    }
    return {
        "id": sample.id,
        "image": _image_row(sample.image),
        "provenance": {**provenance, "evidence": _pairs_row(sample.provenance.evidence)},
        "group": sample.group,
        "phash": sample.phash,
        "faces": [
            {
                "box_xyxy": list(face.box_xyxy),
                "score": face.score,
                "wearing": face.wearing.value,
                "detector": face.detector,
                "landmarks_xyz": list(face.landmarks_xyz),
                "pose_deg": list(face.pose_deg),
            }
            for face in sample.faces
        ],
        "instances": [
            {
                "id": item.id,
                "label": item.label.value,
                "height": item.mask.size_hw[0],
                "width": item.mask.size_hw[1],
                "counts": list(item.mask.counts),
                "drawn_by": item.drawn_by,
                "confidence": item.confidence,
                "face": item.face,
                "soft": _image_row(item.soft),
                "attributes": _pairs_row(item.attributes),
            }
            for item in sample.instances
        ],
        "layers": [{"name": item.name, "image": _image_row(item.image)} for item in sample.layers],
        "scores": [{"name": score.name, "value": score.value} for score in sample.scores],
        "split": sample.split.value,
        "review": {
            "state": sample.review.state.value,
            "reviewers": list(sample.review.reviewers),
            "reviewed_at": sample.review.reviewed_at,
            "note": sample.review.note,
            "method": sample.review.method,
            "agreement": sample.review.agreement,
        },
        "is_labelled": sample.is_labelled,
    }


def sample_from_row(row: dict[str, Any]) -> Sample:
    """The sample of one row of `SAMPLE_SCHEMA`; the inverse of `sample_to_row`."""
    provenance = dict(row["provenance"])
    provenance["evidence"] = _pairs_from_row(provenance["evidence"])
    review = row["review"]
    return Sample(
        id=row["id"],
        image=_image_from_row(row["image"]),
        provenance=Provenance(**provenance),
        group=row["group"],
        phash=row["phash"],
        faces=tuple(
            Face(
                box_xyxy=tuple(face["box_xyxy"]),
                score=face["score"],
                wearing=Wearing(face["wearing"]),
                detector=face["detector"],
                landmarks_xyz=tuple(face["landmarks_xyz"]),
                pose_deg=tuple(face["pose_deg"]),
            )
            for face in row["faces"]
        ),
        instances=tuple(
            Instance(
                id=item["id"],
                label=Label(item["label"]),
                mask=RleMask((item["height"], item["width"]), tuple(item["counts"])),
                drawn_by=item["drawn_by"],
                confidence=item["confidence"],
                face=item["face"],
                soft=_image_from_row(item["soft"]) if item["soft"] else None,
                attributes=_pairs_from_row(item["attributes"]),
            )
            for item in row["instances"]
        ),
        layers=tuple(Layer(item["name"], _image_from_row(item["image"])) for item in row["layers"]),
        scores=tuple(Score(item["name"], item["value"]) for item in row["scores"]),
        split=Split(row["split"]),
        review=Review(
            state=ReviewState(review["state"]),
            reviewers=tuple(review["reviewers"]),
            reviewed_at=review["reviewed_at"],
            note=review["note"],
            # Manifests of before these two were kept stay readable.
            method=review.get("method", ""),
            agreement=review.get("agreement"),
        ),
        is_labelled=row["is_labelled"],
    )


def rejection_to_row(rejection: Rejection) -> dict[str, Any]:
    """A rejection as the plain values of `REJECTION_SCHEMA`; the detail becomes one line."""
    row = dataclasses.asdict(rejection)
    row["reason"] = rejection.reason.value
    row["detail"] = storable(" ".join(rejection.detail.split())[:500])
    return row


def rejection_from_row(row: dict[str, Any]) -> Rejection:
    """The inverse of `rejection_to_row`."""
    return Rejection(**{**row, "reason": Reason(row["reason"])})
