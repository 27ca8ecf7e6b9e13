"""What a site says about robots: robots.txt (RFC 9309), X-Robots-Tag, TDM reservation. Pure parsing.

`urllib.robotparser` is not used: it takes the first matching rule instead of the longest and knows no `*`
or `$`, so it reads common files wrongly in both directions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

PRODUCT_TOKEN = "maskset"  # noqa: S105 - the name robots.txt files address us by, no secret

OPT_OUT_WORDS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "noml", "none"})

# Directives of X-Robots-Tag that carry a value after ":"; any other "word:" names a robot.
_VALUED_DIRECTIVES = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class RobotsRules:
    """The rules of one robots.txt that apply to us.

    Attributes:
        rules: (path pattern, is allowed).
        crawl_delay_s: the pause asked for; no part of RFC 9309, but many files say it.
    """

    rules: tuple[tuple[str, bool], ...] = ()
    crawl_delay_s: float = 0.0

    def allows(self, target: str) -> bool:
        """Whether a path with its query may be fetched: the longest matching pattern decides."""
        if not self.rules:
            return True
        path = _normal_path(target or "/")
        matching = [(len(pattern), allowed) for pattern, allowed in self.rules if _matches(pattern, path)]
        return max(matching)[1] if matching else True


def parse_robots(text: str) -> RobotsRules:
    """Rules for the product token `maskset`, or else for `*`.

    Args:
        text: content of a robots.txt; anything unknown in it is skipped.
    """
    groups: dict[str, list[tuple[str, bool]]] = {}
    delays: dict[str, float] = {}
    agents: list[str] = []
    in_rules = False
    for line in text.splitlines():
        key, _, value = line.partition("#")[0].partition(":")
        word, value = key.strip().lower(), value.strip()
        if word == "user-agent":
            if in_rules:
                agents, in_rules = [], False
            agents.append(value.lower().partition("/")[0].strip())
            groups.setdefault(agents[-1], [])
        elif word in ("allow", "disallow"):
            in_rules = True
            if value:
                for agent in agents:
                    groups[agent].append((_normal_path(value), word == "allow"))
        elif word == "crawl-delay":
            in_rules = True
            for agent in agents:
                delays[agent] = max(delays.get(agent, 0.0), _seconds(value))
    ours = PRODUCT_TOKEN if PRODUCT_TOKEN in groups else "*"
    return RobotsRules(tuple(groups.get(ours, [])), delays.get(ours, 0.0))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _normal_path(path: str) -> str:
    """Percent-encoding in one form, as RFC 9309 section 2.2.2 compares octets."""

    def one(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return re.sub(r"%([0-9A-Fa-f]{2})", one, quote(path, safe="/%?#[]@!$&'()*+,;=:~"))


def _matches(pattern: str, path: str) -> bool:
    # Literal pieces are searched one after the other: linear, where a regular expression with many
    # stars can take for ever on a hostile file.
    is_anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return path == first or not is_anchored
    position = len(first)
    for piece in rest[:-1]:
        found = path.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    last = rest[-1]
    if is_anchored:
        return path.endswith(last) and len(path) - len(last) >= position
    return path.find(last, position) >= 0


def opt_out_word(headers: Iterable[str]) -> str | None:
    """The word by which X-Robots-Tag forbids this use, or None.

    Args:
        headers: value of every X-Robots-Tag header of one answer. A value may start with the name of a
            robot, which then alone is addressed: `otherbot: noai` does not concern us.
    """
    for header in headers:
        is_for_us = True
        for part in header.split(","):
            word, colon, rest = part.strip().lower().partition(":")
            word = word.strip()
            # A robot's name has no spaces; the rest of a date ("25 Jun 2035 15:00") has.
            if colon and " " not in word and word not in _VALUED_DIRECTIVES:
                is_for_us = word in (PRODUCT_TOKEN, "*")
                word = rest.strip()
            if is_for_us and word in OPT_OUT_WORDS:
                return word
    return None


@dataclass(frozen=True, slots=True)
class Reservation:
    """One entry of a `/.well-known/tdmrep.json`.

    Attributes:
        location: path pattern, written as in robots.txt.
        is_reserved: text and data mining is reserved there.
        policy: URL of the terms; "" when none is stated.
    """

    location: str
    is_reserved: bool
    policy: str = ""


def parse_reservations(text: str) -> tuple[Reservation, ...]:
    """Entries of a tdmrep.json (TDM Reservation Protocol, W3C community group report); () when it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    entries = values if isinstance(values, list) else [values]
    return tuple(
        Reservation(
            _normal_path(entry["location"]),
            is_reserved=str(entry.get("tdm-reservation")) == "1",
            policy=policy if isinstance(policy := entry.get("tdm-policy", ""), str) else "",
        )
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("location"), str)
    )


def reservation_of(entries: Iterable[Reservation], target: str) -> Reservation | None:
    """The entry that speaks of a path with its query: the longest pattern, a reservation before a grant."""
    known = tuple(entries)
    if not known:
        return None
    path = _normal_path(target or "/")
    matching = [entry for entry in known if _matches(entry.location, path)]
    return max(matching, key=lambda entry: (len(entry.location), entry.is_reserved), default=None)
