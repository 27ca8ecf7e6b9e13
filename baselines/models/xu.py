"""Xu & Zheng's spectral pipeline and the methods it is compared with (`baselines.md` sections 3.4 to 3.6).

The paper prints mean IoU over mask and background on two sample sets that it does not describe further.
Its U-Net row is a trained network and stands in another file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from baselines.registry import BaselineSpec, Fidelity, Printed, register_method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatMap = npt.NDArray[np.float32]
    RgbImage = npt.NDArray[np.uint8]
    Examples = Iterable[tuple[RgbImage, npt.NDArray[np.bool_]]]


_PAPER = "Xu & Zheng, Traitement du Signal 2023"
_PAPER_URL = "https://doi.org/10.18280/ts.400221"
_DISAGREES = (
    "the text calls the proposed method best on both sets, but on set 1 fuzzy c-means, edges and level sets "
    "beat it; for the same pipeline table 3 prints .914/.967 and table 4 .8187/.9525"
)

# Mean IoU on sample set 1 and 2 by `compensation` of nbri_fcm.
_TABLE_3 = {
    "inhibition": (0.816, 0.875),
    "gray_world": (0.883, 0.941),
    "hist_eq": (0.803, 0.823),
    "bilateral": (0.901, 0.919),
    "retinex": (0.846, 0.865),
    "gauss_pyr": (0.651, 0.775),
    "lap_pyr": (0.586, 0.814),
    "color_balance": (0.762, 0.764),
    "back_proj": (0.872, 0.926),
    "combined": (0.914, 0.967),
}


def _printed(table: str, row: str, sets: tuple[float, float], remark: str = "") -> Printed:
    values = (("miou_set1", sets[0]), ("miou_set2", sets[1]))
    return Printed(table=f"Xu & Zheng, table {table}, row {row}", values=values, remark=remark)


def printed_compensation(compensation: str) -> Printed | None:
    """Table 3's figures for `nbri_fcm` with that compensation; None where the paper has no such row."""
    sets = _TABLE_3.get(compensation)
    if sets is None:
        return None
    return _printed("3", compensation, sets, _DISAGREES if compensation == "combined" else "")


def _row(name: str, title: str, row: str, sets: tuple[float, float], remark: str = "") -> BaselineSpec:
    return BaselineSpec(
        name=name,
        title=title,
        paper=_PAPER,
        paper_url=_PAPER_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="Apache-2.0 (OpenCV), BSD-3-Clause (scikit-image)",
        weights_licence="no weights",
        parameters=0,
        min_px=1,
        is_trained=False,
        printed=_printed("4", row, sets, remark),
    )


def fit_place(examples: Examples) -> dict[str, FloatMap]:
    """See `classical.lower_face.fit_lower_face`."""
    from baselines.classical.lower_face import fit_lower_face

    return fit_lower_face(examples)


def fit_place_and_texture(examples: Examples) -> dict[str, FloatMap]:
    """See `classical.pipeline.fit_spectral`."""
    from baselines.classical.pipeline import fit_spectral

    return fit_spectral(examples)


