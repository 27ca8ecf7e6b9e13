"""All dataset formats by name."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_tools.core.errors import UnknownName
from dataset_tools.formats.celebamask import read_celebamask, write_celebamask
from dataset_tools.formats.coco import read_coco, write_coco
from dataset_tools.formats.huggingface import read_huggingface, write_huggingface
from dataset_tools.formats.job import Exporter
from dataset_tools.formats.label_studio import read_label_studio, write_label_studio
from dataset_tools.formats.labelme import read_labelme, write_labelme, write_labelme_polygons
from dataset_tools.formats.mfsd import write_mfsd
from dataset_tools.formats.mfsd_reading import read_mfsd
from dataset_tools.formats.panoptic import read_panoptic, write_panoptic
from dataset_tools.formats.reading import Reader
from dataset_tools.formats.voc import read_voc, write_voc
from dataset_tools.formats.webdataset import read_webdataset, write_webdataset
from dataset_tools.formats.yolo import read_yolo, write_yolo


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        title: for people.
        write: writes the samples of a job into a folder.
        read: reads such a folder, or one that other tools wrote.
        folder: of a dataset in which the format lies. Parquet lies at the top, so that the dataset folder
            itself opens with `load_dataset`.
        loses: what this suite does not get back, one sentence for people; "" when every mask is exact.
        others_lose: what other programs make of it that is wrong, one sentence; "" when nothing is known.
    """

    title: str
    write: Exporter
    read: Reader
    folder: str
    loses: str = ""
    others_lose: str = ""


FORMATS: dict[str, Format] = {
    "coco": Format("COCO instance segmentation", write_coco, read_coco, "coco"),
    "panoptic": Format(
        "COCO panoptic",
        write_panoptic,
        read_panoptic,
        "panoptic",
        "Where instances overlap only the front one keeps the pixels, and one that is hidden is gone.",
    ),
    "huggingface": Format("Hugging Face Parquet", write_huggingface, read_huggingface, "."),
    "webdataset": Format("WebDataset shards", write_webdataset, read_webdataset, "webdataset"),
    "label_studio": Format("Label Studio JSON", write_label_studio, read_label_studio, "label_studio"),
    "labelme": Format("LabelMe JSON with masks", write_labelme, read_labelme, "labelme"),
    "labelme_polygons": Format(
        "LabelMe JSON with polygons",
        write_labelme_polygons,
        read_labelme,
        "labelme_polygons",
        others_lose="Programs that know no shapes named hole fill the holes.",
    ),
    "mfsd": Format(
        "MFSD folders",
        write_mfsd,
        read_mfsd,
        "mfsd",
        "Face masks only: faces, straps and occluders are not written.",
        "The crops are resampled to 250 x 250 pixels; how well each keeps its mask stands in dataset.csv.",
    ),
    "yolo": Format(
        "YOLO segmentation",
        write_yolo,
        read_yolo,
        "yolo",
        others_lose="Each part of an instance is an instance of its own; its pixels are exact.",
    ),
    "voc": Format(
        "Pascal VOC segmentation",
        write_voc,
        read_voc,
        "voc",
        "Where instances overlap only the front one keeps the pixels, and one that is hidden is gone.",
    ),
    "celebamask": Format(
        "CelebAMask-HQ folders",
        write_celebamask,
        read_celebamask,
        "celebamask",
        "All instances of one label in a picture become one.",
    ),
}


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownName: no such format; lists the nearest ones.
    """
    if name not in FORMATS:
        raise UnknownName("format", name, list(FORMATS))
    return FORMATS[name]
