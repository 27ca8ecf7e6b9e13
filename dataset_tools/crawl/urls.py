"""Which URLs may be asked for, in one normal form."""

from __future__ import annotations

import httpx

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason

MAX_URL_CHARS = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}


def checked_url(text: str) -> httpx.URL:
    """An http(s) URL in normal form: host in IDNA, path percent-encoded, no fragment, no default port.

    Raises:
        FetchFault: `unsafe_url` for another scheme, no host, a user name or password inside, control
            characters, or more than 8 KiB. Secrets are not repeated in the text.
    """
    if len(text) > MAX_URL_CHARS:
        raise FetchFault(Reason.UNSAFE_URL, f"URL of {len(text)} characters, at most {MAX_URL_CHARS} allowed")
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
    is_normal = "#" not in text and str(url) == text
    return url if is_normal else url.copy_with(fragment=None)


def origin(url: httpx.URL) -> str:
    """`scheme://host:port` with the port always written."""
    return f"{url.scheme}://{authority(url)}"


def authority(url: httpx.URL) -> str:
    """`host:port` with the port always written, host as it is looked up."""
    return f"{url.raw_host.decode('ascii')}:{url.port or DEFAULT_PORTS[url.scheme]}"
