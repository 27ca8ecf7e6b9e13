"""Source `google_pse`: image search by Google's Programmable Search, with the user's own key."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dataset_tools.core.errors import DataError
from dataset_tools.crawl.paging import (
    Hit,
    Page,
    PagedSource,
    Params,
    faulty,
    from_environment,
    rows_of,
    short,
    text_of,
)

PAGE_SIZE = 10
LAST_START = 91  # the API answers at most the first 100 results of a search

Right = Literal["cc_publicdomain", "cc_attribute", "cc_sharealike", "cc_noncommercial", "cc_nonderived"]


class GoogleSource(PagedSource):
    """Google states no author and no licence per picture, only that it matches a rights filter.

    That claim is recorded in these words, so that nobody takes it for a licence that was looked up.

    Attributes:
        rights: the filter; each picture matches one of them.
        key_variable, engine_variable: environment variables with the API key and the engine's id (cx).
    """

    type: Literal["google_pse"] = "google_pse"
    endpoint: str = Field(
        default="https://customsearch.googleapis.com/customsearch/v1", pattern=r"^https?://[^?#@\s]+$"
    )
    rights: tuple[Right, ...] = Field(default=("cc_publicdomain", "cc_attribute"), min_length=1)
    key_variable: str = Field(default="GOOGLE_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    engine_variable: str = Field(default="GOOGLE_CSE_ID", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    def first_page(self, query: str) -> Params:
        """Parameters of the first page."""
        return {
            "q": query,
            "searchType": "image",
            "rights": "|".join(self.rights),
            "safe": "active",
            "num": str(PAGE_SIZE),
            "start": "1",
        }

    def key_params(self) -> Params:
        """The engine's id.

        Raises:
            ConfigError: it is not in the environment.
        """
        return {"cx": from_environment(self.engine_variable, "the id of your Programmable Search Engine")}

    def key_headers(self) -> Params:
        """The API key.

        Raises:
            ConfigError: it is not in the environment.
        """
        return {"X-Goog-Api-Key": from_environment(self.key_variable, "the key of the Google API")}

    def read_page(self, answer: dict[str, Any], asked: Params) -> Page:
        """Pictures under `items`, which an empty page leaves out; `queries.nextPage` says how to go on.

        Raises:
            DataError: neither pictures nor the request repeated, as every answer has it.
        """
        queries = answer.get("queries")
        if not isinstance(queries, dict):
            raise DataError("the answer has no object 'queries': the API has changed, or is another one")
        rows = rows_of(answer, "items") if "items" in answer else []
        licence = f"Google rights filter: {' or '.join(asked['rights'].split('|'))}"
        following = queries.get("nextPage")
        start = text_of(following[0], "startIndex") if isinstance(following, list) and following else ""
        is_last = not rows or not start.isdecimal() or int(start) > LAST_START
        hits = tuple(_hit(row, licence) for row in rows)
        return Page(hits, {} if is_last else {**asked, "start": start})


def _hit(entry: Any, licence: str) -> Hit:
    url = text_of(entry, "link")
    if not url:
        return faulty(entry, "", "link")
    return Hit(
        id=url,
        url=url,
        licence=licence,
        title=short(text_of(entry, "title")),
        page_url=short(text_of(entry.get("image"), "contextLink")),
    )