@register_method(_row("xu_threshold", "Otsu's threshold on NBRI", "threshold", (0.6515, 0.8715)))
def xu_threshold(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """Where blue outweighs red by more than Otsu's level, anywhere on the crop."""
    from baselines.classical.lower_face import at_working_size, back_to
    from baselines.classical.pipeline import threshold_mask

    return back_to(len(square), threshold_mask(at_working_size(square)))


@register_method(_row("xu_fcm", "Fuzzy c-means on NBRI and NMRI", "fcm", (0.8264, 0.9461)), fit=fit_place)
def xu_fcm(
    square: RgbImage,
    fitted: Mapping[str, FloatMap],
    *,
    sign: Literal["auto", "paper", "reversed"] = "auto",
    smoothing: Literal["median", "bilateral"] = "median",
) -> FloatMap:
    """Steps 1 to 3 of `nbri_fcm`; options as there."""
    from baselines.classical.lower_face import at_working_size, back_to, lower_face
    from baselines.classical.pipeline import SpectralOptions, first_cluster

    options = SpectralOptions(sign=sign, smoothing=smoothing)
    return back_to(len(square), first_cluster(at_working_size(square), lower_face(fitted), options))


@register_method(_row("xu_edge", "Edge detection (Canny)", "edge", (0.8365, 0.9484)), fit=fit_place)
def xu_edge(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """The largest area between closed edges in the lower face."""
    from baselines.classical.edge import edge_mask
    from baselines.classical.lower_face import at_working_size, back_to, lower_face

    return back_to(len(square), edge_mask(at_working_size(square), lower_face(fitted).mask()))


@register_method(_row("xu_level_set", "Level set", "level set", (0.8463, 0.9488)), fit=fit_place)
def xu_level_set(
    square: RgbImage, fitted: Mapping[str, FloatMap], *, kind: Literal["chan_vese", "geodesic"] = "chan_vese"
) -> FloatMap:
    """100 iterations over the whole crop from the ellipse in the lower face.

    Raises:
        ConfigError: `kind` is not one of the two of `level_set.level_set_mask`.
    """
    from baselines.classical.level_set import level_set_mask
    from baselines.classical.lower_face import at_working_size, back_to, lower_face

    start = lower_face(fitted).ellipse()
    return back_to(len(square), level_set_mask(at_working_size(square), start, kind))


@register_method(_row("xu_graph_cut", "Graph cut (GrabCut)", "graph cut", (0.7464, 0.9064)), fit=fit_place)
def xu_graph_cut(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """The same computation as `zhang_grabcut`: both papers leave open what surrounds GrabCut."""
    from baselines.classical.grabcut import cleaned, grabcut, grabcut_rectangle
    from baselines.classical.lower_face import WORKING_PX, at_working_size, back_to, lower_face

    rectangle = grabcut_rectangle(lower_face(fitted), WORKING_PX)
    return back_to(len(square), cleaned(grabcut(at_working_size(square), rectangle)))


@register_method(
    _row("nbri_fcm", "NBRI + fuzzy c-means (Xu & Zheng)", "proposed", (0.8187, 0.9525), _DISAGREES),
    fit=fit_place_and_texture,
)
def nbri_fcm(
    square: RgbImage,
    fitted: Mapping[str, FloatMap],
    *,
    compensation: str = "combined",
    rule: Literal["corrected", "literal"] = "corrected",
    sign: Literal["auto", "paper", "reversed"] = "auto",
    smoothing: Literal["median", "bilateral"] = "median",
    most_mi: float = 5.0,
    largest_only: bool = False,
) -> FloatMap:
    """The whole pipeline.

    Args:
        square: (S, S, 3) uint8.
        fitted: the lower face and the texture limit P2; without a limit every texture passes.
        compensation: "none", "inhibition", "gray_world", "hist_eq", "clahe", "bilateral", "retinex",
            "gauss_pyr", "lap_pyr", "color_balance", "back_proj" or "combined".
        rule: of equation 22, "corrected" (D-14) or "literal".
        sign: "paper" takes larger indices for mask, "reversed" smaller ones, "auto" decides on each picture.
        smoothing: of the first step.
        most_mi: P1, the most elongated area that is kept; a filled square has 2.
        largest_only: answer the largest kept area alone.

    Raises:
        ConfigError: an option has a value it does not know.
    """
    from baselines.classical.lower_face import at_working_size, back_to, lower_face
    from baselines.classical.pipeline import MOST_PO, SpectralOptions, spectral_mask

    options = SpectralOptions(compensation, rule, sign, smoothing, most_mi, largest_only)
    most_po = float(fitted[MOST_PO][0]) if MOST_PO in fitted else float("inf")
    return back_to(len(square), spectral_mask(at_working_size(square), lower_face(fitted), most_po, options))
