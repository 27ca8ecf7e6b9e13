"""Source `openverse`: pictures under open licences, by the search of openverse.org."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import Field

from dataset_tools.crawl.paging import (
    Hit,
    Page,
    PagedSource,
    Params,
    cc_licence,
    faulty,
    rows_of,
    short,
    text_of,
)


class OpenverseSource(PagedSource):
    """Openverse states licence, version, creator and landing page of each picture.

    Without a token it gives 20 pictures a page and few pages a day; a registered one is read from the
    environment.

    Attributes:
        licence_type: "modification" leaves out no-derivatives licences, which a dataset that draws masks on
            pictures cannot use; "commercial" leaves out non-commercial ones.
        page_size: pictures a page; more than 20 needs a token.
        token_variable: environment variable with the access token; none is sent when it is not set.
    """

    type: Literal["openverse"] = "openverse"
    endpoint: str = Field(default="https://api.openverse.org/v1/images/", pattern=r"^https?://[^?#@\s]+$")
    licence_type: tuple[Literal["all", "all-cc", "commercial", "modification"], ...] = ("modification",)
    page_size: int = Field(default=20, ge=1, le=500)
    token_variable: str = Field(default="OPENVERSE_TOKEN", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    def first_page(self, query: str) -> Params:
        """Parameters of the first page."""
        asked = {"q": query, "page": "1", "page_size": str(self.page_size)}
        return asked | ({"license_type": ",".join(self.licence_type)} if self.licence_type else {})

    def key_headers(self) -> Params:
        """The token, when there is one."""
        token = os.environ.get(self.token_variable, "").strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def read_page(self, answer: dict[str, Any], asked: Params) -> Page:
        """Pictures under `results`; the last page is the one numbered `page_count`.

        Raises:
            DataError: no list `results`.
        """
        hits = tuple(map(_hit, rows_of(answer, "results")))
        number, count = int(asked["page"]), answer.get("page_count")
        is_last = not hits or (type(count) is int and number >= count)
        return Page(hits, {} if is_last else {**asked, "page": str(number + 1)})


def _hit(entry: Any) -> Hit:
    identity, url = text_of(entry, "id"), text_of(entry, "url")
    if not identity or not url:
        return faulty(entry, identity, "id or url")
    return Hit(
        id=identity,
        url=url,
        licence=cc_licence(text_of(entry, "license").lower(), text_of(entry, "license_version")),
        licence_url=short(text_of(entry, "license_url")),
        author=short(text_of(entry, "creator")),
        title=short(text_of(entry, "title")),
        page_url=short(text_of(entry, "foreign_landing_url")),
    )
