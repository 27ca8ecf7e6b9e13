"""A network is trained on drawn people, resumed, scored on pairs, and its card holds the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baselines.models import build_network, find_spec
from baselines.tasks import read_card
from baselines.verification import training
from baselines.verification.ablations import ABLATIONS, ablation_of, find_ablation
from baselines.verification.identities import IdentitySet, PairSet, read_identities, read_pairs
from baselines.verification.scoring import Embedder, conditions, score_verification
from baselines.verification.settings import NetworkSettings, ScoreSettings, VerificationSettings
from baselines.verification.task import summarise_rows
from baselines.verification.training import (
    MsmlClassifier,
    build_msml,
    load_verification,
    train_verification,
)
from dataset_tools.core.errors import ConfigError, DataError, UnknownName

# The cheapest whole network: LightCNN with the smallest operators.
SMALL = NetworkSettings(branch="l29", sight="seg", kernel=1, blocks=0, layers=(3, 4))
SETTINGS = VerificationSettings(network=SMALL, steps=1, batch=2, checkpoint_every_steps=1, device="cpu")


def pair_list(faces: IdentitySet, folder: Path) -> PairSet:
    rows = ["file_a,file_b,same"]
    for one, other in ((0, 1), (3, 4), (0, 3), (1, 4)):
        pair = faces.faces[one], faces.faces[other]
        rows.append(f"{pair[0].name},{pair[1].name},{int(pair[0].identity == pair[1].identity)}")
    listed = folder / "pairs.csv"
    listed.write_text("\n".join(rows) + "\n")
    return read_pairs(listed)


def test_a_trained_network_is_scored_and_its_card_read_back(people_folder: Path, tmp_path: Path) -> None:
    faces = read_identities(people_folder)
    record = train_verification(SETTINGS, faces, tmp_path / "whole")
    assert (record.people, record.facts.items, record.facts.steps) == (4, 12, 1)
    longer = SETTINGS.model_copy(update={"steps": 2})
    with pytest.raises(ConfigError, match="other settings"):
        train_verification(longer, faces, tmp_path / "whole")
    network, _ = load_verification(tmp_path / "whole")
    assert sum(one.numel() for one in network.parameters()) == sum(
        one.numel() for one in build_msml(SMALL).parameters()
    )
    settings = ScoreSettings(block_percents=(0,), polygons=False, repeats=1, batch=8)
    pairs = pair_list(faces, people_folder)
    card = score_verification(tmp_path / "whole", pairs, tmp_path / "cards", settings)
    assert card.items == 2  # clean, and squares of 1 to 40 %
    assert card.metrics["pairs"] == 4
    assert card.metrics["seen_pairs"] == 1
    for name in ("accuracy_clean", "accuracy_mixed", "auc_mixed", "occlusion_iou_mixed"):
        value = card.metrics[name]
        assert value is not None
        assert 0 <= value <= 1
    assert card.metrics["occlusion_iou_clean"] is None  # nothing is hidden there
    assert read_card(tmp_path / "cards" / f"{card.stem}.json") == card
    (tmp_path / "whole" / "weights.safetensors").write_bytes(b"changed")
    with pytest.raises(DataError, match="missing or damaged"):
        load_verification(tmp_path / "whole")


class _Stopped(Exception):
    pass


@pytest.mark.slow
def test_a_training_killed_after_a_step_ends_with_the_same_weights(
    people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = read_identities(people_folder)
    plain = SETTINGS.model_copy(update={"network": SMALL.model_copy(update={"layers": ()}), "steps": 2})
    whole = train_verification(plain, faces, tmp_path / "whole")
    loss, calls = training._IdentityJob.loss, []

    def stop_at_second(
        self: object, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise _Stopped
        return loss(self, network, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(training._IdentityJob, "loss", stop_at_second)
        with pytest.raises(_Stopped):
            train_verification(plain, faces, tmp_path / "killed")
    resumed = train_verification(plain, faces, tmp_path / "killed")
    assert resumed.weights_sha256 == whole.weights_sha256


def test_every_part_learns_at_its_own_rate() -> None:
    settings = SETTINGS.resolved(on_gpu=False)
    with torch.device("meta"):
        groups = MsmlClassifier(settings, 4).groups(settings)
    assert [one.rate * 0.001 for one in groups] == pytest.approx([0.001, 0.01, 0.1, 0.01])


def test_the_branchs_recipe_is_the_papers() -> None:
    a18 = VerificationSettings().resolved(on_gpu=True)
    assert (a18.head, a18.batch, a18.frb_rate, a18.osb_rate) == ("margin", 512, 0.1, 0.01)
    assert (a18.milestones, a18.rate_factor, a18.weight_decay) == ((11, 16, 21), 0.1, 1e-5)
    l29 = VerificationSettings(network=NetworkSettings(branch="l29"), batch=8).resolved(on_gpu=False)
    assert (l29.head, l29.batch, l29.frb_rate, l29.osb_rate) == ("linear", 8, 0.001, 0.01)
    assert (l29.milestones, l29.rate_factor) == ((15, 30), pytest.approx(1 / 3))


def test_fewer_faces_than_a_batch_are_refused(people_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="12 faces"):
        train_verification(VerificationSettings(), read_identities(people_folder), tmp_path)


def test_table_4_is_listed_as_printed() -> None:
    printed = {one.name: one.printed["accuracy_mixed"] for one in ABLATIONS if one.name.startswith("msml_v")}
    assert list(printed.values()) == [
        *(0.8837, 0.9300, 0.9388, 0.9443, 0.9413, 0.9496, 0.9507, 0.9527),
        *(0.9587, 0.9620, 0.9630, 0.9173, 0.9540, 0.9535, 0.9027),
    ]
    assert list(printed) == [f"msml_v{number}" for number in range(15)]
    for one in ABLATIONS:
        assert ablation_of(one.settings.model_copy(update={"batch": 4})) == one
        with torch.device("meta"):
            build_msml(one.settings.network)
    with pytest.raises(UnknownName, match="msml_v3"):
        find_ablation("msml_v33")


def test_mirrored_faces_have_the_same_embedding_of_length_1() -> None:
    torch.manual_seed(0)
    network = build_msml(NetworkSettings(branch="l29", layers=())).eval()
    squares = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    embed = Embedder(network, torch.device("cpu"))
    one, hidden = embed(squares)
    other, _ = embed(np.ascontiguousarray(squares[:, :, ::-1]))
    assert hidden is None
    assert torch.allclose(one, other, atol=1e-5)
    assert one.norm(dim=1).tolist() == pytest.approx([1, 1])


def test_conditions_are_the_papers() -> None:
    found = conditions(ScoreSettings())
    assert [(one.protocol, one.percent, one.repeats) for one in found] == [
        ("block", 0, 1),
        *(("block", percent, 10) for percent in range(10, 101, 10)),
        ("mixed", None, 10),
        ("polygons", None, 10),
    ]
    sizes = [
        found[11].draw(np.ones((112, 112, 3), np.uint8), np.random.default_rng(one)).occluded.mean()
        for one in range(200)
    ]
    assert 0.005 < min(sizes) < 0.03
    assert 0.37 < max(sizes) <= 0.4


def _row(
    percent: int, repeat: int, distances: Sequence[float], pixels: Sequence[int | None]
) -> dict[str, object]:
    names = ("true_occluded", "false_occluded", "missed_occluded", "true_clean")
    return {
        "protocol": "block",
        "percent": percent,
        "repeat": repeat,
        "distances": list(distances),
        "same": [True, True, False, False],
        "folds": [0, 1, 0, 1],
        "seen": [True, False, False, False],
        **dict(zip(names, pixels, strict=True)),
    }


def test_figures_average_repeats_and_pool_pixels() -> None:
    apart, tied = (0.1, 0.1, 2.0, 2.0), (1.0, 1.0, 1.0, 1.0)
    found = summarise_rows(
        [
            _row(0, 0, apart, (0, 0, 0, 100)),
            _row(20, 0, apart, (30, 10, 0, 60)),
            _row(20, 1, tied, (10, 0, 10, 80)),
        ]
    )
    assert found["accuracy_clean"] == found["tar_clean"] == found["auc_clean"] == 1
    assert found["accuracy_block_20"] == found["accuracy_block"] == pytest.approx(0.75)
    assert found["auc_block_20"] == pytest.approx(0.75)
    assert found["occlusion_iou_block_20"] == pytest.approx(40 / 60)
    assert found["occlusion_miou_block_20"] == pytest.approx((40 / 60 + 140 / 160) / 2)
    assert math.isnan(found["occlusion_iou_clean"])
    assert (found["pairs"], found["different_pairs"], found["seen_pairs"]) == (4, 2, 0.25)
    plain = summarise_rows([_row(0, 0, apart, (None, None, None, None))])
    assert math.isnan(plain["occlusion_iou_clean"])


@pytest.mark.parametrize("name", ["msml_osb_r18", "msml_osb_r34"])
@pytest.mark.parametrize("face_px", [112, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_occlusion_branch_is_a_row_of_its_own(name: str, face_px: int, channels: int) -> None:
    with torch.device("meta"):
        network = build_network(name, channels, pretrained=False, face_px=face_px)
        logits = network(torch.zeros((2, 3, 70, 96))).logits
    assert tuple(logits.shape) == (2, channels, 70, 96)
    if (face_px, channels) == (112, 1):
        assert sum(one.numel() for one in network.parameters()) == find_spec(name).parameters


def test_saved_weights_hold_network_and_classifier(people_folder: Path, tmp_path: Path) -> None:
    plain = VerificationSettings(
        network=NetworkSettings(branch="l29", layers=()), steps=1, batch=2, device="cpu", head="margin"
    )
    train_verification(plain, read_identities(people_folder), tmp_path)
    names = load_file(tmp_path / "weights.safetensors")
    assert {name.split(".")[0] for name in names} == {"msml", "head"}
    assert tuple(names["head.weight"].shape) == (4, 256)
