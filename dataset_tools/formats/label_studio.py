"""Label Studio: `<split>.json`, a list of tasks as it imports and exports them, and `images/<id>.jpg|png`.

Ground truth is an annotation, a model's proposals are a prediction. Every instance is a brush region, bit for
bit also with holes; choices of the region hold mask type and wearing state, face boxes are rectangles.
`labelling_config.xml` is the labelling configuration that the regions belong to. The tasks show their
pictures on a server that serves local files with this folder as its document root.

What Label Studio has no place for stands in the task's `data`, which it keeps: the origin of the picture, and
by region id the origin of each instance with a digest of its mask, so that a region somebody repainted does
not pass for the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from annotation.label_studio.brush import decode_brush
from annotation.label_studio.codec import encode_results
from annotation.label_studio.labelling import FACE_BOX, labelling_config
from dataset_tools.core.errors import FetchFault, ItemFault
from dataset_tools.core.files import digest_json
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import MASK_TYPE, MASK_TYPES, WEARING_STATE, WEARING_STATES, Label
from dataset_tools.core.local_files import LocalEntry, walk
from dataset_tools.core.masks import RleMask, mask_to_rle
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance, Sample, Split, sorted_pairs
from dataset_tools.core.segmentation import polygons_to_mask
from dataset_tools.formats.entries import (
    MAX_INSTANCES,
    fact_text,
    keep_json,
    parse_kept,
    picture_facts,
    read_attributes,
    read_confidence,
    read_face,
    read_facts,
    read_label,
    read_origin,
    split_of,
)
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, place_picture
from dataset_tools.formats.json_lists import JsonListWriter, read_json_list
from dataset_tools.formats.places import find_picture
from dataset_tools.formats.reading import FileContent, FoundPicture, Problem, ReadOptions

_NOTES = "instances"  # key in a task's data

_CHOICES = {MASK_TYPE: MASK_TYPES, WEARING_STATE: WEARING_STATES}
_PREFIX = "instance-"  # of the region ids that `annotation.label_studio.codec` gives
_MASK_KINDS = ("brush", "polygon")
_BOX_KINDS = ("rectangle", "ellipse", "keypoint", "vector")

_LOCAL_FILES = "/data/local-files/"
_UPLOADS = "/data/upload/"
_PICTURE_NAMES = ("image", "img", "picture", "photo", "url")


def write_label_studio(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write the tasks of every split that has samples, and the labelling configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labelling_config.xml").write_text(labelling_config() + "\n", encoding="utf-8")
    for split in SPLITS:
        target = folder / f"{split.value}.json"
        with JsonListWriter(target) as tasks:
            for sample in job.samples(split):
                place_picture(job.images, sample.image, folder / "images" / file_name(sample))
                tasks.add(_task(sample))
                progress.advance()
        if not tasks.count:
            target.unlink()


def _task(sample: Sample) -> dict[str, Any]:
    data = {
        "image": f"{_LOCAL_FILES}?d={quote(f'images/{file_name(sample)}')}",
        **picture_facts(sample),
        _NOTES: _region_notes(sample.instances),
    }
    if not sample.is_labelled:
        predictions = [_prediction(sample.instances, sample.faces, sample.image.size_hw)]
        has_any = bool(sample.instances or sample.faces)
        return {"data": data, "annotations": [], "predictions": predictions if has_any else []}
    truth = [item for item in sample.instances if not item.is_proposal]
    proposals = [item for item in sample.instances if item.is_proposal]
    annotation = {
        "result": encode_results(truth, sample.faces, sample.image.size_hw),
        "was_cancelled": False,
        "ground_truth": False,
    }
    predictions = [_prediction(proposals, (), sample.image.size_hw)] if proposals else []
    return {"data": data, "annotations": [annotation], "predictions": predictions}


def _prediction(
    items: Iterable[Instance], faces: tuple[Face, ...], size_hw: tuple[int, int]
) -> dict[str, Any]:
    items = list(items)
    models = sorted({item.drawn_by.removeprefix("model:") for item in items if item.is_proposal})
    scores = [item.confidence for item in items if item.confidence is not None]
    return {
        "result": encode_results(items, faces, size_hw),
        "model_version": ", ".join(models),
        "score": min(scores, default=None),
    }


def _region_notes(items: Iterable[Instance]) -> dict[str, dict[str, Any]]:
    """By region id, what Label Studio has no place for."""
    return {
        _PREFIX + quote(item.id, safe=""): {
            "drawn_by": item.drawn_by,
            "confidence": item.confidence,
            "face": item.face,
            "attributes": dict(item.attributes),
            "mask": _digest(item.mask),
        }
        for item in items
    }


def _digest(mask: RleMask) -> str:
    return digest_json([mask.size_hw, mask.counts])[:16]


def read_label_studio(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Tasks of all JSON files below a folder, or of one file, in their order.

    Pictures are looked for inside the folder only; nothing is fetched. Of several annotations the one marked
    as ground truth counts; a task without annotations has its first prediction as proposals. The split is
    what the task states, else the name of the file.
    """
    root = folder.parent if folder.is_file() else folder
    if folder.is_file():
        files = [LocalEntry(folder.name, folder)]
    else:
        files = [entry for entry in walk(folder) if entry.name.lower().endswith(".json")]
    if not files:
        yield Problem(folder.name, Fault(Reason.SCHEMA, "no .json file of tasks in it"), is_fatal=True)
    keys: set[str] = set()
    for entry in files:
        if entry.fault is not None:
            yield Problem(entry.name, entry.fault)
            continue
        count = 0
        try:
            for number, task in enumerate(read_json_list(entry.path)):
                count = number + 1
                yield from _found(root, entry, number, task, keys, options)
        except ItemFault as fault:
            where = f"{entry.name}: task {count}" if count else entry.name
            yield Problem(where, Fault(fault.reason, str(fault)))


