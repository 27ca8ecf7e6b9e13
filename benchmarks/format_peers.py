"""What another program reads of an exported dataset; runs in that program's own environment, without ours.

    python format_peers.py <format>:<reader> <dataset folder> <result.json>

The result holds the reader's version and every object it found: picture, label, and the mask as run lengths
(columns first, background first).
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Found = tuple[str, str, np.ndarray]  # stem of the picture's file name, label, (H, W) mask
Reader = Callable[[Path], Iterator[Found]]


def coco_pycocotools(folder: Path) -> Iterator[Found]:
    from pycocotools.coco import COCO

    for path in sorted(folder.glob("annotations/instances_*.json")):
        coco = COCO(str(path))
        for entry in coco.dataset["annotations"]:
            stem = Path(coco.imgs[entry["image_id"]]["file_name"]).stem
            yield stem, coco.cats[entry["category_id"]]["name"], coco.annToMask(entry)


def coco_supervision(folder: Path) -> Iterator[Found]:
    import supervision as sv

    for path in sorted(folder.glob("annotations/instances_*.json")):
        yield from _from_supervision(sv.DetectionDataset.from_coco(str(folder / "images"), str(path), True))


def yolo_supervision(folder: Path) -> Iterator[Found]:
    import supervision as sv

    for labels in sorted((folder / "labels").iterdir()):
        images = folder / "images" / labels.name
        found = sv.DetectionDataset.from_yolo(str(images), str(labels), str(folder / "data.yaml"), True)
        yield from _from_supervision(found)


def _from_supervision(dataset: object) -> Iterator[Found]:
    for path, _, found in dataset:
        for index in range(len(found)):
            yield Path(path).stem, dataset.classes[int(found.class_id[index])], found.mask[index]


def _datumaro(kind: str) -> Reader:
    def read(folder: Path) -> Iterator[Found]:
        from datumaro.components.annotation import AnnotationType
        from datumaro.components.dataset import Dataset

        dataset = Dataset.import_from(str(folder), kind)
        names = [item.name for item in dataset.categories()[AnnotationType.label]]
        for item in dataset:
            height, width = item.media_as(__import__("datumaro").components.media.Image).size
            for found in item.annotations:
                if found.type == AnnotationType.mask:
                    yield Path(item.id).name, names[found.label], np.asarray(found.image)
                elif found.type == AnnotationType.polygon:
                    from pycocotools import mask as coco_mask

                    packed = coco_mask.merge(coco_mask.frPyObjects([found.points], height, width))
                    yield Path(item.id).name, names[found.label], coco_mask.decode(packed)

    return read


def _fiftyone(kind: str) -> Reader:
    def read(folder: Path) -> Iterator[Found]:
        import fiftyone as fo
        from fiftyone.utils.coco import COCODetectionDatasetImporter

        for path in sorted(folder.glob("annotations/instances_*.json")):
            importer = COCODetectionDatasetImporter(
                data_path=str(folder / "images"), labels_path=str(path), label_types=["segmentations"]
            )
            with importer:
                for picture, metadata, labels in importer:
                    for item in (labels or fo.Detections()).detections:
                        size = metadata.height, metadata.width
                        yield Path(picture).stem, item.label, _placed(item, size)

    return read


def _placed(item: object, size_hw: tuple[int, int]) -> np.ndarray:
    """FiftyOne's mask of a box, at its place on the picture."""
    full = np.zeros(size_hw, dtype=bool)
    left, top = round(item.bounding_box[0] * size_hw[1]), round(item.bounding_box[1] * size_hw[0])
    part = item.mask[: size_hw[0] - top, : size_hw[1] - left]
    full[top : top + part.shape[0], left : left + part.shape[1]] = part
    return full


def huggingface_datasets(folder: Path) -> Iterator[Found]:
    from datasets import load_dataset
    from pycocotools import mask as coco_mask

    for rows in load_dataset(str(folder)).values():
        names = _label_names(rows.features["instances"])
        for row in rows:
            assert row["image"].size == (row["width"], row["height"])
            for item in row["instances"]:
                label = item["label"] if names is None else names[item["label"]]
                code = {**item["segmentation"], "counts": item["segmentation"]["counts"].encode()}
                yield row.get("id") or row["sample_id"], label, coco_mask.decode(code)


