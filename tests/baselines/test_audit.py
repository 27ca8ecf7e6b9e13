"""The audit of published tables: rows by hand, bounds on random pictures, the released rule on real data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from baselines.audit import audit_suite, score_pairs
from baselines.audit.folders import matching_labels, read_labels, read_published
from baselines.audit.printed import (
    Finding,
    PrintedRow,
    Severity,
    audit_rows,
    foreground_share,
    iou_of,
    printed_unit,
)
from baselines.audit.report import render
from baselines.audit.rules import (
    ceilings,
    means,
    released_truth,
    score_by_our_rule,
    score_by_released_rule,
    taught_label,
    written_prediction,
)
from baselines.metrics import PixelCounts
from baselines.suites import find_suite
from dataset_tools.core.errors import ConfigError, DataError, UnknownName

NAMES = ("iou", "f1", "precision", "recall", "accuracy")


def row(title: str, *values: float) -> PrintedRow:
    return PrintedRow(title, dict(zip(NAMES, values, strict=False)))


def said(findings: list[Finding], severity: Severity) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in findings:
        if one.severity is severity:
            found.setdefault(one.row, []).append(one.what)
    return found


def disc(size: int = 250, radius: float = 60.0) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size / 2
    return rows**2 + columns**2 < radius**2


# -- printed rows -------------------------------------------------------------------------------------


def test_an_iou_below_precision_plus_recall_minus_one_is_impossible() -> None:
    found = said(audit_rows([row("EINet", 0.91435, 0.96576, 0.95341, 0.97845, 0.972)]), Severity.IMPOSSIBLE)
    assert found == {"EINet": ["iou 0.91435 cannot be below P + R - 1 = 0.93186"]}


def test_an_iou_above_precision_is_impossible() -> None:
    found = audit_rows([row("x", 0.95123, 0.95037, 0.94111, 0.95981, 0.97012)])
    assert any("cannot be above precision" in one.what for one in found)


def test_both_bounds_are_reached_so_nothing_stricter_could_be_said() -> None:
    low = means([PixelCounts(tp=50, fp=0, fn=50, tn=0), PixelCounts(tp=50, fp=50, fn=0, tn=0)])
    assert low["iou"] == pytest.approx(low["precision"] + low["recall"] - 1)
    high = means([PixelCounts(tp=100, fp=0, fn=0, tn=0), PixelCounts(tp=0, fp=50, fn=50, tn=0)])
    assert high["iou"] == pytest.approx(min(high["precision"], high["recall"]))


@given(
    st.lists(
        st.tuples(*[st.integers(0, 40)] * 4).filter(lambda counts: counts[0] > 0), min_size=1, max_size=8
    )
)
def test_no_set_of_pictures_is_called_impossible(pictures: list[tuple[int, int, int, int]]) -> None:
    figures = means([PixelCounts(*counts) for counts in pictures])
    for name in ("f1_of_means", "f1_mean"):
        values = (figures["iou"], figures[name], *(figures[key] for key in NAMES[2:]))
        printed = row("honest", *(round(value, 5) for value in values))
        assert said(audit_rows([printed]), Severity.IMPOSSIBLE) == {}


def test_an_f1_that_is_not_its_rows_harmonic_mean_is_suspicious() -> None:
    found = said(audit_rows([row("PAN", 0.89312, 0.92967, 0.91522, 0.97435, 0.96033)]), Severity.SUSPICIOUS)
    assert len(found["PAN"]) == 1
    assert "F1 0.92967 is not the harmonic mean 0.94386" in found["PAN"][0]


def test_an_f1_that_fits_no_reading_is_impossible() -> None:
    found = audit_rows([row("x", 0.8, 0.95, 0.9, 0.88)])
    assert [one.severity for one in found] == [Severity.IMPOSSIBLE]
    alone = audit_rows([row("x", 0.8, 0.7)])
    assert [one.severity for one in alone] == [Severity.IMPOSSIBLE]


def test_an_f1_above_that_of_the_iou_can_only_be_of_means() -> None:
    (one,) = audit_rows([row("Din", 0.903, 0.957)])
    assert one.severity is Severity.SUSPICIOUS and "no mean of the pictures' own F1" in one.what


def test_an_iou_far_from_what_precision_and_recall_give_is_suspicious() -> None:
    found = said(audit_rows([row("MAnet", 0.8961, 0.9421, 0.91218, 0.97405)]), Severity.SUSPICIOUS)
    assert found == {"MAnet": ["IoU 0.89610; its precision and recall give about 0.89054"]}
    assert iou_of(0.5, 0.5) == pytest.approx(1 / 3)
    assert audit_rows([row("U-Net", 0.89516, 0.94469, 0.91507, 0.9763, 0.96115)]) == []


def test_accuracy_precision_and_recall_imply_the_share_of_foreground() -> None:
    # 30 of 100 pixels are label: 24 found, 6 missed, 8 invented.
    values = {"accuracy": 0.86, "precision": 24 / 32, "recall": 24 / 30}
    assert foreground_share(values) == pytest.approx(0.3)
    assert foreground_share({"accuracy": 1.0, "precision": 1.0, "recall": 1.0}) is None


def test_a_wrong_digit_of_the_accuracy_stands_out_among_rows_of_the_same_labels() -> None:
    rows = [row(str(index), 0.895, 0.9447, 0.915, 0.9765 + index / 1e4, 0.961) for index in range(4)]
    rows.append(row("typo", 0.89587, 0.94507, 0.91667, 0.97529, 0.97159))
    found = said(audit_rows(rows), Severity.SUSPICIOUS)
    assert list(found) == ["typo"]
    assert "about 0.251 of the pixels are mask" in found["typo"][0]


def test_rows_with_equal_figures_are_duplicates_and_one_equal_figure_is_chance() -> None:
    first = row("a", 0.89242, 0.94339, 0.9145, 0.97418, 0.95999)
    second = row("b", 0.89242, 0.94353, 0.9145, 0.97448, 0.95999)
    third = row("c", 0.89242, 0.94329, 0.91602, 0.97225, 0.95998)
    found = said(audit_rows([first, second, third]), Severity.DUPLICATE)
    assert found == {"a": ["iou, precision, accuracy equal those of b to the last digit"]}


@pytest.mark.parametrize(("value", "unit"), [(0.93814, 1e-5), (0.9411, 1e-4), (0.934, 1e-3), (0.5, 1e-2)])
def test_the_last_digit_of_a_printed_share(value: float, unit: float) -> None:
    assert printed_unit(value) == pytest.approx(unit)


def test_table_2_has_the_errors_that_the_specification_lists() -> None:
    findings = list(audit_suite("abanet-table2").findings)
    assert list(said(findings, Severity.IMPOSSIBLE)) == ["EINet, ResNet-50 (stand-in)"]
    suspicious = said(findings, Severity.SUSPICIOUS)
    for title in ("MAnet, EfficientNet-B7", "MAnet, ResNet-50", "PAN, ResNet-50", "ABANet"):
        assert title in suspicious
    honest = {"U-Net, ResNet-50", "U-Net++, VGG-19", "Linknet, EfficientNet-B7", "DeepLabV3+, ResNet-50"}
    assert not honest & suspicious.keys()
    assert list(said(findings, Severity.DUPLICATE)) == ["MAnet, VGG-19"]


def test_table_5_gates_without_refinement_cannot_be() -> None:
    found = said(list(audit_suite("abanet-table5").findings), Severity.IMPOSSIBLE)
    assert list(found) == ["baseline + attention gates"]


# -- the two rules ------------------------------------------------------------------------------------


def test_our_rule_scores_a_perfect_prediction_with_one_and_an_undecided_pixel_as_foreground() -> None:
    truth = disc()
    assert means([score_by_our_rule(truth.astype(np.float32), truth)])["iou"] == 1.0
    assert score_by_our_rule(np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool)).tp == 4


def test_the_released_rule_shrinks_the_label_and_teaches_a_larger_one() -> None:
    truth = disc()
    target, taught = released_truth(truth), taught_label(truth)
    assert target.shape == taught.shape == (256, 256)
    assert (taught | ~target).all()  # what is 255 is not 0
    exact = truth.mean()
    assert target.mean() < exact < taught.mean()
    written = written_prediction(taught)
    assert written.sum() < taught.sum()


def test_a_flat_label_passes_the_released_rule_unharmed() -> None:
    for truth in (np.zeros((250, 250), dtype=bool), np.ones((250, 250), dtype=bool)):
        assert means([score_by_released_rule(truth.astype(np.float32), truth)])["iou"] == 1.0


def test_ceilings_of_a_disc_lie_below_one_by_the_released_rule_alone() -> None:
    found = {(one.predictor, one.rule): one.figures for one in ceilings([disc(), disc(radius=90)])}
    assert found["the label", "lossless labels, threshold 127"]["iou"] == 1.0
    assert found["what was taught", "lossless labels, threshold 127"]["recall"] == 1.0
    assert all(one["iou"] < 1 for key, one in found.items() if key[1] == "released rule")


# -- folders ------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two drawn labels, their released forms, and a table of two score files."""
    folder = tmp_path / "data"
    for name in ("mask", "mask_published_rule"):
        (folder / name).mkdir(parents=True)
    for index, radius in enumerate((50, 80)):
        truth = disc(radius=radius)
        Image.fromarray(np.where(truth, 255, 0).astype(np.uint8)).save(folder / f"mask/p{index}.png")
        released = np.where(released_truth(truth), 255, 0).astype(np.uint8)
        Image.fromarray(released).save(folder / f"mask_published_rule/p{index}.png")
    (folder / "published_scores.csv").write_text(
        "arch,backbone,subset,n,iou,f1,precision,recall,accuracy\n"
        "Unet,ResNet50,dev,2,89.232,94.091,91.754,97.044,96.082\n"
        "DeepLabV3+,VGG19,dev,2,57.073,71.409,68.575,77.996,78.728\n"
    )
    return folder


