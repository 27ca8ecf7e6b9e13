"""The attribute network: coding, losses, counts, training on drawn faces, and the card."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg11

from baselines.attributes.ablations import CE_WEIGHTS, ce_sweep, table_1, table_2
from baselines.attributes.coding import UNKNOWN_GENDER, OutputCoding
from baselines.attributes.losses import (
    attribute_loss,
    bell_curve,
    divergence_loss,
    expectation_loss,
    gender_loss,
)
from baselines.attributes.network import build_vgg_attributes, count_parameters
from baselines.attributes.rows import ATTRIBUTE_TASK, summarise
from baselines.attributes.score import score_attributes
from baselines.attributes.settings import AttributeSettings, Head, LossSettings, VggSettings
from baselines.attributes.statement import ABOUT_LABELS
from baselines.attributes.suite import run_table
from baselines.attributes.table import LabelTable, read_labels
from baselines.attributes.train import read_attribute_record, recoloured, train_attributes
from baselines.tasks import find_task, read_card
from dataset_tools.core.errors import ConfigError, DataError

JOINT = OutputCoding(11, "joint")
CODINGS = [OutputCoding(11, "feature"), JOINT, OutputCoding(11, "separate")]


@pytest.mark.parametrize(
    ("outputs", "settings", "expected"),
    [
        (22, VggSettings(), 7_412_630),
        (22, VggSettings(head="linear"), 7_412_630),
        (22, VggSettings(head="gap"), 6_871_958),
        (1000, VggSettings(keep_conv8=True, keep_fc=True, head="linear"), 132_863_336),
    ],
)
def test_networks_have_the_parameters_the_specification_counts(
    outputs: int, settings: VggSettings, expected: int
) -> None:
    assert count_parameters(outputs, settings) == expected


def test_the_unreduced_network_is_torchvisions() -> None:
    with torch.device("meta"):
        ours = build_vgg_attributes(
            1000, VggSettings(keep_conv8=True, keep_fc=True, head="linear"), pretrained=False
        )
        theirs = vgg11(weights=None)
    assert [one.shape for one in ours.parameters()] == [one.shape for one in theirs.parameters()]


def test_batch_norm_adds_two_values_per_channel() -> None:
    channels = 64 + 128 + 2 * 256 + 3 * 512
    assert count_parameters(22, VggSettings(bn=True)) == 7_412_630 + 2 * channels


def test_published_weights_are_put_into_the_kept_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    # The host is unreachable here: a small stand-in for what torchvision would hand over.
    import baselines.attributes.network as module
    from baselines.segmenter import InitialWeights

    source = nn.Module()
    source.features = module.make_layers([64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"])
    start = InitialWeights("vgg11", "0" * 64)
    monkeypatch.setattr(module, "torchvision_network", lambda *_, **__: (source, start))
    network = build_vgg_attributes(22, VggSettings(head="gap"), pretrained=True)
    assert network.initial_weights == start
    for name, value in network.trunk.state_dict().items():
        assert torch.equal(value, source.features.state_dict()[name])


@pytest.mark.parametrize("head", ["linear", "conv", "gap"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (70, 96), (256, 256)])
def test_any_input_size_gives_one_row_per_picture(head: Head, height: int, width: int) -> None:
    with torch.device("meta"):
        network = build_vgg_attributes(22, VggSettings(head=head), pretrained=False)
        assert network(torch.zeros(2, 3, height, width)).shape == (2, 22)


def test_a_convolution_over_the_whole_map_is_the_linear_layer() -> None:
    linear = build_vgg_attributes(5, VggSettings(head="linear"), pretrained=False)
    conv = build_vgg_attributes(5, VggSettings(head="conv"), pretrained=False)
    conv.trunk, linear.trunk = nn.Identity(), nn.Identity()
    layer = linear.head[-1]
    conv.head.load_state_dict({"weight": layer.weight.view(5, 512, 7, 7), "bias": layer.bias})
    places = torch.randn(2, 512, 7, 7)
    torch.testing.assert_close(conv(places), linear(places), atol=1e-4, rtol=1e-4)


def test_wide_layers_need_a_linear_head() -> None:
    with pytest.raises(ValueError, match="needs head: linear"):
        VggSettings(keep_fc=True)


@pytest.mark.parametrize("coding", CODINGS)
def test_probabilities_of_each_attribute_sum_to_one(coding: OutputCoding) -> None:
    logits = torch.randn(6, coding.outputs)
    feature = coding.feature_log_probabilities(logits).exp()
    assert feature.shape == (6, 11)
    torch.testing.assert_close(feature.sum(dim=1), torch.ones(6))
    if coding.has_gender:
        gender = coding.gender_log_probabilities(logits).exp()
        torch.testing.assert_close(gender.sum(dim=1), torch.ones(6))


def test_the_joint_coding_is_the_papers_sums() -> None:
    logits = torch.randn(4, 22)
    chance = torch.softmax(logits, dim=1)
    female, male = chance[:, :11], chance[:, 11:]
    torch.testing.assert_close(JOINT.feature_log_probabilities(logits).exp(), female + male)
    expected = torch.stack((female.sum(dim=1), male.sum(dim=1)), dim=1)
    torch.testing.assert_close(JOINT.gender_log_probabilities(logits).exp(), expected)
    assert [one.outputs for one in CODINGS] == [11, 22, 13]


def test_the_class_term_is_cross_entropy_over_all_outputs() -> None:
    logits, feature, gender = (
        torch.randn(5, 22),
        torch.tensor([0, 3, 10, 7, 7]),
        torch.tensor([0, 1, 1, 0, 0]),
    )
    found = -JOINT.class_log_probabilities(logits, feature, gender).mean()
    torch.testing.assert_close(found, F.cross_entropy(logits, feature + 11 * gender))
    unknown = torch.full((5,), UNKNOWN_GENDER)
    expected = F.nll_loss(JOINT.feature_log_probabilities(logits), feature)
    torch.testing.assert_close(-JOINT.class_log_probabilities(logits, feature, unknown).mean(), expected)
    separate, logits = OutputCoding(11, "separate"), torch.randn(5, 13)
    expected = F.cross_entropy(logits[:, :11], feature) + F.cross_entropy(logits[:, 11:], gender)
    torch.testing.assert_close(-separate.class_log_probabilities(logits, feature, gender).mean(), expected)


def test_the_divergence_of_a_distribution_from_itself_is_zero() -> None:
    target = bell_curve(torch.tensor([0, 5, 10]), 11, 1.0)
    assert divergence_loss(target.log(), target).item() == pytest.approx(0, abs=1e-6)
    other = torch.randn(3, 11).log_softmax(dim=1)
    expected = F.kl_div(other, target, reduction="batchmean")
    torch.testing.assert_close(divergence_loss(other, target), expected)


def test_the_bell_curve_is_a_normalised_gaussian() -> None:
    (found,) = bell_curve(torch.tensor([3]), 11, 2.0).tolist()
    weights = [math.exp(-((place - 3) ** 2) / 8) for place in range(11)]
    assert found == pytest.approx([one / sum(weights) for one in weights], rel=1e-5)
    assert sum(found) == pytest.approx(1)


def test_the_distance_is_that_of_the_expected_value() -> None:
    # Half on 2 and half on 6 is 4 on average, 3 of 10 steps from 7; a sure 7 is no distance away.
    chance = torch.full((2, 11), 1e-12)
    chance[0, [2, 6]], chance[1, 7] = 0.5, 1.0
    values = torch.tensor([7, 7])
    assert expectation_loss(chance[:1].log(), values[:1]).item() == pytest.approx(0.3, abs=1e-5)
    assert expectation_loss(chance.log(), values).item() == pytest.approx(0.15, abs=1e-5)


def test_the_gender_term_equals_scikit_learns_where_gender_is_known() -> None:
    chance = torch.rand(8, 2, dtype=torch.float64).softmax(dim=1)
    gender = torch.tensor([0, 1, 1, 0, UNKNOWN_GENDER, 1, 0, UNKNOWN_GENDER])
    known = gender >= 0
    expected = log_loss(gender[known].numpy(), chance[known].numpy(), labels=[0, 1])
    assert gender_loss(chance.log(), gender).item() == pytest.approx(expected, rel=1e-5)
    assert gender_loss(chance.log(), torch.full((8,), UNKNOWN_GENDER)).item() == 0


def test_the_loss_is_the_weighted_sum_and_each_term_can_be_switched_off() -> None:
    logits = torch.randn(4, 22)
    feature, gender = torch.tensor([1, 5, 9, 0]), torch.tensor([0, 1, 1, 0])
    log_feature = JOINT.feature_log_probabilities(logits)
    terms = {
        "l1": expectation_loss(log_feature, feature),
        "kl": divergence_loss(log_feature, bell_curve(feature, 11, 1.0)),
        "ce": gender_loss(JOINT.gender_log_probabilities(logits), gender),
    }
    expected = 0.4 * terms["l1"] + 0.6 * terms["kl"] + terms["ce"]
    torch.testing.assert_close(attribute_loss(logits, feature, gender, JOINT, LossSettings()), expected)
    for name, weight in (("l1", 0.4), ("kl", 0.6)):
        weights = LossSettings.model_validate({**dict.fromkeys(("l1", "kl", "ce"), 0), name: weight})
        found = attribute_loss(logits, feature, gender, JOINT, weights)
        torch.testing.assert_close(found, weight * terms[name])
    without = attribute_loss(logits[:, :11], feature, gender, OutputCoding(11, "feature"), LossSettings())
    assert without.isfinite()


def test_a_loss_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing else teaches the feature"):
        LossSettings(l1=0, kl=0)


def test_a_right_answer_costs_less_than_a_wrong_one() -> None:
    feature, gender = torch.tensor([4]), torch.tensor([1])
    right, wrong = torch.zeros(1, 22), torch.zeros(1, 22)
    right[0, 11 + 4], wrong[0, 10] = 5, 5
    costs = [attribute_loss(one, feature, gender, JOINT, LossSettings()).item() for one in (right, wrong)]
    assert costs[0] < costs[1]


def test_recolouring_keeps_a_picture_recognisable() -> None:
    rgb = np.tile(np.arange(100, 150, dtype=np.uint8)[:, None, None], (1, 50, 3))
    found = recoloured(rgb, np.random.default_rng(0))
    assert found.dtype == np.uint8 and found.shape == rgb.shape
    assert np.abs(found.astype(int) - rgb).max() <= 0.5 * rgb.max()
    assert np.corrcoef(found[..., 0].ravel(), rgb[..., 0].ravel())[0, 1] > 0.99


def test_gender_is_off_unless_asked_for_and_leaves_no_output_behind() -> None:
    assert AttributeSettings().gender is False and AttributeSettings().coding == "feature"
    assert AttributeSettings(gender=True).coding == "joint"
    assert AttributeSettings(gender=True, combined=False).coding == "separate"


def draw_labels(folder: Path, count: int, *, gender: bool = True, first_seed: int = 0) -> LabelTable:
    """Grey discs: the brighter, the higher the value; the blue ones are called male, the red ones female."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,feature,gender,group" if gender else "image,feature"]
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        value, is_male = int(rng.integers(0, 11)), seed % 2
        rgb = rng.integers(0, 20, (48, 48, 3)).astype(np.uint8)
        rows, columns = np.mgrid[:48, :48]
        disc = (rows - 24) ** 2 + (columns - 24) ** 2 < 20**2
        rgb[disc] = 20 * value + 20
        rgb[disc, 2 if is_male else 0] = 250
        Image.fromarray(rgb).save(folder / f"{seed}.png")
        word = ("female", "male")[is_male]
        lines.append(f"{seed}.png,{value},{word},p{seed}" if gender else f"{seed}.png,{value}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return read_labels(folder / "labels.csv", folder, top_value=10, with_gender=gender)


# Global mean: the smallest head; 32 pixels: what the trunk halves five times.
FEW = AttributeSettings(
    steps=1,
    batch=2,
    input_px=32,
    network=VggSettings(head="gap"),
    pretrained=False,
    device="cpu",
)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    labels = draw_labels(tmp_path / "data", 4)
    settings = FEW.model_copy(update={"gender": True, "steps": 2})
    whole = train_attributes(settings, labels, tmp_path / "whole")
    train_attributes(settings.model_copy(update={"steps": 1}), labels, tmp_path / "parts")
    parts = train_attributes(settings, labels, tmp_path / "parts")
    assert parts.version == whole.version and parts.facts.steps == 2
    assert read_attribute_record(tmp_path / "parts") == parts
    with pytest.raises(ConfigError, match="other settings or data"):
        train_attributes(FEW, labels, tmp_path / "parts")


def test_a_card_holds_the_figures_and_what_labels_mean(tmp_path: Path) -> None:
    labels = draw_labels(tmp_path / "data", 4)
    train_attributes(FEW.model_copy(update={"gender": True}), labels, tmp_path / "model", labels)
    others = draw_labels(tmp_path / "others", 5, first_seed=100)
    card = score_attributes(tmp_path / "model", others, tmp_path / "board", device="cpu")
    assert read_card(tmp_path / "board" / f"{card.stem}.json") == card
    assert card.metrics["learned_share"] == 0 and card.items == 5
    assert card.metrics["gender_accuracy"] is not None
    text = (tmp_path / "board" / f"{card.stem}.json").read_text()
    assert json.loads(text)["training"]["settings"]["about_labels"] == ABOUT_LABELS
    assert str(tmp_path) not in text
    assert find_task("attributes") is ATTRIBUTE_TASK and ATTRIBUTE_TASK.remark == ABOUT_LABELS
    with pytest.raises(DataError, match="training saw 4 of the pictures"):
        score_attributes(tmp_path / "model", labels, tmp_path / "board", device="cpu")
    leaky = score_attributes(tmp_path / "model", labels, tmp_path / "board", allow_leaks=True, device="cpu")
    assert leaky.metrics["learned_share"] == 1


def test_without_a_gender_column_that_term_and_figure_are_left_out(tmp_path: Path) -> None:
    labels = draw_labels(tmp_path / "data", 3, gender=False)
    record = train_attributes(FEW.model_copy(update={"gender": True}), labels, tmp_path / "model")
    assert record.settings.gender is False and record.settings.coding == "feature"
    others = draw_labels(tmp_path / "others", 3, first_seed=100)
    card = score_attributes(tmp_path / "model", others, tmp_path / "board", device="cpu")
    assert card.metrics["gender_accuracy"] is None
    assert card.parameters == count_parameters(11, VggSettings(head="gap"))


def test_a_picture_changed_after_reading_is_noticed(tmp_path: Path) -> None:
    labels = draw_labels(tmp_path / "data", 2)
    Image.new("RGB", (48, 48)).save(tmp_path / "data" / "0.png")
    with pytest.raises(DataError, match=r"0\.png was changed"):
        train_attributes(FEW, labels, tmp_path / "model")


def test_a_value_beyond_the_scale_cannot_be_scored(tmp_path: Path) -> None:
    labels = draw_labels(tmp_path / "data", 3)
    top = max(one.feature for one in labels.pictures)
    settings = FEW.model_copy(update={"top_value": top})
    train_attributes(settings, labels, tmp_path / "model")
    (tmp_path / "data" / "labels.csv").write_text("image,feature\n0.png,99\n")
    beyond = read_labels(tmp_path / "data" / "labels.csv", tmp_path / "data", top_value=99, with_gender=False)
    with pytest.raises(DataError, match=f"holds value 99, the network knows 0..{top}"):
        score_attributes(tmp_path / "model", beyond, tmp_path / "board", allow_leaks=True, device="cpu")


def test_figures_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    feature, said = rng.integers(0, 11, (2, 60))
    words = np.array(["female", "male", ""])
    gender, said_gender = words[rng.integers(0, 3, 60)], words[rng.integers(0, 2, 60)]
    rows = [
        {
            "feature": int(feature[place]),
            "said_feature": int(said[place]),
            "gender": str(gender[place]),
            "said_gender": str(said_gender[place]),
            "was_learned": False,
        }
        for place in range(60)
    ]
    found = summarise(rows)
    known = gender != ""
    assert found["feature_accuracy"] == pytest.approx(accuracy_score(feature, said))
    assert found["gender_accuracy"] == pytest.approx(accuracy_score(gender[known], said_gender[known]))
    assert found["feature_error"] == pytest.approx(np.abs(feature - said).mean())


def test_table_1_goes_from_vgg_to_the_final_network() -> None:
    rows = table_1(AttributeSettings(gender=True, seed=5))
    assert [one.name for one in rows] == [
        "original",
        "no_conv8_fc",
        "input_224",
        "fc3_conv",
        "combined",
        "final",
    ]
    first, last = rows[0].settings, rows[-1].settings
    assert (first.input_px, first.network.keep_conv8, first.coding) == (256, True, "separate")
    assert last == AttributeSettings(gender=True, seed=5)
    assert count_parameters(OutputCoding(11, last.coding).outputs, last.network) == 7_412_630
    assert rows[3].printed["feature_accuracy"] == 0.9864
    assert len({one.settings for one in rows}) == 6


def test_table_2_adds_the_terms_one_by_one() -> None:
    rows = table_2(AttributeSettings(gender=True))
    on = [
        [name for name in ("l1", "kl", "ce", "classes") if getattr(one.settings.loss, name)] for one in rows
    ]
    assert on == [["classes"], ["l1", "classes"], ["l1", "ce"], ["l1", "kl", "ce"]]
    assert rows[-1].printed["gender_accuracy"] == 0.96651
    assert "gender_accuracy" not in table_2(AttributeSettings())[-1].printed
    assert [one.settings.loss.ce for one in ce_sweep(AttributeSettings(gender=True))] == list(CE_WEIGHTS)


def test_a_table_is_run_row_by_row_and_a_failing_row_stops_nothing(tmp_path: Path) -> None:
    learned = draw_labels(tmp_path / "data", 2)
    scored = draw_labels(tmp_path / "others", 2, first_seed=100)
    rows = table_2(FEW.model_copy(update={"gender": True}))[2:]
    broken = replace(rows[0], settings=rows[0].settings.model_copy(update={"device": "cuda:99"}))
    result = run_table([broken, rows[1]], learned, scored, tmp_path / "runs", tmp_path / "board")
    assert [name for name, _ in result.failures] == ["ce"]
    (card,) = result.cards
    assert card.title == "+ KL" and card.printed["feature_accuracy"] == 0.98484
    assert card.training.initial_weights == "random"


@pytest.mark.slow
def test_a_short_training_learns_both_attributes_of_drawn_discs(tmp_path: Path) -> None:
    labels = draw_labels(tmp_path / "data", 32)
    update = {"gender": True, "steps": 120, "batch": 8, "learning_rate": 3e-4, "augment": False}
    train_attributes(FEW.model_copy(update=update), labels, tmp_path / "model")
    others = draw_labels(tmp_path / "others", 16, first_seed=100)
    card = score_attributes(tmp_path / "model", others, tmp_path / "board", device="cpu")
    assert (card.metrics["gender_accuracy"] or 0) > 0.9
    assert (card.metrics["feature_error"] or 9) < 1.5


def test_a_few_steps_work_on_real_faces(shared_data: Path, tmp_path: Path) -> None:
    source = (shared_data / "utkface" / "labels.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in source[::40]]
    lines = [
        "image,feature,gender",
        *(f"{name},{min(int(age) // 10, 10)},{word}" for name, age, word, _ in rows),
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    labels = read_labels(
        tmp_path / "labels.csv", shared_data / "utkface" / "images", top_value=10, with_gender=True
    )
    record = train_attributes(FEW.model_copy(update={"gender": True}), labels, tmp_path / "model")
    assert record.facts.items == len(rows) and record.settings.coding == "joint"
