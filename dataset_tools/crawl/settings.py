"""The `crawl:` section of a configuration: sources, manners and limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator
from pydantic_core import PydanticCustomError

from dataset_tools.core.errors import ConfigError, UnknownName
from dataset_tools.core.images import DEFAULT_LIMITS, ImageLimits
from dataset_tools.core.settings import Settings, parse_settings
from dataset_tools.crawl.source_settings import SourceSettings
from dataset_tools.crawl.sources import SOURCES


def _parse_source(value: Any) -> SourceSettings:
    if isinstance(value, SourceSettings):
        return value
    try:
        if not isinstance(value, Mapping):
            raise ConfigError(f"a source is a mapping with one of the types {', '.join(sorted(SOURCES))}")
        kind = str(value.get("type", ""))
        if kind not in SOURCES:
            raise UnknownName("source type", kind, SOURCES)
        return parse_settings(SOURCES[kind], value, str(value.get("name", kind)))
    except ConfigError as error:
        # pydantic would put "Value error, " before the text of a plain ValueError.
        raise PydanticCustomError("source", "{said}", {"said": str(error)}) from error


Source = Annotated[SerializeAsAny[SourceSettings], BeforeValidator(_parse_source)]


class FetchSettings(Settings):
    """Limits of one download, and manners towards one host.

    Attributes:
        deadline_s: network time of one item over all its tries and redirects; waiting for one's turn at a
            host does not count.
        idle_s: longest silence of a server.
        min_bytes_per_s, min_rate_over_s: a body that comes slower than that over that time is given up; 0
            bytes for any rate.
        max_bytes: of one file.
        max_redirects: followed for one item.
        tries: for no answer, 408, 429 and 5xx; other answers are final.
        retry_pause_s: before the second try, doubled each time, with jitter.
        retry_after_cap_s: a longer Retry-After gives the item up as "again later".
        per_host: downloads at once from one host and port.
        host_pause_s: between the starts of two requests to one host and port; it grows while the host
            answers with errors or slowly, and when robots.txt asks for more. 0 keeps to 0.
        give_up_after: requests to one host and port in a row that got no answer at all, before the rest of
            its items are given up as "again later".
        concurrency: downloads at once in all.
    """

    deadline_s: float = Field(default=60.0, gt=0)
    idle_s: float = Field(default=10.0, gt=0)
    min_bytes_per_s: float = Field(default=1024.0, ge=0)
    min_rate_over_s: float = Field(default=10.0, gt=0)
    max_bytes: int = Field(default=DEFAULT_LIMITS.max_bytes, ge=1)
    max_redirects: int = Field(default=5, ge=0, le=20)
    tries: int = Field(default=3, ge=1, le=10)
    retry_pause_s: float = Field(default=1.0, ge=0)
    retry_after_cap_s: float = Field(default=60.0, ge=0)
    per_host: int = Field(default=2, ge=1)
    host_pause_s: float = Field(default=0.5, ge=0)
    give_up_after: int = Field(default=10, ge=1)
    concurrency: int = Field(default=32, ge=1)


class PhotoSettings(Settings):
    """What a picture may be; see `ImageLimits`."""

    max_pixels: int = Field(default=DEFAULT_LIMITS.max_pixels, ge=1)
    min_side_px: int = Field(default=DEFAULT_LIMITS.min_side_px, ge=1)
    max_side_px: int = Field(default=DEFAULT_LIMITS.max_side_px, ge=1)
    max_aspect: float = Field(default=DEFAULT_LIMITS.max_aspect, ge=1)


class DecodeSettings(Settings):
    """Worker processes that decode pictures, and what one picture may cost; see `WorkLimits`.

    Attributes:
        workers: pictures decoded at once; each is a process of its own.
        cpu_s: processor time.
        wall_s: time in all.
        memory_mb: memory above what the worker itself needs, in MiB.
    """

    workers: int = Field(default=2, ge=1, le=64)
    cpu_s: float = Field(default=10.0, gt=0)
    wall_s: float = Field(default=30.0, gt=0)
    memory_mb: int = Field(default=1024, ge=64)


class CrawlSettings(Settings):
    """What to collect, from where, and how politely.

    Attributes:
        sources: at least one is needed to crawl; see `SOURCES`.
        contact: address or page that the User-Agent names, so that a site owner can reach you.
        respect_robots: obey robots.txt (RFC 9309).
        respect_opt_out: obey X-Robots-Tag noai, noimageai, noindex, noimageindex, noml, and the TDM
            reservation of a header or of /.well-known/tdmrep.json.
        allow_origins: exact origins such as "http://127.0.0.1:8000" that may be fetched although their
            address is not public.
        fetch, photos, decode: limits.
        keep_originals: keep the fetched bytes too, as they came, under `originals/` of the workspace.
    """

    sources: tuple[Source, ...] = ()
    contact: str = Field(default="", pattern=r"^[ -~]*$", max_length=200)
    respect_robots: bool = True
    respect_opt_out: bool = True
    allow_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$")], ...] = ()
    fetch: FetchSettings = FetchSettings()
    photos: PhotoSettings = PhotoSettings()
    decode: DecodeSettings = DecodeSettings()
    keep_originals: bool = False

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise PydanticCustomError("source", "source name {said} is used twice", {"said": twice[0]})
        return sources

    @property
    def image_limits(self) -> ImageLimits:
        """Limits for the decoder."""
        return ImageLimits(max_bytes=self.fetch.max_bytes, **self.photos.model_dump())


def resolve_paths(settings: CrawlSettings, base_dir: Path) -> CrawlSettings:
    """The same settings with every source path absolute; relative ones start at `base_dir`."""
    sources = tuple(source.resolve_paths(base_dir) for source in settings.sources)
    return settings.model_copy(update={"sources": sources})
