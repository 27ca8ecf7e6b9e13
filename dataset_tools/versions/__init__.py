"""Versions of a dataset: what differs between two, which number follows, how two become one."""

from dataset_tools.versions.change import (
    Change,
    DatasetDiff,
    FactChange,
    Moved,
    Relabelled,
    next_version,
)
from dataset_tools.versions.diff import diff_versions
from dataset_tools.versions.opened import open_version, write_index
from dataset_tools.versions.version import Version

__all__ = [
    "Change",
    "DatasetDiff",
    "FactChange",
    "Moved",
    "Relabelled",
    "Version",
    "diff_versions",
    "next_version",
    "open_version",
    "write_index",
]
