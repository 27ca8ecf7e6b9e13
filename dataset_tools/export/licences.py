"""What the words of a licence allow, as far as their text says it; pure.

A licence stands with every picture in the words of its source. Only words whose meaning is public knowledge
are read here; all others stay "not read", and nobody guesses. This is no legal advice.

Source: Creative Commons, legal code of the licences 4.0, section 1(a) "Adapted Material" and section
2(a)(1): https://creativecommons.org/licenses/by-nd/4.0/legalcode
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# SPDX ids that the Hub knows under the same words in lower case.
HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
        "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "pddl", "odc-by",
        "odbl", "bsd-3-clause", "unlicense",
    }
)  # fmt: skip

_CREATIVE_COMMONS = re.compile(r"cc-by((?:-(?:nc|nd|sa))*)(?:-(\d\.\d))?(?:-[a-z-]+)?")
_FREE = re.compile(
    r"cc0(-1\.0)?|cc-pdm(-1\.0)?|pdm(-1\.0)?|(licenseref-)?public-domain(-mark)?(-1\.0)?|pddl(-1\.0)?|"
    r"united-states-government-work|no-known-copyright-restrictions|unlicense"
)
_OPEN = re.compile(r"mit|apache-2\.0|bsd-[23]-clause|odc-by(-1\.0)?|odbl(-1\.0)?|cdla-permissive-[12]\.0")
_NOT_STATED = frozenset(
    {"", "unknown", "none", "n-a", "na", "null", "undefined", "not-stated", "not-known", "tbd"}
)
_NOT_LOOKED_UP = "google-rights-filter"
_CLOSED = re.compile(r"(.*-)?(all-rights-reserved|proprietary|no-redistribution)|copyright(ed)?")
_RESEARCH = re.compile(r"(.*-)?(research|academic|educational)(-.*)?")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a licence allows; None where its words are not read.

    Attributes:
        is_stated: False for "unknown" and for a claim that nobody has looked up.
        allows_sharing: the picture may be passed on.
        allows_changes: a changed picture, such as one with a mask rendered onto it, may be passed on.
        allows_commerce: commercial use.
        needs_credit: its author must be named.
        shares_alike: what is made from it stands under the same licence.
    """

    is_stated: bool = True
    allows_sharing: bool | None = None
    allows_changes: bool | None = None
    allows_commerce: bool | None = None
    needs_credit: bool | None = None
    shares_alike: bool | None = None


_NO_TERMS = Terms(is_stated=False)
_OPEN_TERMS = Terms(
    allows_sharing=True, allows_changes=True, allows_commerce=True, needs_credit=True, shares_alike=False
)


def read_terms(licence: str) -> Terms:
    """The terms that a licence's words stand for.

    Args:
        licence: SPDX id or a source's own words, e.g. "CC-BY-ND-2.0", "CC BY-SA 4.0", "Public domain".
    """
    words = licence_slug(licence)
    if words in _NOT_STATED or words.startswith(_NOT_LOOKED_UP):
        return _NO_TERMS
    if _FREE.fullmatch(words):
        return Terms(True, True, True, True, needs_credit=False, shares_alike=False)
    if _OPEN.fullmatch(words):
        return _OPEN_TERMS
    if match := _CREATIVE_COMMONS.fullmatch(words):
        parts = set(match[1].split("-"))
        return Terms(
            allows_sharing=True,
            allows_changes="nd" not in parts,
            allows_commerce="nc" not in parts,
            needs_credit=True,
            shares_alike="sa" in parts,
        )
    if _CLOSED.fullmatch(words) or _RESEARCH.fullmatch(words):
        return Terms(allows_sharing=False, allows_changes=False, allows_commerce=False)
    return Terms()


def licence_slug(licence: str) -> str:
    """A licence's words in lower case, joined by hyphens: "CC BY-SA 4.0" and "CC-BY-SA-4.0" are the same."""
    return re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")


def hub_licence(licence: str) -> str:
    """The Hub's word for a licence; "" when it has none."""
    words = licence_slug(licence)
    known = {"cc0": "cc0-1.0", "pddl-1.0": "pddl"}.get(words, words)
    return known if known in HUB_LICENCES else ""


def licence_url(licence: str) -> str:
    """Address of a Creative Commons licence's text; "" for all other words."""
    words = licence_slug(licence)
    if words in ("cc0", "cc0-1.0"):
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    if words in ("cc-pdm-1.0", "pdm", "public-domain-mark-1.0"):
        return "https://creativecommons.org/publicdomain/mark/1.0/"
    match = _CREATIVE_COMMONS.fullmatch(words)
    if match is None or not match[2]:
        return ""
    return f"https://creativecommons.org/licenses/by{match[1]}/{match[2]}/"


def describe_terms(terms: Terms) -> str:
    """The terms in a few words for a table cell."""
    if not terms.is_stated:
        return "not known"
    if terms.allows_sharing is None:
        return "own words of the source: read them there"
    if not terms.allows_sharing:
        return "may not be passed on"
    words = [
        (terms.needs_credit, "name the author"),
        (terms.shares_alike, "share alike"),
        (not terms.allows_commerce, "no commercial use"),
        (not terms.allows_changes, "no changed copies"),
    ]
    return ", ".join(text for holds, text in words if holds) or "free"
