"""Foreign words made safe to store and to show: names and details come from files nobody has checked."""

from __future__ import annotations


def storable(text: str) -> str:
    """The same text with "?" for lone surrogates, which JSON can hold but UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def printable(text: str) -> str:
    """One line of text that a terminal or a page shows and does not obey.

    White space becomes a blank each; other control and direction characters are written as escapes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text)
