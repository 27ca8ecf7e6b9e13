"""robots.txt by the examples of RFC 9309, and the grammar of X-Robots-Tag."""

from __future__ import annotations

import pytest

from dataset_tools.crawl.rights import opt_out_word, parse_reservations, parse_robots, reservation_of


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ("/", "/anything", True),
        ("/fish", "/fish.html", True),
        ("/fish", "/Fish", False),
        ("/fish/", "/fish", False),
        ("/*.php", "/index.php?x=1", True),
        ("/*.php", "/windows.PHP", False),
        ("/*.php$", "/folder/any.php", True),
        ("/*.php$", "/any.php?x", False),
        ("/fish*.php", "/fishheads/catfish.php?p", True),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/a*b*c$", "/axbxbc", True),
        ("/a*bb$", "/ab", False),
        ("/*aa$", "/a", False),
        ("*", "/x", True),
        ("/b%C3%BCcher", "/b%c3%bccher/1", True),
        ("/bücher", "/b%C3%BCcher/1", True),
        ("/%7Ejoe", "/~joe/x", True),
        ("/a%2Fb", "/a/b", False),
    ],
)
def test_a_disallow_rule_matches_as_the_standard_says(rule, path, matches):
    rules = parse_robots(f"User-agent: *\nDisallow: {rule}\n")
    assert rules.allows(path) is not matches


def test_the_longest_rule_wins_and_allow_wins_a_tie():
    rules = parse_robots("User-agent: *\nDisallow: /a\nAllow: /a/open\nDisallow: /b\nAllow: /b\n")
    assert not rules.allows("/a/x")
    assert rules.allows("/a/open/x")
    assert rules.allows("/b")


def test_our_own_group_replaces_the_general_one():
    text = "User-agent: *\nDisallow: /\n\nUser-Agent: other\nUser-agent: MaskSet\nDisallow: /no\n"
    rules = parse_robots(text)
    assert rules.allows("/yes")
    assert not rules.allows("/no")


def test_several_groups_for_us_are_read_as_one():
    rules = parse_robots("User-agent: maskset\nDisallow: /a\n\nUser-agent: maskset/2\nDisallow: /b\n")
    assert not rules.allows("/a")
    assert not rules.allows("/b")


@pytest.mark.parametrize(
    "text",
    ["", "<html>no robots here</html>", "Disallow: /\n", "User-agent: *\nDisallow:\n", "# User-agent: *"],
)
def test_a_file_without_a_rule_for_us_allows(text):
    assert parse_robots(text).allows("/x")


def test_comments_blank_lines_and_byte_order_do_not_disturb():
    text = "User-agent: * # all\r\n\r\n# note\r\nCrawl-delay: 3\r\nDisallow: /x # why\r\n"
    assert not parse_robots(text).allows("/x/y")


def test_many_stars_are_matched_in_linear_time():
    rules = parse_robots("User-agent: *\nDisallow: /" + "*a" * 400 + "$\n")
    assert rules.allows("/" + "a" * 5000 + "b")


@pytest.mark.parametrize(
    "header",
    [
        "noai",
        "NOAI",
        "noai, max-snippet: 5",
        "max-snippet: 5, noai",
        "noindex, unavailable_after: Wednesday, 25 Jun 2035 15:00:00 GMT",
        "unavailable_after: Wednesday, 25 Jun 2035 15:00:00 GMT, noimageai",
        "maskset: noai",
        "*: noimageindex",
        "otherbot: nofollow, maskset: noindex",
        "none",
        " noml ",
    ],
)
def test_an_opt_out_is_heard(header):
    assert opt_out_word([header]) is not None


@pytest.mark.parametrize(
    "header",
    ["", "all", "otherbot: noai", "otherbot: noindex, noai", "nofollow, max-snippet: 5", "nonoai", "index"],
)
def test_other_words_and_other_robots_are_no_opt_out(header):
    assert opt_out_word([header]) is None


def test_each_of_several_headers_is_heard():
    assert opt_out_word(["otherbot: noai", "noindex"]) == "noindex"


def test_a_crawl_delay_is_read_for_us_or_for_all():
    text = "User-agent: *\nCrawl-delay: 3\nDisallow: /x\n\nUser-agent: maskset\nCrawl-delay: 1.5\n"
    assert parse_robots(text).crawl_delay_s == 1.5
    assert parse_robots(text.replace("maskset", "other")).crawl_delay_s == 3
    for odd in ("soon", "-1", "nan", "inf", ""):
        assert parse_robots(f"User-agent: *\nCrawl-delay: {odd}\n").crawl_delay_s == 0


TDM = """[{"location": "/", "tdm-reservation": 0},
 {"location": "/art/*.jpg$", "tdm-reservation": 1, "tdm-policy": "https://example.org/terms"},
 {"location": "/art/free", "tdm-reservation": "1"}, {"location": "/art/free", "tdm-reservation": 0},
 {"tdm-reservation": 1}, "text", {"location": 5}]"""


@pytest.mark.parametrize(
    ("path", "is_reserved"),
    [("/a.jpg", False), ("/art/a.jpg", True), ("/art/a.jpg?x", False), ("/art/free", True), ("/b/c", False)],
)
def test_the_longest_entry_of_a_tdmrep_file_decides(path, is_reserved):
    entry = reservation_of(parse_reservations(TDM), path)
    assert entry is not None and entry.is_reserved is is_reserved


@pytest.mark.parametrize("text", ["", "<html>", "[", "5", "null", "[[]]", "[" * 100_000])
def test_a_tdmrep_file_that_is_none_reserves_nothing(text):
    assert parse_reservations(text) == ()
