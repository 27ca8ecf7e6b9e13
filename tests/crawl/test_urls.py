"""URLs in one normal form, and those nobody may ask for."""

from __future__ import annotations

import pytest

from dataset_tools.core.errors import FetchFault
from dataset_tools.crawl.urls import checked_url, origin


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
