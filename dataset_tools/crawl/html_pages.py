"""What a web page shows, links to and says about rights. Pure parsing of untrusted HTML."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

from dataset_tools.crawl.rights import opt_out_word

MAX_CHARS = 4 * 1024 * 1024
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".heic")
_NO_PAGES = (
    ".pdf",
    ".zip",
    ".gz",
    ".7z",
    ".mp3",
    ".mp4",
    ".webm",
    ".avi",
    ".mov",
    ".exe",
    ".dmg",
    ".iso",
    ".svg",
)

Attributes = dict[str, str]


@dataclass(slots=True)
class PageContent:
    """One page; all addresses are absolute and in the page's order, each once.

    Attributes:
        pictures: address of each picture, the largest one where several sizes are offered -> its text.
        links: pages it links to, without those marked nofollow.
        licences: addresses of its `rel="license"` links.
        author: of its `<meta name="author">`.
        opt_out: the word by which it forbids the use of its content, "" when it does not.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)
    author: str = ""
    opt_out: str = ""


def read_page(text: str, url: str) -> PageContent:
    """Read a page; broken markup gives what came before it.

    Args:
        text: HTML; what follows 4 million characters is left out.
        url: of the page, the base of its addresses unless it states another.
    """
    parser = _Reader(url)
    with suppress(AssertionError, ValueError):  # the parser's ways to say that markup makes no sense
        # In one piece and never closed: in pieces, and on closing, the parser's time grows with the square
        # of input that opens a tag and does not end it.
        parser.feed(text[:MAX_CHARS])
    content = parser.content
    if parser.is_nofollow:
        content.links = []
    content.links = list(dict.fromkeys(content.links))
    content.licences = list(dict.fromkeys(content.licences))
    return content


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.content = PageContent()
        self.is_nofollow = False
        self._base = url
        self._offered: list[str] = []  # srcset of the <source> tags of an open <picture>

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        relations = named.get("rel", "").lower().split()
        if tag == "img":
            self._picture(named)
        elif tag == "source":
            self._offered.append(named.get("srcset", ""))
        elif tag == "picture":
            self._offered = []
        elif tag == "base" and named.get("href"):
            self._base = self._absolute(named["href"]) or self._base
        elif tag == "meta":
            self._meta(named)
        elif tag in ("a", "area", "link") and named.get("href"):
            target = self._absolute(named["href"])
            if target and "license" in relations:
                self.content.licences.append(target)
            elif target and tag != "link":
                self._link(target, relations)

    def handle_endtag(self, tag: str) -> None:
        if tag == "picture":
            self._offered = []

    def _link(self, target: str, relations: list[str]) -> None:
        path = target.partition("?")[0].lower()
        if path.endswith(PICTURE_SUFFIXES):
            self._add(target, "")
        elif "nofollow" not in relations and not path.endswith(_NO_PAGES):
            self.content.links.append(target)

    def _picture(self, named: Attributes) -> None:
        offered = [*self._offered, named.get("srcset", ""), named.get("data-srcset", "")]
        sizes = [candidate for srcset in offered for candidate in _candidates(srcset)]
        plain = named.get("src", "")
        if not plain or plain.startswith("data:"):
            plain = named.get("data-src", plain)
        best = max(sizes, key=lambda candidate: candidate[1])[0] if sizes else plain
        self._add(self._absolute(best), named.get("alt", ""))

    def _meta(self, named: Attributes) -> None:
        name = (named.get("name") or named.get("property") or "").strip().lower()
        value = named.get("content", "").strip()
        if name in ("og:image", "og:image:url", "og:image:secure_url"):
            self._add(self._absolute(value), "")
        elif name == "author":
            self.content.author = self.content.author or value
        elif name in ("robots", "maskset"):
            words = {word.strip() for word in value.lower().split(",")}
            self.is_nofollow = self.is_nofollow or bool(words & {"nofollow", "none"})
            self.content.opt_out = self.content.opt_out or opt_out_word([value]) or ""
        elif name == "tdm-reservation" and value == "1":
            self.content.opt_out = self.content.opt_out or "tdm-reservation"

    def _add(self, url: str, text: str) -> None:
        if url:
            self.content.pictures.setdefault(url, " ".join(text.split())[:500])

    def _absolute(self, address: str) -> str:
        """An absolute http(s) address without fragment; "" when it is none."""
        if not address.strip():
            return ""
        try:
            url = urljoin(self._base, address.strip()).partition("#")[0]
        except ValueError:
            return ""
        return url if url.startswith(("http://", "https://")) else ""


def _candidates(srcset: str) -> list[tuple[str, float]]:
    """(address, size) of each candidate of a srcset; "2x" and "800w" are sizes, none is 1."""
    found: list[tuple[str, float]] = []
    # A comma ends a candidate only before white space: addresses may hold commas.
    for part in re.split(r",\s+|,$", srcset.strip()):
        words = part.split()
        if words and not words[0].startswith("data:"):
            size = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)[wx]", words[-1]) if len(words) > 1 else None
            found.append((words[0], float(size[1]) if size else 1.0))
    return found
