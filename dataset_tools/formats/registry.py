"""All dataset formats by name."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_tools.core.errors import UnknownName
from dataset_tools.formats.coco import write_coco
from dataset_tools.formats.huggingface import write_huggingface
from dataset_tools.formats.job import Exporter
from dataset_tools.formats.mfsd import write_mfsd


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        title: for people.
        write: writes the samples of a job into a folder.
        folder: of a dataset in which the format lies. Parquet lies at the top, so that the dataset folder
            itself opens with `load_dataset`.
    """

    title: str
    write: Exporter
    folder: str


FORMATS: dict[str, Format] = {
    "coco": Format("COCO instance segmentation", write_coco, "coco"),
    "mfsd": Format("MFSD folders", write_mfsd, "mfsd"),
    "huggingface": Format("Hugging Face Parquet", write_huggingface, "."),
}


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownName: no such format; lists the nearest ones.
    """
    if name not in FORMATS:
        raise UnknownName("format", name, list(FORMATS))
    return FORMATS[name]
