"""The paper's variants of MSML by name, with the figures it prints for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from baselines.verification.settings import NetworkSettings, OcclusionSettings, VerificationSettings
from dataset_tools.core.errors import UnknownName

_CASIA = "trained on CASIA-WebFace, 0.5 M faces, after MS-Celeb-1M; 6,000 pairs of LFW"
_MS1M = "trained on MS1MV2, 5.8 M faces; 6,000 pairs of LFW; which IoU is meant is not printed"


@dataclass(frozen=True, slots=True)
class Ablation:
    """One variant.

    Attributes:
        name: e.g. "msml_v3".
        title: for tables.
        settings: what to train.
        printed: the paper's figures by the names of `verification.task`, in [0, 1].
        printed_table: where they stand; "" when the paper has no such row.
        remark: what the paper's figures were measured on.
    """

    name: str
    title: str
    settings: VerificationSettings
    printed: Mapping[str, float]
    printed_table: str = ""
    remark: str = ""


def _table_4(number: int, mixed: float, clean: float | None = None, **network: Any) -> Ablation:
    chosen = NetworkSettings(branch="l29", **network)
    printed = {"accuracy_mixed": mixed} | ({} if clean is None else {"accuracy_clean": clean})
    return Ablation(
        f"msml_v{number}",
        f"v{number}: {network_title(chosen)}",
        VerificationSettings(network=chosen),
        MappingProxyType(printed),
        "MSML, table 4" if clean is None else "MSML, tables 4 and 1",
        _CASIA,
    )


def network_title(network: NetworkSettings) -> str:
    """What a table calls a network: branch, (T, S, R, F), and every departure from the paper's best."""
    branch = network.branch.upper()
    if not network.layers:
        return branch
    operator = f"{network.sight}, {network.kernel}, {network.blocks}, {network.activation}"
    parts = [f"MSML({branch}) ({operator})"]
    if network.layers != (1, 2, 3, 4):
        parts.append(f"layers {','.join(map(str, network.layers))}")
    if network.osb_depth != 18:
        parts.append(f"O{network.osb_depth}")
    if network.residual:
        parts.append("residual")
    if not network.detach:
        parts.append("attached")
    return " ".join(parts)


def _a18(
    name: str, printed: Mapping[str, float], table: str, *, occluded: bool = True, **network: Any
) -> Ablation:
    chosen = NetworkSettings(branch="a18", **network)
    return Ablation(
        name,
        network_title(chosen) + ("" if occluded else " without occlusions"),
        VerificationSettings(network=chosen, occlusion=OcclusionSettings(enabled=occluded)),
        MappingProxyType(dict(printed)),
        table,
        _MS1M if table else "",
    )


_SEG: dict[str, Any] = {"sight": "seg", "kernel": 1, "blocks": 0}

ABLATIONS: tuple[Ablation, ...] = (
    _table_4(0, 0.8837, 0.9933, layers=()),
    _table_4(1, 0.9300, **_SEG, activation="bin"),
    _table_4(2, 0.9388, **_SEG, activation="tan"),
    _table_4(3, 0.9443, **_SEG),
    _table_4(4, 0.9413, **_SEG | {"kernel": 3}),
    _table_4(5, 0.9496, **_SEG | {"blocks": 1}),
    _table_4(6, 0.9507, **_SEG | {"blocks": 2}),
    _table_4(7, 0.9527, kernel=1, blocks=0),
    _table_4(8, 0.9587, blocks=0),
    _table_4(9, 0.9620, blocks=1),
    _table_4(10, 0.9630, 0.9940),
    _table_4(11, 0.9173, layers=(2, 3, 4)),
    _table_4(12, 0.9540, layers=(1, 3, 4)),
    _table_4(13, 0.9535, layers=(1, 2, 4)),
    _table_4(14, 0.9027, layers=(1, 2, 3)),
    _a18("arcface18_plain", {"accuracy_polygons": 0.9947}, "MSML, table 5", layers=(), occluded=False),
    _a18(
        "arcface18",
        {"accuracy_clean": 0.9977, "accuracy_polygons": 0.9953},
        "MSML, tables 1 and 5",
        layers=(),
    ),
    _a18(
        "msml_a18",
        {"accuracy_clean": 0.9983, "accuracy_polygons": 0.9982, "occlusion_iou_polygons": 0.9767},
        "MSML, tables 1 and 5",
    ),
    _a18(
        "msml_a18_o34",
        {"accuracy_polygons": 0.9972, "occlusion_iou_polygons": 0.9790},
        "MSML, table 5",
        osb_depth=34,
    ),
    # Switches of ours, without printed figures (D-17 and the paper's "detach link").
    _a18("msml_a18_residual", {}, "", residual=True),
    _a18("msml_a18_attached", {}, "", detach=False),
)


def find_ablation(name: str) -> Ablation:
    """The variant of that name.

    Raises:
        UnknownName: there is none; lists the nearest.
    """
    known = {one.name: one for one in ABLATIONS}
    if name not in known:
        raise UnknownName("variant of MSML", name, known)
    return known[name]


def ablation_of(settings: VerificationSettings) -> Ablation | None:
    """The paper's variant that these settings train, whatever data, steps or rates; None when it has none."""
    for one in ABLATIONS:
        listed = one.settings
        is_drawn = listed.occlusion.enabled == settings.occlusion.enabled
        if listed.network == settings.network and is_drawn:
            return one
    return None