def test_our_rows_stand_beside_the_published_means_under_both_rules(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "mask", tmp_path / "perfect")
    audit = audit_suite("abanet-table2", data, {"unet_r50": tmp_path / "perfect"})
    assert audit.pictures == 2 and audit.matching == (2, 2)
    (ours,) = audit.rows
    assert ours.baseline == "unet_r50" and ours.pictures == 2
    assert ours.ours["iou"] == 1.0
    ceiling = {(one.predictor, one.rule): one.figures for one in audit.ceilings}
    assert ours.released == pytest.approx(ceiling["the label", "released rule"], abs=2e-3)
    assert audit.published[0].baseline == "unet_r50"
    assert audit.published[0].figures["f1_mean"] == pytest.approx(0.94091)
    text = render(audit, "table")
    lines = [line for line in text.splitlines() if line.startswith("U-Net, ResNet-50  ")]
    assert [line.split()[2] for line in lines] == ["ours", "released", "published"]
    assert "0.8923" in lines[2]


def test_scores_of_pairs_do_not_need_files() -> None:
    truth = disc()
    wrong = np.roll(truth, 30, axis=1)
    scored = score_pairs(find_suite("abanet-table2").rows[0], [(wrong.astype(np.float32), truth)])
    overlap, covered = (truth & wrong).sum(), (truth | wrong).sum()
    assert scored.ours["iou"] == pytest.approx(overlap / covered)
    assert scored.released["iou"] == pytest.approx(overlap / covered, abs=0.03)


