"""A lane of a LabelMe review: one folder for one person, written once and then theirs.

    <reviews>/labelme/<lane>/00001-<sample id>.json    what is shown, and then what the person made of it
                             00001-<sample id>.jpg     the picture
                             labelme.yaml              labels, choices and flags for LabelMe
                             readme.txt                how to start it

A file that is there is never written again, so opening can be cut off anywhere and repeated; files are told
apart by our own names, and no path that a file holds is ever followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from annotation.drawing import FIX, REGION_CHOICES, REJECT, Drawing
from annotation.judging import join_strokes, judge
from annotation.labelme.codec import (
    FACE_BOX,
    FLAGS,
    HOLE,
    MAX_FILE_BYTES,
    all_choice_flags,
    decode_file,
    encode_file,
    is_outdated,
)
from annotation.session import Opened, Pulled
from annotation.verdict import Role, Verdict
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.files import write_bytes, write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import LABEL_COLOURS, Label
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Pairs, Rejection, ReviewState, Sample
from dataset_tools.core.stage import reject

TOOL = "labelme"

CONFIG_FILE = "labelme.yaml"
README_FILE = "readme.txt"

# <number in order>-<sample id>.json; with a further word it is drawn on one of the views beside a picture.
_FILE_NAME = re.compile(r"\d{5,}-(?P<sample>[0-9a-z]+)(?P<view>-[a-z]+)?\.json")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_TICK = timedelta(microseconds=1)

_HOLE_RGB = (255, 23, 68)
_FACE_BOX_RGB = (255, 171, 0)

Views = Callable[[Sample], Mapping[str, bytes]]

_README = """\
Start LabelMe 6 in this folder:

    labelme --config labelme.yaml .

For each picture (D: next, A: previous):
  - All right? Tick the flag "done".
  - Too little is marked: draw a polygon with the same label and the same group id.
  - Too much is marked: draw a polygon labelled "hole" with the same group id.
  - Something is missing: draw it, with a label, and a group id only if it takes several polygons.
  - Something is wrong altogether: delete the shape, or edit its label (Ctrl+E).
  - Mask type and wearing state: tick one of each in the same window (Ctrl+E on the shape).
    Leave the description's first word as it is; what you write behind it is kept as a note.
Then tick one flag: "done", "fix" (still wrong, left to others) or "reject" (not for the dataset).
Only pictures with a flag are read. LabelMe saves by itself.
"""
_README_VIEWS = """
Beside each picture lie views of what is to be settled: the masks of the first (-a) and of the last annotator
(-b), and where they differ (-difference). Draw on the picture itself.
"""


def open_lane(
    samples: Sequence[Sample],
    images: ImageStore,
    folder: Path,
    lane: str,
    *,
    views: Views | None = None,
    progress: ProgressFactory = silent,
) -> Opened:
    """Write what a lane's folder lacks; everything that is there is left alone.

    Args:
        samples: as they are to be shown, in the order they shall be seen.
        images: picture store of the workspace.
        folder: of the lane.
        lane: its name.
        views: further pictures of a sample, by name, as PNG; they are put beside it.
        progress: display.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".tmp-*"):  # of a run that was killed; LabelMe would list it as a picture
        leftover.unlink(missing_ok=True)
    for name, text in {
        CONFIG_FILE: labelme_config(),
        README_FILE: _README + (_README_VIEWS if views else ""),
    }.items():
        if not (folder / name).exists():
            write_text(folder / name, text)
    there = _files_by_sample(folder)
    sent = outdated = 0
    rejections: list[Rejection] = []
    with progress(f"review {lane}", len(samples)) as bar:
        for number, sample in enumerate(samples, start=1):
            bar.advance()
            path = there.get(sample.id, folder / f"{number:05d}-{sample.id}.json")
            try:
                is_new = _write_sample(sample, images, path, views)
            except ItemFault as fault:
                rejections.append(reject(sample, "review", fault.reason, str(fault)))
                continue
            sent += is_new
            outdated += not is_new and _shows_another(path, sample)
    return Opened(lane, str(folder), sent, tuple(rejections), outdated)


def labelme_config() -> str:
    """LabelMe's configuration: our labels and colours, the choices of a face mask, the flags of a file."""
    colours = LABEL_COLOURS | {HOLE: _HOLE_RGB, FACE_BOX: _FACE_BOX_RGB}
    config = {
        "labels": [*(label.value for label in Label), HOLE, FACE_BOX],
        "validate_label": "exact",
        "sort_labels": False,
        "label_flags": {f"^{Label.FACE_MASK}$": all_choice_flags()},
        "flags": list(FLAGS),
        "shape_color": "manual",
        "label_colors": {str(label): list(rgb) for label, rgb in colours.items()},
        "auto_save": True,
        "with_image_data": False,
        "keep_prev": False,
    }
    return json.dumps(config, indent=2) + "\n"  # JSON is YAML


