"""Floors of every table: what can be had without a network. A model below them has learned nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from baselines.registry import BaselineSpec, Fidelity, register_method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatMap = npt.NDArray[np.float32]
    RgbImage = npt.NDArray[np.uint8]
    Examples = Iterable[tuple[RgbImage, npt.NDArray[np.bool_]]]


def _floor(name: str, title: str, paper: str, paper_url: str, code_licence: str) -> BaselineSpec:
    return BaselineSpec(
        name=name,
        title=title,
        paper=paper,
        paper_url=paper_url,
        fidelity=Fidelity.FROM_TEXT,
        code_licence=code_licence,
        weights_licence="no weights",
        parameters=0,
        min_px=1,
        is_trained=False,
    )


def fit_prior(examples: Examples) -> dict[str, FloatMap]:
    """See `classical.prior.fit_average_mask`."""
    from baselines.classical.prior import fit_average_mask

    return fit_average_mask(examples)


def fit_place(examples: Examples) -> dict[str, FloatMap]:
    """See `classical.lower_face.fit_lower_face`."""
    from baselines.classical.lower_face import fit_lower_face

    return fit_lower_face(examples)


@register_method(
    _floor(
        "floor_prior",
        "Average mask of the training crops",
        "none: looks at no picture",
        "https://doi.org/10.1111/exsy.13625",
        "Apache-2.0",
    ),
    fit=fit_prior,
)
def floor_prior(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """The share of training labels that cover each pixel, learned at 64 × 64."""
    from baselines.classical.prior import average_mask

    return average_mask(fitted, len(square))


@register_method(
    _floor(
        "floor_otsu",
        "Otsu's threshold in the lower face",
        "Otsu, IEEE Trans. SMC 1979",
        "https://doi.org/10.1109/TSMC.1979.4310076",
        "Apache-2.0 (OpenCV)",
    ),
    fit=fit_place,
)
def floor_otsu(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """Brightness parted by Otsu's level inside the lower face; the side with more pixels is the mask."""
    from baselines.classical.lower_face import at_working_size, back_to, lower_face
    from baselines.classical.otsu import otsu_mask

    return back_to(len(square), otsu_mask(at_working_size(square), lower_face(fitted).mask()))


@register_method(
    _floor(
        "floor_grabcut",
        "GrabCut from a rectangle",
        "Rother et al., SIGGRAPH 2004",
        "https://doi.org/10.1145/1015706.1015720",
        "Apache-2.0 (OpenCV)",
    ),
    fit=fit_place,
)
def floor_grabcut(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """Five iterations from the lower face, at 256 × 256, as OpenCV answers."""
    from baselines.classical.grabcut import grabcut, grabcut_rectangle
    from baselines.classical.lower_face import WORKING_PX, at_working_size, back_to, lower_face

    rectangle = grabcut_rectangle(lower_face(fitted), WORKING_PX)
    return back_to(len(square), grabcut(at_working_size(square), rectangle))


@register_method(
    _floor(
        "floor_chan_vese",
        "Chan–Vese in the lower face",
        "Márquez-Neila et al., TPAMI 2014",
        "https://doi.org/10.1109/TPAMI.2013.106",
        "BSD-3-Clause (scikit-image)",
    ),
    fit=fit_place,
)
def floor_chan_vese(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """The lower face alone, parted into two even brightnesses; the side with more pixels is the mask."""
    from baselines.classical.level_set import chan_vese_within
    from baselines.classical.lower_face import at_working_size, back_to, lower_face

    return back_to(len(square), chan_vese_within(at_working_size(square), lower_face(fitted)))