def test_a_changed_released_label_is_counted(data: Path) -> None:
    Image.fromarray(np.zeros((256, 256), dtype=np.uint8)).save(data / "mask_published_rule/p0.png")
    assert matching_labels(data, read_labels(data)) == (1, 2)
    shutil.rmtree(data / "mask_published_rule")
    assert matching_labels(data, read_labels(data)) is None


def test_json_and_markdown_hold_the_same_figures(data: Path) -> None:
    audit = audit_suite("abanet-table2", data)
    values = json.loads(render(audit, "json"))
    assert values["pictures"] == 2 and len(values["printed"]) == 21 and len(values["ceilings"]) == 6
    markdown = render(audit, "md")
    assert markdown.startswith("# Audit: ABANet, table 2")
    assert f"| the label | released rule | {values['ceilings'][2]['figures']['iou']:.4f} |" in markdown
    assert "- EINet, ResNet-50 (stand-in): iou 0.91435" in markdown
    with pytest.raises(ConfigError, match="choose one of"):
        render(audit, "pdf")


def test_what_is_missing_or_damaged_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no PNG labels"):
        audit_suite("abanet-table2", tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    shutil.copy(data / "mask/p0.png", tmp_path / "half/p0.png")
    with pytest.raises(DataError, match=r"p1\.png: is missing"):
        audit_suite("abanet-table2", data, {"abanet": tmp_path / "half"})
    with pytest.raises(UnknownName, match="did you mean abanet"):
        audit_suite("abanet-table2", data, {"abanett": tmp_path / "half"})
    with pytest.raises(ConfigError, match="beside data"):
        audit_suite("abanet-table2", None, {"abanet": tmp_path / "half"})
    (data / "mask/p0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="cannot read the label"):
        audit_suite("abanet-table2", data)
    (data / "published_scores.csv").write_text("arch,backbone,n\nUnet,ResNet50,2\n")
    with pytest.raises(DataError, match="not a table of published scores"):
        read_published(data / "published_scores.csv")


# -- the real labels ----------------------------------------------------------------------------------


def test_the_released_labels_of_mfsd_are_made_again_bit_for_bit(shared_data: Path) -> None:
    audit = audit_suite("abanet-table2", shared_data / "mfsd_dev")
    assert audit.matching == (100, 100)
    found = {(one.predictor, one.rule): one.figures for one in audit.ceilings}
    # The specification's figures are of the 274 released test pictures, of which these are 100.
    taught = found["what was taught", "released rule"]
    for name, stated in (("iou", 0.906), ("precision", 0.920), ("recall", 0.983), ("accuracy", 0.966)):
        assert taught[name] == pytest.approx(stated, abs=0.004)
    assert found["what was taught", "lossless labels, threshold 127"]["iou"] == pytest.approx(
        0.970, abs=0.002
    )
    assert found["the label", "released labels, prediction lossless"]["iou"] == pytest.approx(
        0.938, abs=0.003
    )
    best = max(one.figures["iou"] for one in audit.published)
    assert best == pytest.approx(0.9018) and best < taught["iou"]


def test_score_files_that_repeat_each_other_are_found(shared_data: Path) -> None:
    audit = audit_suite("abanet-table2", shared_data / "mfsd_dev")
    repeated = {one.row for one in audit.findings if one.row.startswith("score file")}
    assert repeated == {"score file DeepLabV3+ / Efficient-b7", "score file MAnet / ResNet50"}
