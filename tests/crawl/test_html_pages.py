"""What is read from a page, and that hostile markup costs neither time nor an exception."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dataset_tools.crawl.html_pages import read_page

URL = "http://example.org/dir/page.html"


def pictures(markup: str) -> list[str]:
    return list(read_page(markup, URL).pictures)


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ('<img src="a.jpg">', "http://example.org/dir/a.jpg"),
        ("<IMG SRC=/a.jpg#x>", "http://example.org/a.jpg"),
        ('<img src="s.jpg" srcset="m.jpg 800w, l.jpg 1600w, s.jpg 400w">', "http://example.org/dir/l.jpg"),
        ('<img src="s.jpg" srcset="l.jpg 2x, s.jpg">', "http://example.org/dir/l.jpg"),
        ('<img srcset="http://c.org/w_1,h_2/a.jpg 1x">', "http://c.org/w_1,h_2/a.jpg"),
        (
            '<picture><source srcset="b.webp 900w"><img src="s.jpg"></picture>',
            "http://example.org/dir/b.webp",
        ),
        ('<img src="data:image/gif;base64,R0" data-src="lazy.jpg">', "http://example.org/dir/lazy.jpg"),
        ('<meta property="og:image" content="//cdn.org/o.jpg">', "http://cdn.org/o.jpg"),
        ('<a href="full.JPG?x=1">see</a>', "http://example.org/dir/full.JPG?x=1"),
        ('<base href="http://other.org/b/"><img src="a.jpg">', "http://other.org/b/a.jpg"),
        ('<img src="&#x61;.jpg">', "http://example.org/dir/a.jpg"),
    ],
)
def test_a_picture_is_found_at_its_largest(markup, expected):
    assert pictures(markup) == [expected]


@pytest.mark.parametrize(
    "markup",
    [
        "",
        "<img>",
        "<img src=''>",
        "<img src='data:image/png;base64,AA'>",
        "<img src='javascript:alert(1)'>",
        "<img src='file:///etc/passwd'>",
        "<img src='http://[broken/a.jpg'>",
        "<!-- <img src='a.jpg'> -->",
        "<script>'<img src=a.jpg>'</script>",
    ],
)
def test_what_is_no_picture_is_none(markup):
    assert pictures(markup) == []


def test_a_picture_shown_twice_is_one_and_keeps_its_text():
    content = read_page("<img src=a.jpg alt=' A\n mask '><img src=a.jpg alt=other>", URL)
    assert content.pictures == {"http://example.org/dir/a.jpg": "A mask"}


def test_links_are_kept_unless_marked_nofollow():
    markup = "<a href='b.html'><a href='b.html#x'><a href=c rel='ugc nofollow'><a href='mailto:x'>"
    markup += "<link href=s.css>"
    assert read_page(markup, URL).links == ["http://example.org/dir/b.html"]
    assert read_page("<meta name=robots content='noimageai, NoFollow'>" + markup, URL).links == []


@pytest.mark.parametrize(
    ("markup", "word"),
    [
        ("<meta name='robots' content='noai'>", "noai"),
        ("<meta name='ROBOTS' content='index, noimageindex'>", "noimageindex"),
        ("<meta name='maskset' content='none'>", "none"),
        ("<meta name='tdm-reservation' content='1'>", "tdm-reservation"),
        ("<meta name='tdm-reservation' content='0'>", ""),
        ("<meta name='otherbot' content='noai'>", ""),
        ("<meta name='robots' content='max-snippet: 5, nofollow'>", ""),
    ],
)
def test_an_opt_out_in_the_page_is_heard(markup, word):
    assert read_page(markup, URL).opt_out == word


def test_licences_and_author_are_read_from_the_page():
    markup = """<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">
        <meta name=author content=" Anna "><a rel="nofollow license" href="/terms">terms</a>"""
    content = read_page(markup, URL)
    assert content.licences == ["https://creativecommons.org/licenses/by/4.0/", "http://example.org/terms"]
    assert (content.author, content.links) == ("Anna", [])


def test_hostile_markup_is_read_in_a_blink_and_raises_nothing():
    """Pieces at which Python's parser takes minutes for 50 kB when fed carelessly; here 400 kB each."""
    code = """
import resource
from dataset_tools.crawl.html_pages import read_page
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for piece in ("<", "<!--", "<a ", "<a x='", "<![CDATA[", "</", "<?", "<a a=b ", "<script>", "&#", "<a<",
              "<![", "<!a", "<source srcset='a 1x, '>", "<img srcset='" + "a 1x, " * 1000 + "'>"):
    read_page(piece * (400_000 // len(piece)), "http://example.org/")
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")
