from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotation.drawing import FaceBox
from annotation.labelme.codec import FLAGS, HOLE, all_choice_flags
from annotation.labelme.folder import labelme_config, open_lane, read_lane
from annotation.verdict import Role, Verdict, read_verdicts, write_verdicts
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, ReviewState, Sample

MORNING = 1_767_258_000_000_000_000  # 2026-01-01T09:00:00Z


@pytest.fixture
def samples(make_sample) -> list[Sample]:
    return [make_sample(number) for number in (2, 0, 1)]


@pytest.fixture
def lane(samples, store, tmp_path) -> Path:
    folder = tmp_path / "reviews" / "labelme" / "a"
    open_lane(samples, store, folder, "a")
    return folder


def file_of(folder: Path, sample: Sample) -> Path:
    (path,) = folder.glob(f"*-{sample.id}.json")
    return path


def edit(path: Path, *, flag: str = "done", at_ns: int = MORNING, **changes: object) -> None:
    """Save a file as a person leaves it, at a set time."""
    content = json.loads(path.read_text()) | changes
    content["flags"] = dict.fromkeys(FLAGS, False) | ({flag: True} if flag else {})
    path.write_text(json.dumps(content))
    os.utime(path, ns=(at_ns, at_ns))


def pull(folder: Path, samples, kept=(), role=Role.ANNOTATOR):
    return read_lane(folder, "a", {sample.id: (sample, role) for sample in samples}, kept)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_lane_holds_files_and_pictures_in_order_and_what_labelme_needs(lane, samples, store):
    stems = [f"{number:05d}-{sample.id}" for number, sample in enumerate(samples, start=1)]
    expected = {f"{stem}{suffix}" for stem in stems for suffix in (".json", ".png")}
    assert {path.name for path in lane.iterdir()} == expected | {"labelme.yaml", "readme.txt"}
    assert (lane / f"{stems[0]}.png").read_bytes() == store.read_bytes(samples[0].image)


def test_opening_again_changes_nothing_whatever_the_order(lane, samples, store):
    edit(file_of(lane, samples[0]), shapes=[])
    (lane / "labelme.yaml").write_text("mine")
    before = snapshot(lane)
    again = open_lane(samples[::-1], store, lane, "a")
    assert (again.sent, again.outdated, again.rejections) == (0, 0, ())
    assert snapshot(lane) == before


