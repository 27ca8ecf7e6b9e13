"""Which URLs may be asked for, in one normal form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason

if TYPE_CHECKING:
    import httpx

MAX_URL_CHARS = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}

# A URL that the full parser would neither change nor refuse, as nearly all of a list are: it costs a
# fiftieth, and no import of the HTTP client. No "." starts a part of the path ("." and ".." are resolved).
_PLAIN = re.compile(
    r"(https?)://([a-z0-9.-]+(?::[0-9]+)?)"
    r"((?:/(?!\.)(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*)+(?:\?(?:[A-Za-z0-9._~=&-]|%[0-9A-Fa-f]{2})+)?)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class WebUrl:
    """An http(s) URL in normal form: host in IDNA, path percent-encoded, no fragment, no default port.

    Attributes:
        text: all of it.
        scheme: "http" or "https".
        netloc: host, and port when it is not the scheme's own, as a Host header has them.
        host: as it is looked up; an IPv6 address without brackets.
        port: always stated.
        target: path and query.
    """

    text: str
    scheme: str
    netloc: str
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return self.text

    def at(self, path: str) -> WebUrl:
        """Another path of the same origin; it must be in normal form itself."""
        text = f"{self.scheme}://{self.netloc}{path}"
        return WebUrl(text, self.scheme, self.netloc, self.host, self.port, path)

    def join(self, reference: str) -> WebUrl:
        """The URL to which a link or redirect leads from here.

        Raises:
            FetchFault: as `checked_url`.
        """
        import httpx

        try:
            joined = str(httpx.URL(self.text).join(reference))
        except (httpx.InvalidURL, ValueError) as error:
            raise FetchFault(Reason.UNSAFE_URL, f"not a URL: {error}") from error
        return checked_url(joined)

    def with_params(self, params: Mapping[str, str]) -> WebUrl:
        """The same with more in its query."""
        import httpx

        return _taken_apart(httpx.URL(self.text).copy_merge_params(dict(params)))


def checked_url(text: str) -> WebUrl:
    """A URL that may be asked for, in normal form.

    Raises:
        FetchFault: `unsafe_url` for another scheme, no host, a user name or password inside, control
            characters, or more than 8 KiB. Secrets are not repeated in the text.
    """
    if len(text) > MAX_URL_CHARS:
        raise FetchFault(Reason.UNSAFE_URL, f"URL of {len(text)} characters, at most {MAX_URL_CHARS} allowed")
    if (plain := _PLAIN.fullmatch(text)) is not None:
        scheme, netloc, target = plain.groups()
        if (place := _plain_place(scheme, netloc)) is not None:
            return WebUrl(text, scheme, netloc, *place, target)
    return _parsed(text)


@lru_cache(maxsize=1024)
def _plain_place(scheme: str, netloc: str) -> tuple[str, int] | None:
    """Host and port; None when only the full parser can tell."""
    host, colon, port = netloc.partition(":")
    if host.startswith("xn--"):
        return None
    if not host.strip("0123456789."):  # an address: the full parser refuses what is none
        try:
            IPv4Address(host)
        except ValueError:
            return None
    if not colon:
        return host, DEFAULT_PORTS[scheme]
    if port[0] == "0" or len(port) > 5 or int(port) > 65535 or int(port) == DEFAULT_PORTS[scheme]:
        return None
    return host, int(port)


def _parsed(text: str) -> WebUrl:
    # Imported here: reading a list of plain URLs needs no HTTP client.
    import httpx

    try:
        url = httpx.URL(text.strip())
        host = url.host
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchFault(Reason.UNSAFE_URL, f"not a URL: {error}") from error
    if url.scheme not in DEFAULT_PORTS:
        found = f"{url.scheme!r}" if url.scheme else "none"
        raise FetchFault(Reason.UNSAFE_URL, f"scheme must be http or https, found {found}")
    if not host:
        raise FetchFault(Reason.UNSAFE_URL, "URL without a host")
    if url.port is not None and not 0 < url.port < 65536:
        raise FetchFault(Reason.UNSAFE_URL, f"port {url.port} does not exist")
    if url.userinfo:
        raise FetchFault(Reason.UNSAFE_URL, "URL with a user name or password inside")
    return _taken_apart(url.copy_with(fragment=None))


def _taken_apart(url: httpx.URL) -> WebUrl:
    return WebUrl(
        text=str(url),
        scheme=url.scheme,
        netloc=url.netloc.decode("ascii"),
        host=url.raw_host.decode("ascii"),
        port=url.port or DEFAULT_PORTS[url.scheme],
        target=url.raw_path.decode("ascii") or "/",
    )


def origin(url: WebUrl) -> str:
    """`scheme://host:port` with the port always written."""
    return f"{url.scheme}://{url.host}:{url.port}"


def authority(url: WebUrl) -> str:
    """`host:port` with the port always written, host as it is looked up."""
    return f"{url.host}:{url.port}"
