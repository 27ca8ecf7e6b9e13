"""URLs in one normal form, and those nobody may ask for."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from dataset_tools.core.errors import FetchFault
from dataset_tools.crawl.urls import WebUrl, _parsed, checked_url, origin


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://a/b#c", "http://a/b"),
        (" HTTP://Example.ORG:80/x ", "http://example.org/x"),
        ("https://example.org:443/", "https://example.org/"),
        ("http://über.example/ü?q=ä b", "http://xn--ber-goa.example/%C3%BC?q=%C3%A4%20b"),
        ("http://a/x/../y", "http://a/y"),
        ("http://a/%C3%BC", "http://a/%C3%BC"),
    ],
)
def test_urls_get_one_normal_form(text, normal):
    assert str(checked_url(text)) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.png",
        "//example.org/a",
        "file:///etc/passwd",
        "ftp://example.org/a",
        "gopher://example.org/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http:///a",
        "http://user@example.org/",
        "http://user:hunter2@example.org/",
        "http://a\\@b/",
        "http://a:99999/",
        "http://a:0/",
        "http://a:x/",
        "http://a/\x00",
        "http://a/b\r\nHost: c",
        "http://[::1/",
        "http://xn--/",
        "http://" + "a" * 9000,
    ],
)
def test_other_urls_are_refused(text):
    with pytest.raises(FetchFault) as caught:
        checked_url(text)
    assert caught.value.reason == "unsafe_url"
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_origin_always_has_its_port():
    assert origin(checked_url("https://example.org/a")) == "https://example.org:443"
    assert origin(checked_url("http://[2001:db8::1]/a")) == "http://2001:db8::1:80"


HOSTS = """
    a.example 127.0.0.1 127.0.0.1:8000 0x7f.1 1.2.3 999.1.1.1 01.2.3.4 a:80 a:443 a:0 a:65535 a:65536 a:080
    xn--bcher-kva.de a.xn--x -a- . .. a..b a. 1 2130706433 1.2.3.4.5 xn-- 1.2.3.4:99999 1.2.3.4. x:123456 A
"""
PARTS = "a b.jpg %20 %c3%BC %zz .. . / / // ~ _ - ? = & a=b %2F %2e%2e + ( é #x @ : ; \\"


def test_a_url_taken_for_plain_is_what_the_full_parser_makes_of_it() -> None:
    def outcome(parse: Callable[[str], WebUrl], text: str) -> object:
        try:
            return parse(text)
        except FetchFault as fault:
            return fault.reason, str(fault)

    dice = random.Random(0)
    for _ in range(20_000):
        path = "".join(dice.choices(PARTS, k=dice.randrange(7)))
        text = (
            f"{dice.choice(['http', 'https'])}://{dice.choice(HOSTS)}{dice.choice(['/', '/', '/', ''])}{path}"
        )
        assert outcome(checked_url, text) == outcome(_parsed, text), text


def test_plain_urls_need_no_http_client() -> None:
    code = """if True:
        import sys
        from dataset_tools.crawl.urls import checked_url
        checked_url("https://a.example:8443/b/c%20d.jpg?e=f")
        print("httpx" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_links_and_other_paths_start_from_a_url() -> None:
    url = checked_url("http://a.example:81/b/c.jpg?d")
    assert url.at("/robots.txt") == checked_url("http://a.example:81/robots.txt")
    assert url.join("../e f") == checked_url("http://a.example:81/e%20f")
    assert url.join("//b.example/#x") == checked_url("http://b.example/")
    assert str(url.with_params({"k": "v w"})) in (
        "http://a.example:81/b/c.jpg?d=&k=v+w",
        "http://a.example:81/b/c.jpg?d=&k=v%20w",
    )
    with pytest.raises(FetchFault):
        url.join("ftp://a.example/")