def _found(
    root: Path, entry: LocalEntry, number: int, task: Any, keys: set[str], options: ReadOptions
) -> Iterator[FoundPicture | Problem]:
    where = f"{entry.name}: task {number}"
    try:
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict):
            raise ItemFault(Reason.SCHEMA, "a task without data")
        path = _picture(root, data, entry.path.parent)
        key = path.relative_to(root.resolve()).as_posix()
        if key in keys:
            raise ItemFault(Reason.DUPLICATE_ID, f"another task has the picture {key}")
        stated = split_of(data.get("split"))
        split = split_of(entry.path.stem) if stated is Split.UNASSIGNED else stated
        labels = _labels(task, data, split, options)
    except ItemFault as fault:
        yield Problem(where, Fault(fault.reason, str(fault)))
        return
    keys.add(key)
    yield FoundPicture(key, FileContent(path), labels, path, read_facts(data, options))


def _picture(root: Path, data: Mapping[str, Any], beside: Path) -> Path:
    """Where the picture of a task lies.

    Raises:
        ItemFault: the task names none, a web address, or one that is not inside the dataset.
    """
    name = next((data[key] for key in _PICTURE_NAMES if isinstance(data.get(key), str)), "")
    if not name:
        raise ItemFault(Reason.SCHEMA, f"its data names no picture as one of {', '.join(_PICTURE_NAMES)}")
    try:
        parts = urlsplit(name)
    except ValueError as error:
        raise ItemFault(Reason.SCHEMA, f"picture {fact_text(name)[:200]!r}: {error}") from error
    if "://" in name or parts.scheme == "data":
        detail = f"{fact_text(name)[:200]!r} is no file; nothing is fetched: put the picture into the folder"
        raise FetchFault(Reason.MISSING_IMAGE, detail)
    if parts.path.startswith(_LOCAL_FILES):
        name = next(iter(parse_qs(parts.query).get("d", [])), "")
    elif parts.path.startswith(_UPLOADS):
        name = unquote(parts.path.rpartition("/")[2])
    if not name:
        raise FetchFault(Reason.MISSING_IMAGE, "it names no file")
    return find_picture(root, name, ("", "images"), beside)


