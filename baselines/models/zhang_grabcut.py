"""Zhang's GrabCut: a row of ABANet's table 4 (`baselines.md` section 1.9). A stand-in: no source exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from baselines.registry import BaselineSpec, Fidelity, Printed, register_method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatMap = npt.NDArray[np.float32]
    RgbImage = npt.NDArray[np.uint8]


def fit_place(examples: Iterable[tuple[RgbImage, npt.NDArray[np.bool_]]]) -> dict[str, FloatMap]:
    """See `classical.lower_face.fit_lower_face`."""
    from baselines.classical.lower_face import fit_lower_face

    return fit_lower_face(examples)


@register_method(
    BaselineSpec(
        name="zhang_grabcut",
        title="GrabCut (Zhang 2022)",
        paper="ABANet (Expert Systems)",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.STAND_IN,
        code_licence="Apache-2.0 (OpenCV)",
        weights_licence="no weights",
        parameters=0,
        min_px=1,
        is_trained=False,
        printed=Printed(
            table="ABANet, table 4, row Zhang (GrabCut)",
            values=(
                ("iou", 0.812),
                ("f1_of_means", 0.8866),
                ("mae", 0.172),
                ("f_max", 0.825),
                ("fps", 273.0),
            ),
            remark="neither which F_beta nor what device is said; GrabCut at 256 px is far slower on a CPU",
        ),
    ),
    fit=fit_place,
)
def zhang_grabcut(square: RgbImage, fitted: Mapping[str, FloatMap]) -> FloatMap:
    """GrabCut from the lower face at 256 × 256, a 3×3 opening, and the largest part of it."""
    from baselines.classical.grabcut import cleaned, grabcut, grabcut_rectangle
    from baselines.classical.lower_face import WORKING_PX, at_working_size, back_to, lower_face

    rectangle = grabcut_rectangle(lower_face(fitted), WORKING_PX)
    return back_to(len(square), cleaned(grabcut(at_working_size(square), rectangle)))
