"""A real HTTP server on this machine that behaves well or badly, by path."""

from __future__ import annotations

import io
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.stage import StageReport, run_stage, shards_of_items
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.stage import CrawlStage


def picture(number: int, size: int = 96, kind: str = "PNG") -> bytes:
    """A distinct picture for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((size, size)).save(buffer, kind)
    return buffer.getvalue()


def png_header_bomb(side: int = 30_000) -> bytes:
    """A PNG of a few bytes whose header promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@dataclass
class Site:
    """The server's routes and what it saw.

    Routes map a path to `(status, headers, body)`, to a list of such answers used one after the other (the
    last one again and again), or to a function that gets the handler and writes what it likes.
    """

    routes: dict[str, Any] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    origin: str = ""
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Serve `body` at `path`; returns the URL."""
        self.routes[path] = (status, {key.replace("_", "-"): value for key, value in headers.items()}, body)
        return self.origin + path

    def url(self, path: str) -> str:
        return self.origin + path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None:
        return None

    def do_GET(self) -> None:
        site = self.site
        with site.lock:
            site.headers.append(dict(self.headers))
            number = site.seen[self.path]
            site.seen[self.path] += 1
        route = site.routes.get(self.path, (404, {}, b""))
        if isinstance(route, list):
            route = route[min(number, len(route) - 1)]
        if callable(route):
            self.close_connection = True
            route(self)
        else:
            self._answer(*route)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if headers.get("Content-Length", str(len(body))) != str(len(body)):
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None  # clients that hang up are the point of these tests


def _silent(handler: _Handler) -> None:
    handler.site.closing.wait()


def _slow_drip(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not handler.site.closing.wait(0.1):
        handler.wfile.write(b"x")


def _endless(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
    sent = 0
    while not handler.site.closing.is_set():
        try:
            handler.wfile.write(b"\0" * 65536)
        except OSError:
            break
        sent += 65536
        handler.site.seen["/endless bytes"] = sent


def serve(site: Site) -> Callable[[], None]:
    """Start a server for `site`; the result stops it."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def stop() -> None:
        site.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


@pytest.fixture
def site() -> Iterator[Site]:
    """A fresh server with one good picture and all kinds of trouble."""
    site = Site()
    stop = serve(site)
    photo = picture(1, kind="JPEG")
    site.add("/good.jpg", photo, Content_Type="image/jpeg", ETag='"v1"')
    site.add("/truncated.jpg", photo[: len(photo) // 2])
    site.add("/bomb.png", png_header_bomb())
    site.add("/page.jpg", b"<!doctype html><p>sorry", Content_Type="image/jpeg")
    site.routes["/recovers"] = [(503, {}, b""), (200, {}, photo)]
    site.add("/always-503", status=503)
    site.routes["/busy"] = [(429, {"Retry-After": "0"}, b""), (200, {}, photo)]
    site.add("/busy-all-day", status=429, Retry_After="86400")
    site.routes["/silent"] = _silent
    site.routes["/drip"] = _slow_drip
    site.routes["/endless"] = _endless
    site.add("/loop", status=302, Location="/loop")
    site.add("/moved", status=301, Location="/good.jpg")
    site.add("/short", photo, Content_Length=str(len(photo) + 50))
    site.add("/no-ai.png", picture(2), X_Robots_Tag="noai, max-snippet: 5")
    site.add("/b%C3%BCcher.png", picture(3))
    yield site
    stop()


@pytest.fixture
def second_site() -> Iterator[Site]:
    """Another origin."""
    site = Site()
    stop = serve(site)
    site.add("/secret.png", picture(9))
    yield site
    stop()


@pytest.fixture
def deaf_origin() -> Iterator[str]:
    """An origin that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


QUICK = {"deadline_s": 2.0, "idle_s": 1.0, "retry_pause_s": 0.01, "host_pause_s": 0.0}


@pytest.fixture
def make_settings(site: Site) -> Callable[..., CrawlSettings]:
    """Crawl settings with short times that allow the test server."""

    def make(*sources: dict[str, Any], fetch: dict[str, Any] | None = None, **more: Any) -> CrawlSettings:
        values: dict[str, Any] = {"allow_origins": [site.origin], "sources": sources, **more}
        return CrawlSettings.model_validate({**values, "fetch": {**QUICK, **(fetch or {})}})

    return make


@dataclass(frozen=True)
class Crawled:
    """A finished crawl."""

    manifest: Manifest
    report: StageReport

    @property
    def reasons(self) -> dict[str, str]:
        """Reason of each rejected input, by item key."""
        return {item.item_key: item.reason.value for item in self.manifest.rejections() if not item.derived}

    @property
    def samples(self) -> dict[str, Any]:
        """Samples by item key."""
        return {sample.provenance.item_key: sample for sample in self.manifest.samples()}


@pytest.fixture
def crawl(tmp_path: Path) -> Callable[[CrawlSettings], Crawled]:
    """Run a crawl into a fresh workspace."""
    runs = iter(range(100))

    def run(settings: CrawlSettings, shard_size: int = 64) -> Crawled:
        root = tmp_path / f"workspace{next(runs)}"
        directory = root / "manifests" / "crawl"
        shards = shards_of_items(list_items(settings), shard_size)
        report = run_stage(
            CrawlStage(settings, 0), shards, directory, key="k", parent_key="", images=ImageStore(root)
        )
        return Crawled(Manifest(directory), report)

    return run


@pytest.fixture
def url_file(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write URLs to a text file; gives the source's settings."""

    def write(*urls: str) -> dict[str, Any]:
        path = tmp_path / "urls.txt"
        path.write_text("\n".join(urls) + "\n", encoding="utf-8")
        return {"type": "url_list", "name": "web", "path": str(path), "licence": "CC0-1.0"}

    return write


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    """The function `picture`, for tests that write files."""
    return picture
