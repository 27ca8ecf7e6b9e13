"""A split written down, so that a dataset can grow and nobody who was placed ever moves.

The file is JSON lines: a first line that says what it is, then one line a sample, sorted by its id:

    {"groups":2,"maskset_split":1,"samples":3}
    {"group":"2c26b46b68ffc68f","sample":"0f…","split":"train"}

Samples are named by the digest of their picture and groups by a digest of their name, so nothing in it tells
who is shown. The same split gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.files import canonical_json, sha256_file, sha256_hex, write_text
from dataset_tools.core.record import Sample, Split

_FORMAT = "maskset_split"
_VERSION = 1
_PLACES = (Split.TRAIN.value, Split.VAL.value, Split.TEST.value)


def group_digest(group: str) -> str:
    """A group's name as 16 hex digits: a source's own words may name a person."""
    return sha256_hex(group.encode())[:16]


@dataclass(frozen=True, slots=True)
class Frozen:
    """Who was placed where.

    Attributes:
        samples: split by sample id.
        groups: splits by group digest; more than one only where a group was cut into parts after some of
            it had been placed.
    """

    samples: dict[str, Split] = field(default_factory=dict)
    groups: dict[str, frozenset[Split]] = field(default_factory=dict)


def read_frozen(path: Path) -> Frozen:
    """Read a file of `write_frozen`.

    Raises:
        ConfigError: there is no such file.
        DataError: it is none of these, or cut short; names the line.
    """
    samples: dict[str, Split] = {}
    groups: dict[str, frozenset[Split]] = {}
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            head = json.loads(lines.readline(1 << 10))
            if head[_FORMAT] != _VERSION:
                raise ValueError(f"it has format {head[_FORMAT]!r}, expected {_VERSION}")
            for number, line in enumerate(lines, 1):  # noqa: B007
                row = json.loads(line)
                sample, group, split = str(row["sample"]), str(row["group"]), row["split"]
                if split not in _PLACES or sample in samples:
                    raise ValueError("no such split" if sample not in samples else f"{sample} is there twice")
                samples[sample] = Split(split)
                groups[group] = groups.get(group, frozenset()) | {Split(split)}
        if head["samples"] != len(samples):
            raise ValueError(f"{len(samples)} samples, expected {head['samples']}: it was cut short")
    except OSError as error:
        raise ConfigError(f"cannot read the frozen split {path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number + 1}, is no frozen split: {error!r}") from None
    return Frozen(samples, groups)


def write_frozen(path: Path, samples: Iterable[Sample], *, is_basis: bool = False) -> Frozen:
    """Write down where every sample is; an earlier file is replaced only when it is kept to.

    Args:
        path: of the file.
        samples: of a finished split, in any order.
        is_basis: the split was made with this very file, so whoever moved had to.

    Returns:
        What the file now says.

    Raises:
        DataError: a sample has no split; or a file that is there is something else, or places a sample
            elsewhere.
    """
    placed = {sample.id: (group_digest(sample.group), sample.split) for sample in samples}
    homeless = [name for name, (_, split) in placed.items() if split is Split.UNASSIGNED]
    if homeless:
        raise DataError(f"{len(homeless)} samples have no split, first {min(homeless)}; run split first")
    if path.exists() and not is_basis:
        earlier = read_frozen(path).samples
        elsewhere = [name for name, (_, split) in placed.items() if earlier.get(name, split) is not split]
        if elsewhere:
            raise DataError(
                f"{path} places {len(elsewhere)} samples elsewhere, first {min(elsewhere)}; name it as "
                "split.frozen and split again, or freeze to another file"
            )
    groups: dict[str, frozenset[Split]] = {}
    for group, split in placed.values():
        groups[group] = groups.get(group, frozenset()) | {split}
    head = {_FORMAT: _VERSION, "samples": len(placed), "groups": len(groups)}
    rows = [
        {"sample": name, "group": group, "split": split.value}
        for name, (group, split) in sorted(placed.items())
    ]
    write_text(path, "".join(canonical_json(row) + "\n" for row in (head, *rows)))
    return Frozen({name: split for name, (_, split) in placed.items()}, groups)


def frozen_digest(path: Path | None) -> str:
    """Digest of the file, "" for None: another content is another split.

    Raises:
        ConfigError: there is no such file.
    """
    if path is None:
        return ""
    try:
        return sha256_file(path)
    except OSError as error:
        raise ConfigError(f"cannot read the frozen split {path}: {error.strerror}") from None