def _files_by_sample(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is not None and not match["view"]:
            found.setdefault(match["sample"], path)
    return found


def _write_sample(sample: Sample, images: ImageStore, path: Path, views: Views | None) -> bool:
    """Write what is missing of a file, its picture and its views; True when the file is new.

    The picture comes last: LabelMe lists pictures, and one without its file would be shown bare.
    """
    picture = path.with_suffix(Path(sample.image.path).suffix)
    is_new = not path.exists()
    if not is_new and picture.exists():
        return False
    data = images.read_bytes(sample.image)
    if is_new:
        for name, png in (views(sample) if views is not None else {}).items():
            write_bytes(path.with_name(f"{path.stem}-{name}.png"), png)
        write_text(path, json.dumps(encode_file(sample, picture.name), ensure_ascii=False, indent=2))
    write_bytes(picture, data)
    return is_new


def _shows_another(path: Path, sample: Sample) -> bool:
    try:
        return is_outdated(_bytes(path), sample)
    except ItemFault:
        return False  # reading the lane says what is wrong with it


def _bytes(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise ItemFault(Reason.NOT_A_FILE, "no plain file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ItemFault(Reason.TOO_MANY_BYTES, f"more than {MAX_FILE_BYTES} bytes")
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise ItemFault(Reason.PERMISSION, f"cannot be read: {error.strerror}") from None


def read_lane(
    folder: Path,
    lane: str,
    shown: Mapping[str, tuple[Sample, Role]],
    kept: Iterable[Verdict] = (),
    *,
    progress: ProgressFactory = silent,
) -> Pulled:
    """Read every finished file of a lane; nothing is changed.

    A file that says what the lane's last verdict on its sample says, or was not written since, gives that
    very verdict: copying or saving it again changes nothing. A verdict on a proposal that the manifest no
    longer has keeps its pixels and counts as corrected, with no claim about which model proposed them.

    Args:
        folder: of the lane.
        lane: its name, which is also the reviewer's.
        shown: samples as they are shown, and what verdicts on them are for, by sample id.
        kept: verdicts read before.
        progress: display.
    """
    last = {
        verdict.sample_id: verdict
        for verdict in sorted(kept, key=lambda item: item.order)
        if verdict.tool == TOOL and verdict.lane == lane
    }
    verdicts: list[Verdict] = []
    unreadable: list[Rejection] = []
    open_files = outdated = 0
    files = {key: path for key, path in _files_by_sample(folder).items() if key in shown}
    with progress(f"review {lane}", len(files)) as bar:
        for key, path in files.items():
            bar.advance()
            sample, role = shown[key]
            try:
                found = decode_file(_bytes(path), sample)
                outdated += found.is_outdated
                if found.drawing is None:
                    open_files += 1
                    continue
                basis = replace(sample, instances=()) if found.is_outdated else sample
                verdicts.append(_verdict(basis, found.drawing, lane, role, _modified_at(path), last.get(key)))
            except ItemFault as fault:
                unreadable.append(reject(sample, "review", fault.reason, f"{lane}: {path.name}: {fault}"))
    verdicts.sort(key=lambda item: (item.sample_id, item.order))
    strange = _count_strange(folder, files.values(), shown)
    return Pulled(
        lane, str(folder), tuple(verdicts), tuple(unreadable), len(files), open_files, strange, outdated
    )


def _count_strange(folder: Path, ours: Iterable[Path], shown: Mapping[str, object]) -> int:
    """JSON files that this session has not made, those drawn on a view left out."""
    known = set(ours)
    strange = 0
    for path in folder.glob("*.json"):
        match = _FILE_NAME.fullmatch(path.name)
        is_view = match is not None and match["view"] and match["sample"] in shown
        strange += not (path in known or is_view or path.name.startswith("."))
    return strange


def _modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime_ns // 1_000 / 1e6, UTC)


def _verdict(
    sample: Sample, drawing: Drawing, lane: str, role: Role, modified_at: datetime, last: Verdict | None
) -> Verdict:
    written_at = modified_at.strftime(_TIME_FORMAT)
    if last is not None and (last.updated_at == written_at or _says(last, drawing, sample)):
        return last
    if last is not None and written_at <= last.updated_at:
        # A clock that was set back, or an older file put here: it came later all the same.
        written_at = (datetime.fromisoformat(last.updated_at) + _TICK).strftime(_TIME_FORMAT)
    state, instances = judge(sample, drawing, lane)
    verdict = Verdict(
        sample_id=sample.id,
        item_key=sample.provenance.item_key,
        state=state,
        reviewer=lane,
        reviewer_email="",
        reviewed_at=written_at if last is None else last.reviewed_at,
        updated_at=written_at,
        note=drawing.note,
        instances=instances,
        boxes=drawing.boxes,
        annotation_id=0,
        project_id=0,
        lane=lane,
        role=role,
        tool=TOOL,
    )
    if last is not None and replace(verdict, updated_at=last.updated_at, role=last.role) == last:
        return last
    return verdict


def _says(verdict: Verdict, drawing: Drawing, sample: Sample) -> bool:
    """True when the drawing surely is what the verdict was made from; its proposal may have gone since."""
    if verdict.note != drawing.note or verdict.boxes != drawing.boxes:
        return False
    if drawing.verdict == REJECT or verdict.state is ReviewState.REJECTED:
        return drawing.verdict == REJECT and verdict.state is ReviewState.REJECTED
    if drawing.verdict == FIX and verdict.state is ReviewState.ACCEPTED:
        return False
    drawn = [(region.label, region.mask, region.attributes) for region in join_strokes(drawing, sample)]
    kept = [(item.label, item.mask, _choices(item)) for item in verdict.instances]
    return verdict.state is not ReviewState.NOT_SEEN and drawn == kept


def _choices(instance: Instance) -> Pairs:
    return tuple((key, value) for key, value in instance.attributes if value in REGION_CHOICES.get(key, ()))
