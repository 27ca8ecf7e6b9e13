from __future__ import annotations

from dataset_tools.core.text import printable, storable


def test_storable_text_is_utf8_and_good_text_stays() -> None:
    assert storable("a\ud800b").encode() == b"a?b"
    assert storable("naïve 日本 😀\n") == "naïve 日本 😀\n"


def test_printable_text_is_one_line_that_a_terminal_does_not_obey() -> None:
    assert printable("two\nlines\x1b[2J\u202egnp.exe") == "two lines\\x1b[2J\\x202egnp.exe"
    assert printable("naïve 日本 😀") == "naïve 日本 😀"
