"""What the licences of an export do not allow; pure."""

from __future__ import annotations

from collections import Counter

from dataset_tools.export.licences import read_terms
from dataset_tools.export.markdown import counted
from dataset_tools.export.summary import Summary


def licence_faults(summary: Summary, *, with_images: bool) -> list[str]:
    """What the licences lack for passing the dataset on, one phrase each.

    Args:
        summary: of the export.
        with_images: False when only labels, addresses and hashes go out: terms that forbid to pass on a
            picture, or a changed one, do not matter then.
    """
    terms = {words: read_terms(words) for words in summary.licences}
    unknown = Counter({words: n for words, n in summary.licences.items() if not terms[words].is_stated})
    closed = Counter(
        {words: n for words, n in summary.licences.items() if terms[words].allows_sharing is False}
    )
    changed = Counter(
        {
            words: n
            for words, n in summary.rendered_licences.items()
            if terms[words].allows_sharing and not terms[words].allows_changes
        }
    )
    faults = [(unknown, "a known licence for {pictures} marked: {words}")]
    if with_images:
        faults += [
            (closed, "leave to pass on {pictures} whose terms forbid it: {words}"),
            (
                changed,
                "leave to change {pictures}: masks were rendered onto photos whose licence allows no "
                "derivatives ({words}); drop those children or publish without images",
            ),
        ]
    return [
        phrase.format(pictures=counted(found.total(), "picture"), words=", ".join(sorted(found)))
        for found, phrase in faults
        if found
    ]
