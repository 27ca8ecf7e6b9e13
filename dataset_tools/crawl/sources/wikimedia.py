"""Source `wikimedia`: photos of Wikimedia Commons, by its search."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, Literal

from pydantic import Field

from dataset_tools.core.errors import DataError, ServiceError
from dataset_tools.core.text import storable
from dataset_tools.crawl.paging import Hit, Page, PagedSource, Params, faulty, rows_of, short, text_of


class WikimediaSource(PagedSource):
    """Commons states licence and artist of each file. Its operators want a `contact` in the User-Agent.

    Attributes:
        page_size: files an answer, at most 50 without a bot account.
        width_px: ask for pictures scaled down to this width; 0 for the originals.
    """

    type: Literal["wikimedia"] = "wikimedia"
    endpoint: str = Field(default="https://commons.wikimedia.org/w/api.php", pattern=r"^https?://[^?#@\s]+$")
    page_size: int = Field(default=50, ge=1, le=500)
    width_px: int = Field(default=1280, ge=0)

    def first_page(self, query: str) -> Params:
        """Parameters of the first page: photos only, no drawings."""
        asked = {
            "action": "query",
            "format": "json",
            "formatversion": "2",
            "maxlag": "5",
            "generator": "search",
            "gsrsearch": f"filetype:bitmap {query}",
            "gsrnamespace": "6",
            "gsrlimit": str(self.page_size),
            "prop": "imageinfo",
            "iiprop": "url|extmetadata",
            "iiextmetadatafilter": "LicenseShortName|LicenseUrl|Artist",
        }
        return asked | ({"iiurlwidth": str(self.width_px)} if self.width_px else {})

    def read_page(self, answer: dict[str, Any], asked: Params) -> Page:
        """Files under `query.pages`; `continue` says how to go on.

        Raises:
            DataError: neither files nor the mark of a finished answer.
            ServiceError: the API reports an error.
        """
        if isinstance(error := answer.get("error"), dict):
            raise ServiceError(f"Commons refuses: {text_of(error, 'code')}, {text_of(error, 'info')[:200]}")
        is_partial = answer.get("batchcomplete") is not True
        if "query" not in answer and (is_partial and "continue" not in answer):
            raise DataError("the answer has neither 'query' nor 'batchcomplete': the API has changed")
        rows = rows_of(answer, "query", "pages") if "query" in answer else []
        # A file without its data yet comes again, with it, before the batch is complete.
        ready = [row for row in rows if not (is_partial and isinstance(row, dict) and "imageinfo" not in row)]
        follow = answer.get("continue")
        if follow is not None and not isinstance(follow, dict):
            raise DataError("'continue' in the answer is no object: the API has changed")
        first = {key: value for key, value in asked.items() if key not in _cursor_keys(asked)}
        cursor = (
            {**first, **{storable(key): storable(str(value)) for key, value in follow.items()}}
            if follow
            else {}
        )
        return Page(tuple(map(_hit, ready)), cursor, is_partial)


def _cursor_keys(asked: Params) -> set[str]:
    return {key for key in asked if key.endswith("continue")} | {"gsroffset"}


def _hit(entry: Any) -> Hit:
    identity = text_of(entry, "title")
    infos = entry.get("imageinfo") if isinstance(entry, dict) else None
    info = infos[0] if isinstance(infos, list) and infos else None
    url = text_of(info, "thumburl") or text_of(info, "url")
    if not identity or not url or not isinstance(info, dict):
        return faulty(entry, identity, "title or imageinfo with a url")
    stated = info.get("extmetadata")
    return Hit(
        id=identity,
        url=url,
        licence=short(plain_text(_metadata(stated, "LicenseShortName"))),
        licence_url=short(_metadata(stated, "LicenseUrl")),
        author=short(plain_text(_metadata(stated, "Artist"))),
        title=short(identity.removeprefix("File:")),
        page_url=short(text_of(info, "descriptionurl")),
    )


def _metadata(stated: Any, key: str) -> str:
    return text_of(stated.get(key), "value") if isinstance(stated, dict) else ""


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def plain_text(markup: str) -> str:
    """The words of a short piece of HTML, on one line; what follows 4,000 characters is left out."""
    parser = _Words()
    try:
        parser.feed(markup[:4000])  # the parser's time grows with the square of broken input
        parser.close()
    except AssertionError:  # its way to say that markup makes no sense
        return ""
    return " ".join("".join(parser.words).split())
