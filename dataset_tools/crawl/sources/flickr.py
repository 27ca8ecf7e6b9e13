"""Source `flickr`: photos of Flickr under open licences, by `flickr.photos.search`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from dataset_tools.core.errors import ServiceError
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

# Numbers of flickr.photos.licenses.getInfo. 0 is "all rights reserved" and cannot be asked for.
LICENCES = {
    "1": "CC-BY-NC-SA-2.0",
    "2": "CC-BY-NC-2.0",
    "3": "CC-BY-NC-ND-2.0",
    "4": "CC-BY-2.0",
    "5": "CC-BY-SA-2.0",
    "6": "CC-BY-ND-2.0",
    "7": "No known copyright restrictions",
    "8": "United States Government Work",
    "9": "CC0-1.0",
    "10": "CC-PDM-1.0",
    "11": "CC-BY-4.0",
    "12": "CC-BY-SA-4.0",
    "13": "CC-BY-ND-4.0",
    "14": "CC-BY-NC-4.0",
    "15": "CC-BY-NC-SA-4.0",
    "16": "CC-BY-NC-ND-4.0",
}
_SIZES = ("url_l", "url_c", "url_z")  # longest side 1024, 800, 640 px


class FlickrSource(PagedSource):
    """Flickr states licence and owner of each photo. It repeats its pages after about 4,000 photos of one
    search, where the listing of that search ends: many narrow searches find more than a broad one.

    Attributes:
        licences: SPDX ids and words to search for, see `LICENCES`; by default those that allow changes.
        page_size: photos a page.
        key_variable: environment variable with the API key.
    """

    type: Literal["flickr"] = "flickr"
    endpoint: str = Field(default="https://api.flickr.com/services/rest/", pattern=r"^https?://[^?#@\s]+$")
    licences: tuple[str, ...] = tuple(name for name in LICENCES.values() if "-ND-" not in name)
    page_size: int = Field(default=500, ge=1, le=500)
    key_variable: str = Field(default="FLICKR_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    @field_validator("licences")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(names) - set(LICENCES.values()))
        if unknown or not names:
            raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(LICENCES.values())}")
        return names

    def first_page(self, query: str) -> Params:
        """Parameters of the first page: photos that are safe for everybody."""
        numbers = [number for number, name in LICENCES.items() if name in self.licences]
        return {
            "method": "flickr.photos.search",
            "format": "json",
            "nojsoncallback": "1",
            "text": query,
            "license": ",".join(numbers),
            "media": "photos",
            "content_types": "0",
            "safe_search": "1",
            "sort": "date-posted-asc",
            "extras": ",".join(("license", "owner_name", *_SIZES)),
            "per_page": str(self.page_size),
            "page": "1",
        }

    def key_params(self) -> Params:
        """The API key.

        Raises:
            ConfigError: it is not in the environment.
        """
        return {"api_key": from_environment(self.key_variable, "the key of the Flickr API")}

    def read_page(self, answer: dict[str, Any], asked: Params) -> Page:
        """Photos under `photos.photo`; the last page is the one numbered `photos.pages`.

        Raises:
            DataError: no such list.
            ServiceError: the API reports a failure, such as a wrong key.
        """
        if answer.get("stat") == "fail":
            said = text_of(answer, "message").replace(self.key_params()["api_key"], "…")[:200]
            raise ServiceError(f"Flickr refuses: {text_of(answer, 'code')}, {said}")
        hits = tuple(map(_hit, rows_of(answer, "photos", "photo")))
        number, count = int(asked["page"]), text_of(answer["photos"], "pages")
        is_last = not hits or (count.isdecimal() and number >= int(count))
        return Page(hits, {} if is_last else {**asked, "page": str(number + 1)})


def _hit(entry: Any) -> Hit:
    identity, owner = text_of(entry, "id"), text_of(entry, "owner")
    url = next(filter(None, (text_of(entry, size) for size in _SIZES)), "")
    if not identity or not url:
        return faulty(entry, identity, f"id or one of {', '.join(_SIZES)}")
    return Hit(
        id=identity,
        url=url,
        licence=LICENCES.get(text_of(entry, "license"), ""),
        author=short(text_of(entry, "ownername") or owner),
        title=short(text_of(entry, "title")),
        page_url=f"https://www.flickr.com/photos/{owner}/{identity}" if owner else "",
    )
