from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from annotation.consensus import Outcome
from annotation.labelme.tool import LabelMeTool
from annotation.session import close_session, open_session
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.verdict import Role
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.record import ReviewState

SETTINGS = ReviewSettings(annotators=("ann", "bob"), gold_share=0)


@pytest.fixture
def samples(make_sample):
    return [make_sample(number) for number in range(4)]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "labelme"


@pytest.fixture
def tool(folder, store) -> LabelMeTool:
    return LabelMeTool(folder, store)


def finish(lane: Path, sample, *, flag: str = "done", shapes=None) -> None:
    (path,) = lane.glob(f"*-{sample.id}.json")
    content = json.loads(path.read_text())
    content["flags"][flag] = True
    if shapes is not None:
        content["shapes"] = shapes(content["shapes"])
    path.write_text(json.dumps(content))


def without_face_mask(shapes: list) -> list:
    return [shape for shape in shapes if shape["label"] != "face_mask"]


def test_two_people_agree_differ_and_are_settled_by_a_third(samples, folder, tool):
    same, bad, far, one = samples
    showing = Showing(tuple(samples), {})
    opened = open_session(tool, showing, SETTINGS)
    assert [(lane.lane, lane.place, lane.sent) for lane in opened] == [
        ("ann", str(folder / "ann"), 4),
        ("bob", str(folder / "bob"), 4),
    ]
    for name in ("ann", "bob"):
        finish(folder / name, same)
        finish(folder / name, bad, flag="reject")
    finish(folder / "ann", far, shapes=without_face_mask)
    finish(folder / "bob", far)
    finish(folder / "ann", one)

    closed = close_session(tool, showing, SETTINGS)
    assert closed.outcomes == {
        Outcome.WAITING: 1,
        Outcome.AGREED: 2,
        Outcome.CONTESTED: 1,
        Outcome.SETTLED: 0,
    }
    assert [(lane.tasks, lane.open_tasks) for lane in closed.lanes] == [(4, 0), (4, 1), (1, 1)]
    assert closed.cases.sent == 1
    views = sorted((folder / "adjudication").glob("*.png"))
    assert [path.stem.removeprefix(f"00001-{far.id}") for path in views] == ["-a", "-b", "-difference", ""]
    for path in views:
        with Image.open(io.BytesIO(path.read_bytes())) as opened_view:
            opened_view.load()

    again = close_session(tool, showing, SETTINGS, closed.verdicts)
    assert (again.verdicts, again.cases.sent) == (closed.verdicts, 0)

    finish(folder / "adjudication", far, shapes=without_face_mask)
    settled = close_session(tool, showing, SETTINGS, closed.verdicts)
    assert settled.outcomes[Outcome.SETTLED] == 1
    (word,) = [item for item in settled.verdicts if item.role is Role.ADJUDICATOR]
    assert (word.lane, word.tool, word.sample_id) == ("adjudication", "labelme", far.id)
    assert [item.label for item in word.instances] == ["face"]
    last = close_session(tool, showing, SETTINGS, settled.verdicts)
    assert (last.verdicts, last.cases.sent) == (settled.verdicts, 0)


def test_a_gold_sample_looks_like_the_others_and_its_verdict_is_marked(samples, folder, tool):
    gold = samples[0]
    showing = Showing(tuple(samples), {gold.id: dataclasses.replace(gold, is_labelled=True)})
    tool.open(showing, "ann")
    finish(folder / "ann", gold)
    finish(folder / "ann", samples[1])
    assert "gold" not in "".join(path.read_text() for path in (folder / "ann").glob("*.json"))
    roles = {item.sample_id: item.role for item in tool.pull(showing, "ann", ()).verdicts}
    assert roles == {gold.id: Role.GOLD, samples[1].id: Role.ANNOTATOR}


def test_a_lane_that_was_never_opened_is_a_plain_error(samples, folder, tool):
    with pytest.raises(ConfigError, match="open the review first"):
        tool.pull(Showing(tuple(samples), {}), "ann", ())
    assert tool.open_cases(()).sent == 0
    assert tool.pull_cases((), ()).tasks == 0
    assert not folder.exists()


def test_an_accepted_proposal_is_the_reviewers_own_word(samples, folder, tool):
    showing = Showing(tuple(samples), {})
    tool.open(showing, "ann")
    finish(folder / "ann", samples[0])
    (verdict,) = tool.pull(showing, "ann", ()).verdicts
    assert verdict.state is ReviewState.ACCEPTED
    assert {item.drawn_by for item in verdict.instances} == {"human:ann"}
