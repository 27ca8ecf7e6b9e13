"""Xu & Zheng's tables 1 and 2 as lists of settings, with the figures they print.

The two last columns of both tables, mIoU and pixel accuracy, are of the mask pipeline run on the faces; the
attribute network has no part in it, so they are kept for the record and not measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baselines.attributes.settings import AttributeSettings, LossSettings, VggSettings

CE_WEIGHTS = (0.1, 0.5, 1.0, 2.0)
"""The weight the paper calls "x" and does not give (D-13)."""

_TABLE_1_REMARK = (
    'rows are labelled "before" a step while the text reads them as "with" it; taken as steps that add up. '
    "The final network is not best in every column."
)
_TABLE_2_REMARK = (
    "the first row differs from table 1's row of the same name; the terms are taken as added one by one."
)
_COLUMNS = ("feature_accuracy", "gender_accuracy", "mask_miou", "mask_pixel_accuracy")
_UNREDUCED_PX = 256  # the paper calls 224, VGG's own size, the smaller input and does not name the larger one
_REDUCED_PX = 224


@dataclass(frozen=True, slots=True)
class Ablation:
    """One row of a table.

    Attributes:
        name: unique within the table, snake case.
        title: for tables.
        settings: to train it with.
        printed: the paper's figures in [0, 1].
        table: where they stand.
        remark: what is known to be wrong with them, and what was chosen here.
    """

    name: str
    title: str
    settings: AttributeSettings
    printed: Mapping[str, float]
    table: str
    remark: str


def table_1(base: AttributeSettings) -> tuple[Ablation, ...]:
    """The steps from VGG-11 to the final network, each on top of the one before.

    Until the last row the loss is plain cross entropy: only the final network has the paper's own (choice).

    Args:
        base: everything the steps leave open: budget, seed, start, and whether gender is learned.
    """
    plain = LossSettings(l1=0, kl=0, ce=0, classes=1)
    large = VggSettings(keep_conv8=True, keep_fc=True, head="linear")
    slim = VggSettings(head="linear")
    steps: list[tuple[str, str, dict[str, object], tuple[float, ...]]] = [
        (
            "original",
            "VGG-11 as published",
            {"network": large, "input_px": _UNREDUCED_PX, "combined": False, "loss": plain},
            (0.95015, 0.82131, 0.74646, 0.82451),
        ),
        ("no_conv8_fc", "without conv8, FC1, FC2", {"network": slim}, (0.95416, 0.84416, 0.79156, 0.81566)),
        ("input_224", "+ input 224", {"input_px": _REDUCED_PX}, (0.95311, 0.86414, 0.81515, 0.87741)),
        ("fc3_conv", "+ FC3 as convolution", {"network": VggSettings()}, (0.9864, 0.85616, 0.80515, 0.87156)),
        ("combined", "+ one softmax for both", {"combined": True}, (0.98153, 0.86155, 0.80521, 0.87515)),
        ("final", "final network", {"loss": base.loss}, (0.96415, 0.8761, 0.81502, 0.87514)),
    ]
    return _rows("Xu & Zheng, table 1", _TABLE_1_REMARK, base, steps)


def table_2(base: AttributeSettings) -> tuple[Ablation, ...]:
    """The final network with the loss built up term by term.

    L1 alone teaches no gender, so plain cross entropy of the classes stays until the gender term is in
    (choice; the last two rows are equation 15 without and with KL).

    Args:
        base: as in `table_1`.
    """
    whole = base.loss
    steps: list[tuple[str, str, dict[str, object], tuple[float, ...]]] = [
        (
            "original",
            "plain cross entropy",
            {"loss": whole.model_copy(update={"l1": 0.0, "kl": 0.0, "ce": 0.0, "classes": 1.0})},
            (0.91546, 0.85156, 0.76481, 0.82545),
        ),
        (
            "l1",
            "+ L1",
            {"loss": whole.model_copy(update={"kl": 0.0, "ce": 0.0, "classes": 1.0})},
            (0.96151, 0.8458, 0.81651, 0.86741),
        ),
        (
            "ce",
            "+ gender cross entropy",
            {"loss": whole.model_copy(update={"kl": 0.0})},
            (0.97544, 0.95615, 0.81565, 0.86165),
        ),
        ("kl", "+ KL", {"loss": whole}, (0.98484, 0.96651, 0.81677, 0.89566)),
    ]
    return _rows("Xu & Zheng, table 2", _TABLE_2_REMARK, base, steps)


def ce_sweep(base: AttributeSettings) -> tuple[Ablation, ...]:
    """The final network at each weight of `CE_WEIGHTS`; the paper prints nothing for them."""
    return tuple(
        Ablation(
            name=f"ce_{weight:g}",
            title=f"gender cross entropy x {weight:g}",
            settings=base.model_copy(update={"loss": base.loss.model_copy(update={"ce": weight})}),
            printed={},
            table="",
            remark="",
        )
        for weight in CE_WEIGHTS
    )


def _rows(
    table: str,
    remark: str,
    base: AttributeSettings,
    steps: list[tuple[str, str, dict[str, object], tuple[float, ...]]],
) -> tuple[Ablation, ...]:
    settings = base
    rows = []
    for name, title, changes, printed in steps:
        settings = settings.model_copy(update=changes)
        figures = dict(zip(_COLUMNS, printed, strict=True))
        if not base.gender:
            # A row that does not learn gender has nothing to set beside that figure.
            del figures["gender_accuracy"]
        rows.append(Ablation(name, title, settings, figures, table, remark))
    return tuple(rows)
