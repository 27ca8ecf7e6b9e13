"""Source `web_pages`: pictures on web pages, from start addresses along links of allowed hosts."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from dataset_tools.core.errors import FetchFault, ServiceError
from dataset_tools.core.files import digest_json
from dataset_tools.core.images import sniff_format
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import sorted_pairs
from dataset_tools.core.text import storable
from dataset_tools.core.tombstones import STAND_IN
from dataset_tools.crawl.html_pages import read_page
from dataset_tools.crawl.items import Listing, SourceItem, WebPage, taken_down
from dataset_tools.crawl.paging import Memory, licence_of_url, short
from dataset_tools.crawl.source_settings import SourceSettings


class WebPagesSource(SourceSettings):
    """Pictures that pages show (`img`, `srcset`, `og:image`) or link to.

    robots.txt, X-Robots-Tag, `<meta name="robots">` and `nofollow` are obeyed on the way.

    Attributes:
        start: addresses of the first pages.
        allowed_hosts: hosts whose pages are read; by default those of `start`. Pictures may lie elsewhere.
        depth: links to follow from a start page; 0 reads only the start pages.
        max_pages: read in all.
        max_items: pictures in all.
        licence: of pictures on pages that name none by `rel="license"`, or several; there is no default.
        refresh: any word, such as a date; a changed one reads the pages again instead of using kept ones.
    """

    type: Literal["web_pages"] = "web_pages"
    start: tuple[str, ...] = Field(min_length=1)
    allowed_hosts: tuple[str, ...] = ()
    depth: int = Field(default=1, ge=0, le=50)
    max_pages: int = Field(default=1000, ge=1)
    max_items: int = Field(default=1_000_000, ge=1)
    licence: str = ""
    refresh: str = ""

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per picture, under the first page that has it, and a faulty one per page not had.

        Raises:
            ServiceError: a host gives no answer; the pages so far are kept.
        """
        listed: set[str] = set()
        kept = {"type": "web_pages", "refresh": self.refresh}
        with Memory(listing.cache, self.name, kept) as memory:
            for page in self._pages(listing, memory):
                for item in self._of_page(page):
                    if item.key not in listed:
                        listed.add(item.key)
                        yield item
                    if len(listed) >= self.max_items:
                        return

    def _pages(self, listing: Listing, memory: Memory) -> Iterator[dict[str, Any]]:
        """Pages by breadth, each address once; kept ones are not fetched again."""
        hosts = set(self.allowed_hosts) or {_host(url) for url in self.start}
        seen: set[str] = set()
        pending: deque[tuple[str, int]] = deque((url, 0) for url in self.start)
        count = 0
        while pending and count < self.max_pages:
            url, depth = pending.popleft()
            url = _normal(url) or url
            if url in seen or (depth and _host(url) not in hosts):
                continue
            seen.add(url)
            page = memory.get({"page": url})
            if page is None:
                memory.put({"page": url}, self._fetched(url, hosts, listing))
                page = memory.get({"page": url})
            count += 1
            if page["url"] != url and page["url"] in seen:
                continue  # a redirect to a page that was read
            seen.add(page["url"])
            yield page
            if depth < self.depth:
                pending.extend((link, depth + 1) for link in page["links"])

    def _fetched(self, url: str, hosts: set[str], listing: Listing) -> dict[str, Any]:
        try:
            page = listing.web.page(url)
            if _host(page.url) not in hosts:
                raise FetchFault(Reason.UNSAFE_URL, f"leads to {_host(page.url)}, not among allowed_hosts")
        except FetchFault as fault:
            if fault.reason is Reason.TRANSPORT and fault.retryable:
                raise ServiceError(
                    f"source {self.name}: {_host(url)}: {fault}; pages that came are kept, run again later"
                ) from fault
            return _record(url, fault=[fault.reason.value, str(fault)[:500]])
        return _parsed(page)

    def _of_page(self, page: dict[str, Any]) -> Iterator[SourceItem]:
        # Imported here: listing needs the URL rules of the HTTP client, reading a config file does not.
        from dataset_tools.crawl.urls import checked_url

        if page["fault"]:
            reason, detail = page["fault"]
            fault = Fault(Reason(reason), f"page: {detail}")
            yield SourceItem(key=f"{self.name}#{page['url']}", source=self.name, fault=fault)
            return
        found = page["licences"]
        licence = licence_of_url(found[0]) if len(found) == 1 else self.licence.strip()
        missing = "the page names several licences" if found else "neither page nor configuration states one"
        for url, text in page["pictures"]:
            if url.startswith(STAND_IN):
                yield taken_down(self.name, url, digest=text)
                continue
            digest = digest_json([page["url"], found, page["author"], url, text])
            try:
                url = str(checked_url(url))
                problem = None if licence else Fault(Reason.LICENCE, missing)
            except FetchFault as fault:
                problem = Fault(fault.reason, str(fault))
            notes = {"page_url": short(page["url"]), "title": text}
            notes["licence_url"] = short(found[0]) if len(found) == 1 else ""
            yield SourceItem(
                key=url if problem is None else f"{self.name}#{url}"[:2000],
                source=self.name,
                uri="" if problem else url,
                licence=licence,
                author=page["author"] or self.author,
                name=url.partition("?")[0].rpartition("/")[2][:200],
                evidence=sorted_pairs({name: value for name, value in notes.items() if value}),
                fault=problem,
                digest=digest,
            )


def _record(url: str, **found: Any) -> dict[str, Any]:
    nothing = {"pictures": [], "links": [], "licences": [], "author": "", "fault": []}
    return {"url": url, **nothing, **found}


def _parsed(page: WebPage) -> dict[str, Any]:
    if sniff_format(page.body) is not None:
        return _record(page.url, pictures=[[page.url, ""]])
    is_html = "html" in page.content_type.lower() or page.body.lstrip()[:1] == b"<"
    if not is_html:
        return _record(page.url)
    content = read_page(_decoded(page), page.url)
    if content.opt_out:
        detail = f"<meta> says {content.opt_out}"
        return _record(page.url, links=content.links, fault=[Reason.OPT_OUT.value, detail])
    return _record(
        page.url,
        pictures=[[storable(url), storable(text)] for url, text in content.pictures.items()],
        links=[storable(link) for link in content.links],
        licences=[storable(link) for link in content.licences],
        author=short(storable(content.author)),
    )


def _decoded(page: WebPage) -> str:
    stated = re.search(r"charset=[\"']?([A-Za-z0-9_.:-]+)", page.content_type)
    try:
        return page.body.decode(stated[1] if stated else "utf-8", "replace")
    except LookupError:
        return page.body.decode("utf-8", "replace")


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _normal(url: str) -> str:
    from dataset_tools.crawl.urls import checked_url

    try:
        return str(checked_url(url))
    except FetchFault:
        return ""