def _label_names(feature: object) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    label = inner["label"] if isinstance(inner, dict) else inner.get("label")
    return getattr(label, "names", None)


def webdataset_datasets(folder: Path) -> Iterator[Found]:
    from datasets import load_dataset
    from pycocotools import mask as coco_mask

    for rows in load_dataset("webdataset", data_dir=str(folder)).values():
        for row in rows:
            for item in json.loads(row["json"]["instances"]):
                code = {**item["segmentation"], "counts": item["segmentation"]["counts"].encode()}
                yield row["__key__"], item["label"], coco_mask.decode(code)


def webdataset_webdataset(folder: Path) -> Iterator[Found]:
    import io

    import webdataset
    from PIL import Image

    for path in sorted(folder.glob("*.tar")):
        for row in webdataset.WebDataset(str(path), shardshuffle=False):
            index = np.asarray(Image.open(io.BytesIO(row["mask.png"])))
            names = {1: "face_mask", 2: "face", 3: "occluder", 4: "strap"}
            for number in np.unique(index[index > 0]):
                yield row["__key__"], names[int(number)], index == number


def labelme_labelme(folder: Path) -> Iterator[Found]:
    from labelme import LabelFile
    from labelme.utils import img_data_to_arr, shapes_to_label

    for path in sorted(folder.glob("*/*.json")):
        opened = LabelFile(str(path))
        shape = img_data_to_arr(opened.imageData).shape
        groups: dict[int, list[dict]] = {}
        for item in opened.shapes:
            if item["shape_type"] in ("mask", "polygon"):
                groups.setdefault(item["group_id"], []).append(item)
        for items in groups.values():
            label = items[0]["label"]
            numbers, _ = shapes_to_label(shape, items, {"_background_": 0, "hole": 0, label: 1})
            yield path.stem, label, numbers > 0


def label_studio_sdk(folder: Path) -> Iterator[Found]:
    from label_studio_sdk.converter.brush import decode_rle

    for path in sorted(folder.glob("*.json")):
        for task in json.loads(path.read_text()):
            stem = Path(task["data"]["image"]).stem
            for annotation in task["annotations"]:
                for item in annotation["result"]:
                    value = item["value"]
                    if value.get("format") == "rle":
                        size = item["original_height"], item["original_width"], 4
                        alpha = np.reshape(decode_rle(value["rle"]), size)[:, :, 3]
                        yield stem, value["brushlabels"][0], alpha > 127


READERS: dict[str, tuple[str, Reader]] = {
    "coco:pycocotools": ("pycocotools", coco_pycocotools),
    "coco:supervision": ("supervision", coco_supervision),
    "coco:datumaro": ("datumaro", _datumaro("coco_instances")),
    "coco:fiftyone": ("fiftyone", _fiftyone("coco")),
    "panoptic:datumaro": ("datumaro", _datumaro("coco_panoptic")),
    "yolo:supervision": ("supervision", yolo_supervision),
    "yolo:datumaro": ("datumaro", _datumaro("yolo")),
    "voc:datumaro": ("datumaro", _datumaro("voc_segmentation")),
    "huggingface:datasets": ("datasets", huggingface_datasets),
    "webdataset:datasets": ("datasets", webdataset_datasets),
    "webdataset:webdataset": ("webdataset", webdataset_webdataset),
    "labelme:labelme": ("labelme", labelme_labelme),
    "labelme_polygons:labelme": ("labelme", labelme_labelme),
    "label_studio:label-studio-sdk": ("label-studio-sdk", label_studio_sdk),
}


def counts_of(mask: np.ndarray) -> list[int]:
    flat = np.pad((mask != 0).ravel(order="F"), (1, 0))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()


def main() -> None:
    name, folder, target = sys.argv[1:]
    package, read = READERS[name]
    found = [
        {"picture": stem, "label": label, "size": list(mask.shape), "counts": counts_of(np.asarray(mask))}
        for stem, label, mask in read(Path(folder))
    ]
    Path(target).write_text(json.dumps({"version": importlib.metadata.version(package), "found": found}))


if __name__ == "__main__":
    main()
