"""What every source hands to the crawl: one frozen `SourceItem` per picture, good or already faulty.

Imports little: every decoding worker pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dataset_tools.core.published import Annotation, Content, Fault, Streamed
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Pairs

# Evidence of a rendered picture in a published dataset: the sample id of the photo it was made of.
PARENT_ID = "parent_id"


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture to fetch, or one input that is already known to be bad.

    Attributes:
        key: unique in the run: the URL, or `<source>/<relative path>`; repeated ones end in "#2", "#3", ….
        source: name of the configured source.
        uri: http(s) URL, or absolute path of a local file; "" when `fault` is set and there is none.
        content: how to read it when `uri` is not the picture's own file but what it lies in.
        licence: SPDX id or the source's own words; never empty unless `fault` is set.
        author: as stated; "" when not stated.
        group: of the sample; "" for a group of its own.
        name: original file name, for the record only.
        evidence: facts the source states about the picture, for the record: query, licence_url, ….
        annotation: published labels, if any.
        fault: why it must not be fetched; found while listing.
        digest: of what a kept answer says about it, which stands for the item in `listing_digest`; "" for
            an item that is listed anew each time.
    """

    key: str
    source: str
    uri: str = ""
    licence: str = ""
    author: str = ""
    group: str = ""
    name: str = ""
    content: Content | None = None
    evidence: Pairs = ()
    annotation: Annotation | None = None
    fault: Fault | None = None
    digest: str = ""

    @property
    def is_remote(self) -> bool:
        """True when `uri` is a URL."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def is_streamed(self) -> bool:
        """True when this process must read it before another one works on it, see `held`."""
        return isinstance(self.content, Streamed)

    def held(self, max_bytes: int) -> SourceItem:
        """The same item with what comes out of a stream in memory.

        Raises:
            FetchFault: it cannot be had, or has more than `max_bytes` bytes.
        """
        content, annotation = self.content, self.annotation
        return replace(
            self,
            content=content.held(max_bytes) if isinstance(content, Streamed) else content,
            annotation=annotation.held(max_bytes) if isinstance(annotation, Streamed) else annotation,
        )


def taken_down(source: str, key: str, digest: str) -> SourceItem:
    """The item that stays of a listed picture that was taken down: its place, and the digest it had."""
    fault = Fault(Reason.TOMBSTONE, "taken down on request")
    return SourceItem(key=key, source=source, fault=fault, digest=digest)


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page as it was served.

    Attributes:
        url: after redirects.
        body: its bytes.
        content_type: as the server states it, "" when it does not.
    """

    url: str
    body: bytes
    content_type: str = ""


class Web(Protocol):
    """The network as a source may use it: slowly, to public addresses, within limits."""

    def ask(self, url: str, params: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object with which an API answers. `params` and `headers` may hold a key.

        Raises:
            ServiceError: no answer, none that is a JSON object, a quota used up or a key refused; its text
                holds neither `params` nor `headers`.
            FetchFault: another final answer, such as 400 or 404.
        """

    def page(self, url: str) -> WebPage:
        """A page for people, with robots.txt and opt-outs obeyed.

        Raises:
            FetchFault: as the crawl itself has them.
        """


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source may use while it lists.

    Attributes:
        web: the network.
        cache: folder where answers are kept, so that they are asked for once.
    """

    web: Web
    cache: Path
