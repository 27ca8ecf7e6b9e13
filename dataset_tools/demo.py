"""The demo build: public-domain photos from installed packages, served over real HTTP, built into a dataset.

Pictures: scikit-image's astronaut (NASA, public domain) and matplotlib's Grace Hopper portrait (US Navy,
public domain), each also mirrored and zoomed; the packages' coffee, cat, rocket and moon as photos without a
face; copies as duplicates; and four broken addresses, so that the rejects table has something to say.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageOps

from dataset_tools.config import BuildConfig, resolve_config
from dataset_tools.core.errors import SuiteError
from dataset_tools.core.files import write_text
from dataset_tools.core.settings import parse_settings
from dataset_tools.demo_card import DEMO_EXPORT

# Tried first, so that a second demo finds the same addresses and resumes the first.
PREFERRED_PORT = 8791

_PUBLIC_DOMAIN = "LicenseRef-public-domain"
_ASTRONAUT = ("NASA", _PUBLIC_DOMAIN, "astronaut")
_HOPPER = ("James S. Davis, United States Navy", _PUBLIC_DOMAIN, "hopper")


def _package_file(package: str, relative: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SuiteError(f"the demo needs the package {package}; reinstall maskset with its dependencies")
    path = Path(spec.origin).parent / relative
    if not path.exists():
        raise SuiteError(f"{package} no longer carries {relative}; the demo cannot run with this version")
    return path


def _encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def _zoom(image: Image.Image, share: float) -> Image.Image:
    """The upper middle part of a portrait, `share` of its sides, at the full size again."""
    width, height = image.size
    left = round(width * (1 - share) / 2)
    box = (left, 0, left + round(width * share), round(height * share))
    return image.resize(image.size, Image.Resampling.LANCZOS, box=box)


def demo_pages() -> dict[str, tuple[int, str, bytes]]:
    """Path → (status, content type, body) of the demo's web server."""
    astronaut_file = _package_file("skimage", "data/astronaut.png")
    hopper_file = _package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")
    astronaut, hopper = Image.open(astronaut_file), Image.open(hopper_file)
    astronaut_bytes = astronaut_file.read_bytes()
    small = astronaut.resize((400, 400), Image.Resampling.LANCZOS)
    pictures = {
        "astronaut.png": astronaut_bytes,
        "astronaut-copy.png": astronaut_bytes,
        "astronaut-small.jpg": _encode(small, "JPEG", quality=80),
        "astronaut-mirrored.png": _encode(ImageOps.mirror(astronaut)),
        "astronaut-near.jpg": _encode(_zoom(astronaut, 0.7), "JPEG", quality=92),
        "astronaut-near-mirrored.png": _encode(ImageOps.mirror(_zoom(astronaut, 0.7))),
        "hopper.jpg": hopper_file.read_bytes(),
        "hopper-mirrored.png": _encode(ImageOps.mirror(hopper)),
        "hopper-near.jpg": _encode(_zoom(hopper, 0.75), "JPEG", quality=92),
        "coffee.png": _package_file("skimage", "data/coffee.png").read_bytes(),
        "cat.png": _package_file("skimage", "data/chelsea.png").read_bytes(),
        "rocket.jpg": _package_file("skimage", "data/rocket.jpg").read_bytes(),
        "moon.png": _package_file("skimage", "data/moon.png").read_bytes(),
        "cut.jpg": hopper_file.read_bytes()[:20_000],
    }
    pages = {
        f"/{name}": (200, "image/png" if name.endswith("png") else "image/jpeg", data)
        for name, data in pictures.items()
    }
    pages["/page.jpg"] = (200, "image/jpeg", b"<!DOCTYPE html><html><body>Not a photo.</body></html>")
    pages["/robots.txt"] = (200, "text/plain", b"User-agent: *\nDisallow: /private/\n")
    pages["/private/photo.png"] = (200, "image/png", astronaut_bytes)
    return pages


def demo_rows(origin: str) -> list[dict[str, str]]:
    """The list of addresses the demo crawls, with licence, author and group of each."""
    of_astronaut = ("astronaut.png", "astronaut-copy.png", "astronaut-small.jpg", "astronaut-mirrored.png",
                    "astronaut-near.jpg", "astronaut-near-mirrored.png", "private/photo.png")  # fmt: skip
    of_hopper = ("hopper.jpg", "hopper-mirrored.png", "hopper-near.jpg", "cut.jpg")
    rows = [(name, *_ASTRONAUT) for name in of_astronaut]
    rows += [(name, *_HOPPER) for name in of_hopper]
    rows += [
        ("coffee.png", "Rachel Michetti", "CC0-1.0", ""),
        ("cat.png", "Stéfan van der Walt", "CC0-1.0", ""),
        ("rocket.jpg", "SpaceX", _PUBLIC_DOMAIN, ""),
        ("moon.png", "scikit-image", _PUBLIC_DOMAIN, ""),
        ("page.jpg", "nobody", "CC0-1.0", ""),
        ("gone.png", "nobody", "CC0-1.0", ""),
        ("moon.png?licence=unknown", "nobody", "", ""),
    ]
    return [
        {"url": f"{origin}/{name}", "author": author, "licence": licence, "group": group}
        for name, author, licence, group in rows
    ]


@contextmanager
def demo_server() -> Iterator[str]:
    """Serve `demo_pages` on the loopback interface; gives the origin, e.g. "http://127.0.0.1:8791"."""
    pages = demo_pages()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = pages.get(self.path.split("?")[0], (404, "text/plain", b"not here"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            return None

    try:
        server = ThreadingHTTPServer(("127.0.0.1", PREFERRED_PORT), Handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def demo_config(folder: Path, origin: str) -> BuildConfig:
    """Write the demo's URL list and configuration into `folder`, and give the configuration.

    With `folder/config.yaml` every other command works on the demo as on any build.
    """
    text = io.StringIO()
    rows = demo_rows(origin)
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "urls.csv", text.getvalue())
    values: dict[str, Any] = {
        "name": "maskset-demo",
        "workspace": "work",
        "seed": 7,
        "shard_size": 8,
        "crawl": {
            "contact": "nobody@example.org",
            "allow_origins": [origin],
            "fetch": {"host_pause_s": 0.0},
            "sources": [{"type": "url_list", "name": "demo", "path": "urls.csv"}],
        },
        "synth": {"per_face": 6},
        "split": {"preset": "misa"},
        "export": DEMO_EXPORT,
        "train": {"baseline": "unet_effnet_lite0", "steps": 30, "batch": 4, "input_px": 128},
    }
    write_text(folder / "config.yaml", yaml.safe_dump(values, sort_keys=False))
    return resolve_config(parse_settings(BuildConfig, values, "demo"), folder.resolve())
