"""An attribute network and a table of labels make a task card."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from baselines.attributes.coding import GENDERS, UNKNOWN_GENDER
from baselines.attributes.statement import ABOUT_LABELS
from baselines.attributes.table import LabelTable
from baselines.attributes.train import load_attributes, predict_attributes
from baselines.checkpoint import SeenSample, read_seen
from baselines.registry import Fidelity
from baselines.segmenter import choose_device, device_name
from baselines.tasks import TaskCard, write_card
from dataset_tools.core.errors import DataError
from dataset_tools.core.progress import ProgressFactory, silent

BASELINE = "vgg11_multiattr"
TITLE = "VGG-11, slimmed, several attributes"
_PICTURES_AT_ONCE = 32


def score_attributes(
    checkpoint_dir: Path,
    labels: LabelTable,
    board_dir: Path,
    *,
    split: str = "test",
    title: str = TITLE,
    printed: Mapping[str, float] | None = None,
    printed_table: str = "",
    printed_remark: str = "",
    allow_leaks: bool = False,
    device: str = "auto",
    progress: ProgressFactory = silent,
) -> TaskCard:
    """Score a checkpoint on labelled pictures.

    Args:
        checkpoint_dir: the folder `train_attributes` wrote.
        labels: pictures and labels (`table.read_labels`); genders are compared only where the network
            learned them.
        board_dir: the card and its table are written there.
        split: what the card calls this table.
        title: of the row, e.g. of an ablation.
        printed, printed_table, printed_remark: the paper's figures for that row, where it has any.
        allow_leaks: score although training saw some of these pictures or their groups.
        device: "auto" takes the GPU when there is one.
        progress: opens the progress display.

    Raises:
        DataError: no finished training, a damaged file, a value beyond the network's scale, or (unless
            `allow_leaks`) a picture or group that training saw.
        ConfigError: no such device.
    """
    chosen = choose_device(device)
    network, record = load_attributes(checkpoint_dir, chosen)
    top = max(one.feature for one in labels.pictures)
    if top > record.settings.top_value:
        raise DataError(f"{labels.name} holds value {top}, the network knows 0..{record.settings.top_value}")
    learned = _learned(labels, read_seen(checkpoint_dir))
    if any(learned) and not allow_leaks:
        raise DataError(
            f"training saw {sum(learned)} of the pictures to score, or others of their group; score other "
            "pictures, or allow leaks and have them marked"
        )
    rows: list[dict[str, object]] = []
    seconds = 0.0
    with progress("score", len(labels.pictures)) as bar:
        for start in range(0, len(labels.pictures), _PICTURES_AT_ONCE):
            part = labels.pictures[start : start + _PICTURES_AT_ONCE]
            pictures = [one.read() for one in part]
            begun = time.monotonic()
            features, genders = predict_attributes(network, record.settings, pictures)
            seconds += time.monotonic() - begun
            for place, one in enumerate(part):
                rows.append(
                    {
                        "picture": one.sha256[:32],
                        "feature": one.feature,
                        "said_feature": features[place],
                        "gender": _word(one.gender) if genders else "",
                        "said_gender": _word(genders[place]) if genders else "",
                        "was_learned": learned[start + place],
                    }
                )
            bar.advance(len(part))
    card = TaskCard(
        task="attributes",
        baseline=BASELINE,
        title=title,
        fidelity=Fidelity.FROM_TEXT.value,
        version=record.version,
        dataset=labels.name,
        dataset_digest=labels.digest(),
        split=split,
        items=len(rows),
        metrics={},
        parameters=sum(one.numel() for one in network.parameters()),
        seconds_per_item=seconds / len(rows),
        device=device_name(chosen),
        training=record.facts.model_copy(
            update={"settings": {**record.facts.settings, "about_labels": ABOUT_LABELS}}
        ),
        printed=dict(printed or {}),
        printed_table=printed_table,
        printed_remark=printed_remark,
    )
    return write_card(board_dir, card, rows)


def _word(gender: int) -> str:
    return "" if gender == UNKNOWN_GENDER else GENDERS[gender]


def _learned(labels: LabelTable, seen: list[SeenSample]) -> list[bool]:
    pictures = {one.image_sha256 for one in seen}
    groups = {one.group for one in seen if one.group}
    return [one.sha256 in pictures or one.group in groups for one in labels.pictures]
