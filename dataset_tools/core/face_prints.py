"""Perceptual hashes of a photo's faces, as they travel with a sample.

They are kept under `FACE_PHASH` in the evidence of its provenance, since they tell where a picture comes
from: the same face in another cut of the same shot has nearly the same one. They do not tell who it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dataset_tools.core.record import Pairs, sorted_pairs

FACE_PHASH = "face_phash"


class FacePrint(NamedTuple):
    """64-bit perceptual hashes of one face's crop: as it is, and with left and right changed."""

    seen: int
    mirrored: int


def with_face_prints(evidence: Pairs, prints: Iterable[FacePrint]) -> Pairs:
    """Evidence with these prints instead of those it had; faces of one print are kept once.

    Written as "<16 hex digits>/<16 hex digits>" for each face, in their order, separated by blanks.
    """
    facts = {key: value for key, value in evidence if key != FACE_PHASH}
    words = [f"{one.seen:016x}/{one.mirrored:016x}" for one in dict.fromkeys(prints)]
    return sorted_pairs(facts | ({FACE_PHASH: " ".join(words)} if words else {}))


def read_face_prints(text: str) -> tuple[FacePrint, ...]:
    """The prints that the value of `FACE_PHASH` holds; "" holds none.

    Raises:
        ValueError: it has another form.
    """
    return tuple(
        FacePrint(int(seen, 16), int(mirrored, 16))
        for seen, mirrored in (word.split("/") for word in text.split())
    )