def _labels(
    task: Mapping[str, Any], data: Mapping[str, Any], split: Split, options: ReadOptions
) -> LabelStudioLabels | None:
    """The annotation that counts, else the first prediction, else None."""
    made = [entry for entry in _entries(task, "annotations", "completions") if not entry.get("was_cancelled")]
    if len(made) > 1:
        marked = [entry for entry in made if entry.get("ground_truth") is True]
        if len(marked) != 1:
            detail = f"{len(made)} annotations, {len(marked)} of them marked as ground truth; mark one"
            raise ItemFault(Reason.SCHEMA, detail)
        made = marked
    notes = keep_json(data.get(_NOTES) or {})
    if made:
        results = keep_json(made[0].get("result"))
        return LabelStudioLabels(results, notes, options, split)
    for prediction in _entries(task, "predictions")[:1]:
        model = f"model:{fact_text(prediction.get('model_version')) or 'unknown'}"
        results = keep_json(prediction.get("result"))
        return LabelStudioLabels(results, notes, options, split, model)
    return None


def _entries(task: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    """Entries of the first of these lists that a task has.

    A server exports predictions as bare numbers: what they showed is not in the file.
    """
    found: Any = next((task[name] for name in names if task.get(name)), [])
    if not isinstance(found, list) or not all(isinstance(entry, dict | int) for entry in found):
        raise ItemFault(Reason.SCHEMA, f"{names[0]} are no list of objects")
    return [entry for entry in found if isinstance(entry, dict)]


@dataclass(frozen=True, slots=True)
class LabelStudioLabels:
    """The results of one annotation or prediction, decoded only once the size of the picture is known.

    Attributes:
        results: JSON text of the list; not trusted.
        notes: JSON text of what `_region_notes` gave; not trusted.
        options: what the task does not say.
        split: of the picture.
        model: origin of a prediction's regions, "" for an annotation.
    """

    results: str
    notes: str
    options: ReadOptions
    split: Split
    model: str = ""

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Instances of the good regions; bad ones as faults named "result[<index>] <region id>".

        Raises:
            ItemFault: `schema`, when it is no list of at most 10,000 results, or the notes are no object.
        """
        results, notes = parse_kept(self.results), parse_kept(self.notes)
        if not isinstance(results, list) or len(results) > MAX_INSTANCES:
            raise ItemFault(Reason.SCHEMA, f"an annotation has a list of at most {MAX_INSTANCES} results")
        if not isinstance(notes, dict):
            raise ItemFault(Reason.SCHEMA, f"the data's {_NOTES!r} are no object")
        said = _Said()
        good: dict[str, Instance] = {}
        faults: list[tuple[str, Fault]] = []
        for result in results:
            if isinstance(result, dict):
                said.add(result)
        for index, result in enumerate(results):
            region = fact_text(result.get("id")) if isinstance(result, dict) else ""
            try:
                item = self._instance(result, said, notes, f"region-{index}", size_hw)
                if item is not None and item.id in good:
                    raise ItemFault(Reason.DUPLICATE_ID, "another region has this id")
            except ItemFault as fault:
                where = f"result[{index}] {region[:80]}".strip()
                faults.append((where, Fault(fault.reason, str(fault))))
                continue
            if item is not None:
                good[item.id] = item
        return Labels(tuple(good.values()), tuple(faults), is_complete=not self.model)

    def _instance(
        self, result: Any, said: _Said, notes: Mapping[str, Any], name: str, size_hw: tuple[int, int]
    ) -> Instance | None:
        if not isinstance(result, dict):
            raise ItemFault(Reason.SCHEMA, f"a result is no object but {type(result).__name__}")
        kind = str(result.get("type", "")).lower().removesuffix("labels")
        if kind not in _MASK_KINDS + _BOX_KINDS:
            return None
        region = fact_text(result.get("id"))
        label = self._label(result, said, region)
        if label is None:
            return None
        if kind in _BOX_KINDS:
            raise ItemFault(Reason.NO_AREA, f"a {kind} of class {label.value}: it is no mask")
        mask = _region_mask(result, kind, size_hw)
        note = notes.get(region) or {}
        if not isinstance(note, dict):
            raise ItemFault(Reason.SCHEMA, "its notes are no object")
        is_as_written = note.get("mask") == _digest(mask)
        if mask.is_empty and not is_as_written:
            return None  # erased to nothing by whoever reviewed it
        origin = note.get("drawn_by") if is_as_written else None
        confidence = note.get("confidence") if is_as_written else result.get("score") if self.model else None
        return Instance(
            id=unquote(region.removeprefix(_PREFIX)) if region.startswith(_PREFIX) else region or name,
            label=label,
            mask=mask,
            drawn_by=read_origin(origin, self.options) if origin else self.model or self.options.drawn_by,
            confidence=read_confidence(confidence),
            face=read_face(note.get("face")),
            attributes=said.attributes(region, dict(read_attributes(note.get("attributes")))),
        )

    def _label(self, result: Mapping[str, Any], said: _Said, region: str) -> Label | None:
        """The label of a region; None for a face box and for a class that is left out."""
        names = _texts(result, "labels") or said.labels.get(region, [])
        if names == [FACE_BOX]:
            return None
        if len(names) != 1:
            raise ItemFault(Reason.SCHEMA, f"a region needs one class, found {str(names)[:80]}")
        return read_label(names[0], self.options)


@dataclass(slots=True)
class _Said:
    """What results without a shape say of the regions whose id they have."""

    labels: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, result: Mapping[str, Any]) -> None:
        """Note a result, if it is of that kind."""
        kind, region = result.get("type"), fact_text(result.get("id"))
        if kind == "labels":
            self.labels[region] = _texts(result, "labels")
        elif kind == "choices" and result.get("from_name") in _CHOICES:
            self.choices.setdefault(region, {})[result["from_name"]] = _texts(result, "choices")

    def attributes(self, region: str, kept: dict[str, str]) -> tuple[tuple[str, str], ...]:
        """Attributes of a region: its choices now, and what there are no choices for.

        Raises:
            ItemFault: `schema` for several answers, `unknown_label` for one outside the vocabulary.
        """
        chosen = self.choices.get(region, {})
        for name, values in _CHOICES.items():
            if kept.get(name) in values:
                del kept[name]
            for value in chosen.get(name, []):
                if value not in values:
                    raise ItemFault(Reason.UNKNOWN_LABEL, f"{name} {value[:80]!r}")
                if kept.setdefault(name, value) != value:
                    raise ItemFault(Reason.SCHEMA, f"{name} is both {kept[name]!r} and {value!r}")
        return sorted_pairs(kept)


def _texts(result: Mapping[str, Any], ending: str) -> list[str]:
    """The texts under the key of a result's value that ends so: "brushlabels", "labels", "choices"."""
    value = result.get("value")
    if not isinstance(value, dict):
        return []
    found: Any = next((value[key] for key in value if key.endswith(ending)), [])
    return [str(text) for text in found] if isinstance(found, list) else []


def _region_mask(result: Mapping[str, Any], kind: str, size_hw: tuple[int, int]) -> RleMask:
    said = (result.get("original_height"), result.get("original_width"))
    if said != size_hw or result.get("image_rotation") not in (0, None):
        raise ItemFault(
            Reason.SIZE_MISMATCH,
            f"region drawn on {str(said)[:60]!r}, turned {str(result.get('image_rotation'))[:20]!r}; "
            f"picture is {size_hw}",
        )
    value = result.get("value")
    if not isinstance(value, dict):
        raise ItemFault(Reason.SCHEMA, "a region's value is no object")
    if kind == "polygon":
        return mask_to_rle(polygons_to_mask([_points(value.get("points"), size_hw)], size_hw))
    code = value.get("rle")
    if value.get("format") != "rle" or not isinstance(code, list):
        raise ItemFault(Reason.SCHEMA, f"brush region of format {str(value.get('format'))[:80]!r}")
    return mask_to_rle(decode_brush(code, size_hw))


def _points(points: Any, size_hw: tuple[int, int]) -> Sequence[float]:
    """Percent of the picture's sides as pixels, one list of x and y in turn."""
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 for point in points
    ):
        raise ItemFault(Reason.SCHEMA, "a polygon's points are no list of pairs")
    flat = [value for point in points for value in point]
    if not all(type(value) in (int, float) for value in flat):
        raise ItemFault(Reason.SCHEMA, "a polygon's points are no numbers")
    sides = (size_hw[1], size_hw[0])
    return [value / 100 * sides[index % 2] for index, value in enumerate(flat)]
