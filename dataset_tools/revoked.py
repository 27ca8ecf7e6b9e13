"""Withdrawn dataset versions and pictures: an import refuses them.

A list of withdrawals is a JSON object with one key, `revocations`: a list of objects with `id` of a dataset,
`versions` or `pictures` (sample ids; neither means all of it), and `date` and `reason` for people. An
exported dataset says its id, its version and where its list is published in `dataset.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.formats.reading import read_json

_FACTS = "dataset.json"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Edition:
    """Which dataset it is, as its `dataset.json` says.

    Attributes:
        id: of the dataset in all of its versions.
        version: of this one.
        revocations: address of the published list of withdrawals, "" when none is stated.
    """

    id: str
    version: str
    revocations: str = ""


def edition_of(path: Path) -> Edition | None:
    """What a dataset folder, one of its formats' folders, or a file in one says it is; None when nothing.

    Raises:
        DataError: there is a `dataset.json`, but it cannot be read.
    """
    for folder in (path, *path.absolute().parents[:3]):
        if (folder / _FACTS).is_file():
            facts = _read(folder / _FACTS)
            said = [facts.get(name, "") for name in ("id", "version", "revocations")]
            if all(isinstance(text, str) for text in said) and said[0]:
                return Edition(*said)
            return None
    return None


def withdrawn_pictures(path: Path, revocations: Path) -> dict[str, str]:
    """Sample id -> reason, of the pictures withdrawn from the dataset at `path`.

    Args:
        path: of the dataset.
        revocations: file with the list of withdrawals.

    Raises:
        ConfigError: the dataset does not say which one it is.
        DataError: its version was withdrawn, or the list is none.
    """
    edition = edition_of(path)
    if edition is None:
        raise ConfigError(f"{path} has no {_FACTS} with an id, so no list of withdrawals can be asked for it")
    entries = _read(revocations).get("revocations")
    if not isinstance(entries, list) or not all(map(_is_withdrawal, entries)):
        raise DataError(f"{revocations} is no list of withdrawals: objects with id, and versions or pictures")
    pictures: dict[str, str] = {}
    for entry in entries:
        if entry["id"] != edition.id:
            continue
        said = f"{entry.get('date', '')} {entry.get('reason', '')}".strip() or "no reason is stated"
        if "versions" not in entry and "pictures" not in entry:
            raise DataError(f"the dataset {edition.id} was withdrawn: {said}")
        if edition.version in entry.get("versions", ()):
            raise DataError(f"version {edition.version} of {edition.id} was withdrawn: {said}")
        pictures |= dict.fromkeys(entry.get("pictures", ()), said)
    return pictures


def _is_withdrawal(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return False
    lists = [entry[name] for name in ("versions", "pictures") if name in entry]
    return all(isinstance(found, list) and all(isinstance(text, str) for text in found) for found in lists)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json(path, _MAX_BYTES)
    except ItemFault as fault:
        raise DataError(f"{path}: {fault}") from fault
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object")
    return content
