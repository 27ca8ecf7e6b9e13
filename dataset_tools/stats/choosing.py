"""Which pictures the gallery shows when there are too many for one page: a fair draw, and what it misses."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataset_tools.core.record import ImageRef, Sample
from dataset_tools.stats.facets import facets_of, origin_of
from dataset_tools.stats.opinions import Opinion
from dataset_tools.stats.thumbnails import GUESS, PackedMask, pack_instances, pack_mask

# Beyond the fair draw: the pictures on which label and model differ most, and so many of every rare value.
MOST_DOUBTFUL = 200
OF_EACH_VALUE = 6

Details = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What the gallery needs of one picture; small, since thousands are held at once.

    Attributes:
        sample_id, item_key: of the sample; together they are unique.
        image: the picture.
        facets: see `facets_of`.
        masks: its labels, and what models said.
        details: name and value of everything else that is shown.
    """

    sample_id: str
    item_key: str
    image: ImageRef
    facets: Mapping[str, tuple[str, ...]]
    masks: tuple[PackedMask, ...]
    details: Details

    @property
    def key(self) -> tuple[str, str]:
        """What entries are ordered by: ids come from the pictures' bytes, so this is a fair shuffle."""
        return (self.sample_id, self.item_key)


def make_entry(sample: Sample, opinion: Opinion | None) -> Entry:
    """The entry of a sample, with what models said of it if that is known."""
    masks = pack_instances(sample.instances)
    if opinion is not None:
        masks = (*masks, pack_mask(GUESS, opinion.seen_as_mask))
    return Entry(
        sample.id, sample.provenance.item_key, sample.image, facets_of(sample), masks, _details(sample)
    )


def _details(sample: Sample) -> Details:
    height, width = sample.image.size_hw
    origin, review = sample.provenance, sample.review
    seen_by = len(review.reviewers)
    drawn = sorted(
        {
            origin_of(item) if item.drawn_by.startswith("human:") else item.drawn_by
            for item in sample.instances
        }
    )
    rows = {
        "Size": f"{width} × {height} px",
        "Faces": str(len(sample.faces)),
        "Author": origin.author,
        "Address": origin.url,
        "Group": sample.group,
        "Labels drawn by": ", ".join(drawn),
        "Reviewed by": f"{seen_by} {'person' if seen_by == 1 else 'people'}" if seen_by else "",
        "Agreement": "" if review.agreement is None else f"{review.agreement:.3f} IoU",
        "Reviewers' note": review.note,
    }
    return tuple((name, value) for name, value in rows.items() if value)


@dataclass(slots=True)
class Chooser:
    """Chooses pictures in one pass; holds no more entries than it may still choose.

    The choice does not depend on the order in which samples come.

    Args:
        limit: most pictures of the gallery.
    """

    limit: int
    total: int = 0
    _fair: list[Entry] = field(default_factory=list)
    _of_value: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    _doubtful: list[tuple[float, Entry]] = field(default_factory=list)

    def add(self, sample: Sample, opinion: Opinion | None) -> None:
        """Consider one sample."""
        self.total += 1
        key = (sample.id, sample.provenance.item_key)
        rare = [
            self._of_value.setdefault((facet, value), [])
            for facet, values in facets_of(sample).items()
            for value in values
        ]
        wanted = [
            (held, most)
            for held, most in [(self._fair, self.limit), *((held, OF_EACH_VALUE) for held in rare)]
            if len(held) < most or key < held[-1].key
        ]
        doubt = opinion.disagreement if opinion is not None else 0.0
        is_doubtful = doubt > 0 and (len(self._doubtful) < MOST_DOUBTFUL or doubt >= self._doubtful[-1][0])
        if not (wanted or is_doubtful):
            return
        entry = make_entry(sample, opinion)
        for held, most in wanted:
            bisect.insort(held, entry, key=lambda item: item.key)
            del held[most:]
        if is_doubtful:
            bisect.insort(self._doubtful, (doubt, entry), key=lambda pair: (-pair[0], pair[1].key))
            del self._doubtful[MOST_DOUBTFUL:]

    def chosen(self) -> list[Entry]:
        """All pictures when there are not too many; else doubtful and rare ones first, and a fair draw."""
        first: Sequence[Entry] = []
        if self.total > self.limit:
            rare = sorted(
                (entry for held in self._of_value.values() for entry in held), key=lambda item: item.key
            )
            first = [*(entry for _, entry in self._doubtful), *rare]
        by_key: dict[tuple[str, str], Entry] = {}
        for entry in [*first, *self._fair]:
            if len(by_key) < self.limit:
                by_key.setdefault(entry.key, entry)
        return [by_key[key] for key in sorted(by_key)]