@pytest.mark.parametrize("writes", range(10))
def test_an_opening_cut_off_at_any_write_is_completed_and_never_shows_a_bare_picture(
    writes, samples, store, tmp_path, monkeypatch
):
    folder, whole = tmp_path / "cut", tmp_path / "whole"
    done = 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal done
        if done == writes:
            raise KeyboardInterrupt
        done += 1
        return replace_path(self, target)

    def kept(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt  # a killed process cleans nothing up

    replace_path, unlink_path = Path.replace, Path.unlink
    monkeypatch.setattr(Path, "replace", dying)
    monkeypatch.setattr(Path, "unlink", kept)
    try:
        open_lane(samples, store, folder, "a")
        finished = True
    except KeyboardInterrupt:
        finished = False
    monkeypatch.setattr(Path, "replace", replace_path)
    monkeypatch.setattr(Path, "unlink", unlink_path)
    assert finished == (writes >= 8)  # configuration, readme, three files and three pictures
    for picture in folder.glob("0*.png"):
        assert picture.with_suffix(".json").exists()
    assert pull(folder, samples).strange_tasks == 0  # the left-over temporary file is no stranger
    open_lane(samples, store, folder, "a")
    open_lane(samples, store, whole, "a")
    assert {name: data for name, (data, _) in snapshot(folder).items()} == {
        name: data for name, (data, _) in snapshot(whole).items()
    }


def test_a_sample_whose_picture_is_gone_is_left_out_and_reported(samples, store, tmp_path):
    store.path(samples[1].image).unlink()
    opened = open_lane(samples, store, tmp_path / "a", "a")
    assert (opened.sent, [item.reason for item in opened.rejections]) == (2, [Reason.MISSING_IMAGE])
    assert not list((tmp_path / "a").glob(f"*{samples[1].id}*"))


def test_only_files_with_a_flag_are_read(lane, samples):
    edit(file_of(lane, samples[0]), flag="")
    edit(file_of(lane, samples[1]))
    pulled = pull(lane, samples)
    assert (pulled.tasks, pulled.open_tasks, pulled.unreadable) == (3, 2, ())
    (verdict,) = pulled.verdicts
    assert verdict == Verdict(
        sample_id=samples[1].id,
        item_key="astronaut-0.png",
        state=ReviewState.ACCEPTED,
        reviewer="a",
        reviewer_email="",
        reviewed_at="2026-01-01T09:00:00.000000Z",
        updated_at="2026-01-01T09:00:00.000000Z",
        note="",
        instances=tuple(
            replace(item, drawn_by="human:a", confidence=None, attributes=item.attributes)
            for item in verdict.instances
        ),
        boxes=(FaceBox(0, samples[1].faces[0].box_xyxy),),
        annotation_id=0,
        project_id=0,
        lane="a",
        tool="labelme",
    )
    assert [item.mask for item in verdict.instances] == [item.mask for item in samples[1].instances]


def test_a_hole_and_a_relabelled_shape_correct_a_sample(lane, samples):
    path = file_of(lane, samples[0])
    mask, face, box = json.loads(path.read_text())["shapes"]
    hole = {"label": HOLE, "points": [[90, 130], [99, 139]], "shape_type": "rectangle", "group_id": 0}
    edit(path, shapes=[mask, face | {"label": "occluder"}, box, hole])
    (verdict,) = pull(lane, samples).verdicts
    assert verdict.state is ReviewState.CORRECTED
    expected = rle_to_mask(samples[0].instances[0].mask)
    expected[130:140, 90:100] = False
    assert verdict.instances[0].mask == mask_to_rle(expected)
    assert verdict.instances[1].label is Label.OCCLUDER
    assert verdict.instances[1].mask == samples[0].instances[1].mask


@pytest.mark.parametrize(("flag", "state"), [("reject", ReviewState.REJECTED), ("fix", ReviewState.NOT_SEEN)])
def test_the_other_flags_are_verdicts_too(lane, samples, flag, state):
    edit(file_of(lane, samples[0]), flag=flag)
    (verdict,) = pull(lane, samples, role=Role.GOLD).verdicts
    assert (verdict.state, verdict.instances, verdict.role) == (state, (), Role.GOLD)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_touched_and_a_copied_file_give_the_very_same_verdict(lane, samples, flag, tmp_path):
    path = file_of(lane, samples[0])
    edit(path, flag=flag)
    first = pull(lane, samples).verdicts
    write_verdicts(tmp_path / "kept", first)
    kept = [verdict for own in read_verdicts(tmp_path / "kept").values() for verdict in own]
    assert pull(lane, samples, kept).verdicts == first
    os.utime(path, ns=(MORNING + 10**12, MORNING + 10**12))
    assert pull(lane, samples, kept).verdicts == first
    copied = tmp_path / "copied"
    shutil.copytree(lane, copied, copy_function=shutil.copyfile)
    assert pull(copied, samples, kept).verdicts == first


def test_a_change_of_mind_and_back_are_each_news_and_the_last_one_counts(lane, samples):
    path = file_of(lane, samples[0])
    kept: list[Verdict] = []
    for minute, flag in enumerate(("done", "reject", "done", "fix", "done")):
        edit(path, flag=flag, at_ns=MORNING + minute * 60 * 10**9)
        kept += pull(lane, samples, kept).verdicts
    states = [verdict.state.value for verdict in sorted(kept, key=lambda item: item.order)]
    assert states == ["accepted", "rejected", "accepted", "not_seen", "accepted"]
    assert {verdict.reviewed_at for verdict in kept} == {"2026-01-01T09:00:00.000000Z"}


def test_a_change_under_a_clock_that_was_set_back_still_comes_later(lane, samples):
    path = file_of(lane, samples[0])
    edit(path)
    (first,) = pull(lane, samples).verdicts
    edit(path, flag="reject", at_ns=MORNING - 10**15)
    (second,) = pull(lane, samples, [first]).verdicts
    assert second.order > first.order
    assert second.updated_at == "2026-01-01T09:00:00.000001Z"
    assert pull(lane, samples, [first, second]).verdicts == (second,)


def test_verdicts_of_other_lanes_and_tools_are_not_taken_for_this_ones(lane, samples):
    edit(file_of(lane, samples[0]))
    (verdict,) = pull(lane, samples).verdicts
    strangers = [replace(verdict, lane="b", note="b"), replace(verdict, tool="label_studio", note="ls")]
    assert pull(lane, samples, strangers).verdicts == (verdict,)


def test_a_file_that_shows_an_older_proposal_counts_as_corrected_and_is_judged_once(lane, samples, store):
    edit(file_of(lane, samples[0]))
    before = pull(lane, samples)
    newer = replace(samples[0], instances=samples[0].instances[:1])
    assert open_lane([newer, *samples[1:]], store, lane, "a").outdated == 1
    pulled = pull(lane, [newer, *samples[1:]])
    assert pulled.outdated_tasks == 1
    (verdict,) = pulled.verdicts
    assert verdict.state is ReviewState.CORRECTED
    assert [item.mask for item in verdict.instances] == [item.mask for item in samples[0].instances]
    assert all(item.drawn_by == "human:a" and not item.attribute("proposed_by") for item in verdict.instances)
    # What was judged while its proposal was there stays, even when the file was copied since.
    os.utime(file_of(lane, samples[0]))
    assert pull(lane, [newer, *samples[1:]], before.verdicts).verdicts == before.verdicts


def test_a_file_that_breaks_a_rule_is_reported_and_the_others_are_read(lane, samples):
    edit(file_of(lane, samples[0]), shapes=[{"label": "<b>x</b>", "points": [], "shape_type": "polygon"}])
    file_of(lane, samples[1]).write_bytes(b'{"shapes": [')
    edit(file_of(lane, samples[2]))
    pulled = pull(lane, samples)
    assert len(pulled.verdicts) == 1
    assert {item.sample_id: item.reason for item in pulled.unreadable} == {
        samples[0].id: Reason.UNKNOWN_LABEL,
        samples[1].id: Reason.JSON,
    }


def test_a_link_in_a_files_place_is_not_followed(lane, samples, tmp_path):
    path = file_of(lane, samples[0])
    edit(path)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert [item.reason for item in pull(lane, samples).unreadable] == [Reason.NOT_A_FILE]


def test_strange_files_are_counted_and_drawings_on_views_are_not(lane, samples, make_sample):
    (lane / "notes.json").write_text("{}")
    (lane / f"00009-{make_sample(3).id}.json").write_text("{}")
    file_of(lane, samples[0]).with_name(f"00001-{samples[0].id}-difference.json").write_text("{}")
    (lane / ".tmp-0123456789abcdef.json").write_text("{")
    assert pull(lane, samples).strange_tasks == 2


def test_views_lie_beside_their_picture(samples, store, tmp_path):
    def views(sample: Sample) -> dict[str, bytes]:
        return {name: f"{name} {sample.id}".encode() for name in ("a", "b", "difference")}

    folder = tmp_path / "adjudication"
    open_lane(samples, store, folder, "adjudication", views=views)
    stem = f"00002-{samples[1].id}"
    assert {path.name for path in folder.glob(f"{stem}*")} == {
        *(f"{stem}.json", f"{stem}.png", f"{stem}-a.png", f"{stem}-b.png", f"{stem}-difference.png")
    }
    assert (folder / f"{stem}-b.png").read_bytes() == f"b {samples[1].id}".encode()
    assert "-difference" in (folder / "readme.txt").read_text()
    before = snapshot(folder)
    open_lane(samples, store, folder, "adjudication", views=views)
    assert snapshot(folder) == before


def test_labelme_takes_our_configuration(labelme, tmp_path):
    (tmp_path / "labelme.yaml").write_text(labelme_config())
    config = labelme.load_config(tmp_path / "labelme.yaml", {})
    assert config["labels"] == ["face_mask", "face", "occluder", "strap", "hole", "face_box"]
    assert config["flags"] == ["done", "fix", "reject"]
    assert config["label_flags"] == {"^face_mask$": all_choice_flags()}
    assert "mask_type: cloth" in all_choice_flags()


def test_in_the_real_window_a_flag_is_set_and_saved(lane, samples, in_labelme):
    before = [rle_to_mask(item.mask) for item in samples[0].instances]
    untouched = file_of(lane, samples[1]).read_bytes()
    said = in_labelme(
        lane,
        """
print(docks.file_list.count(), [shape.label for shape in window._canvas_widgets.canvas.shapes])
print([docks.flag_list.item(i).text() for i in range(docks.flag_list.count())])
print(window._canvas_widgets.canvas.shapes[0].flags["mask_type: cloth"])
tick("done")
open_picture(1)
""",
    )
    assert said.splitlines() == ["3 ['face_mask', 'face', 'face_box']", "['done', 'fix', 'reject']", "True"]
    pulled = pull(lane, samples)
    (verdict,) = pulled.verdicts
    assert (verdict.sample_id, verdict.state, pulled.outdated_tasks) == (
        samples[0].id,
        ReviewState.ACCEPTED,
        0,
    )
    assert all(
        np.array_equal(rle_to_mask(i.mask), mask) for i, mask in zip(verdict.instances, before, strict=True)
    )
    assert file_of(lane, samples[1]).read_bytes() == untouched  # looking is not saving


def test_in_the_real_window_a_hole_is_drawn_and_a_choice_changed(lane, samples, in_labelme):
    in_labelme(
        lane,
        """
from labelme._shape import Shape

canvas = window._canvas_widgets.canvas
hole = Shape(label="hole", shape_type="polygon", group_id=0, flags={}, description="")
for x, y in ((70, 130), (90, 130), (90, 150), (70, 150)):
    hole.add_point(QtCore.QPointF(x, y))
hole.close()
window._insert_shapes([hole])
flags = canvas.shapes[0].flags
flags["mask_type: cloth"], flags["mask_type: kn95"] = False, True
tick("done")
""",
    )
    (verdict,) = pull(lane, samples).verdicts
    assert verdict.state is ReviewState.CORRECTED
    expected = rle_to_mask(samples[0].instances[0].mask)
    expected[130:151, 70:91] = False
    first: Instance = verdict.instances[0]
    assert np.array_equal(rle_to_mask(first.mask), expected)
    assert (first.attribute("mask_type"), first.attribute("wearing_state")) == ("kn95", "nose_out")
    assert verdict.instances[1].mask == samples[0].instances[1].mask
