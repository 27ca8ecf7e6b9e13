"""The tables of MISA, Xu & Zheng, Zhakyp et al. and MSML; networks beyond the papers; the floors."""

from __future__ import annotations

from typing import Any

from baselines.registry import Printed
from baselines.suites.rows import Suite, SuiteRow, row

# -- MISA: background, face mask and face in one answer -------------------------------------------------

_THREE_CLASSES: dict[str, Any] = {"labels": ("face_mask", "face")}
_OWN_DATA = "three classes, 105 pictures of the paper's own data"


def _misa(baseline: str, title: str, printed: Printed) -> SuiteRow:
    return row(baseline, title, printed=printed, **_THREE_CLASSES)


def _mpa(name: str, mpa: float, milliseconds: float) -> Printed:
    values = (("mpa", mpa), ("fps", 1000 / milliseconds))
    return Printed(f"MISA, table 2, row {name}", values, _OWN_DATA)


def _pa(name: str, background: float, face_mask: float, face: float) -> Printed:
    values = (("pa_background", background), ("pa_face_mask", face_mask), ("pa_face", face))
    return Printed(f"MISA, table 3, row {name}", values, f"{_OWN_DATA}; its means differ from table 2")


MISA_TABLE_2 = Suite(
    "misa-table2",
    "MISA, table 2: segmentation of face and mask",
    (
        _misa("dlv3p_rs101", "DeepLabV3+, ResNeSt-101", _mpa("DeeplabV3+", 0.815, 195)),
        _misa("refinenet_rs101", "RefineNet, ResNeSt-101", _mpa("RefineNet", 0.802, 281)),
        _misa("maskrcnn_r101", "Mask R-CNN, ResNet-101", _mpa("Mask R-CNN", 0.899, 238)),
        _misa("misa", "MISA, coarse (ResNeSt-101, EIoU)", _mpa("Our Method", 0.911, 249)),
    ),
    note="the paper names ResNeSt-101 for all backbones, and ResNet for its Mask R-CNN in table 3",
)

MISA_TABLE_3 = Suite(
    "misa-table3",
    "MISA, table 3: edge segmentation",
    (
        _misa("maskrcnn_r101", "Mask R-CNN, ResNet-101", _pa("Mask R-CNN+ResNet", 0.9439, 0.9002, 0.8665)),
        _misa("maskrcnn_rs101", "Mask R-CNN, ResNeSt-101", _pa("Mask R-CNN+ResNeSt", 0.9488, 0.9106, 0.8827)),
        _misa("misa", "MISA, coarse (with EIoU)", _pa("Mask R-CNN+ResNeSt", 0.9488, 0.9106, 0.8827)),
        _misa("misa_edge", "MISA with edge segmentation", _pa("+edge", 0.9542, 0.9451, 0.8939)),
    ),
)

# -- Xu & Zheng -----------------------------------------------------------------------------------------

_OWN_SETS = "mean of the IoU of mask and background, on the paper's two sets, which are not published"


def _miou(table: str, name: str, first: float, second: float, remark: str = "") -> Printed:
    values = (("miou_set_1", first), ("miou_set_2", second))
    remark = f"{_OWN_SETS}; {remark}" if remark else _OWN_SETS
    return Printed(f"Xu & Zheng, table {table}, row {name}", values, remark)


def _compensation(name: str, title: str, first: float, second: float) -> SuiteRow:
    printed = _miou("3", title, first, second)
    return row("nbri_fcm", title, name.replace("_", "-"), printed=printed, options={"compensation": name})


XU_TABLE_3 = Suite(
    "xu-table3",
    "Xu & Zheng, table 3: compensation of the mask's region",
    (
        _compensation("inhibition", "Inhibition algorithm", 0.816, 0.875),
        _compensation("gray_world", "Grey world algorithm", 0.883, 0.941),
        _compensation("hist_eq", "Histogram equalization", 0.803, 0.823),
        _compensation("bilateral", "Bilateral filtering", 0.901, 0.919),
        _compensation("retinex", "Retinex algorithm", 0.846, 0.865),
        _compensation("gauss_pyr", "Gaussian pyramid fusion", 0.651, 0.775),
        _compensation("lap_pyr", "Laplacian pyramid fusion", 0.586, 0.814),
        _compensation("color_balance", "Color balance", 0.762, 0.764),
        _compensation("back_proj", "Inverse projection", 0.872, 0.926),
        _compensation("combined", "The combined algorithm of this paper", 0.914, 0.967),
    ),
    note="the combined algorithm is the pipeline that table 4 calls the proposed model, with other figures",
)

XU_TABLE_4 = Suite(
    "xu-table4",
    "Xu & Zheng, table 4: segmentation of the mask's region",
    (
        row("xu_threshold", "Threshold", printed=_miou("4", "Threshold segmentation", 0.6515, 0.8715)),
        row("xu_fcm", "Fuzzy c-means", printed=_miou("4", "Fuzzy c-means clustering", 0.8264, 0.9461)),
        row("xu_edge", "Edge detection", printed=_miou("4", "Edge detection", 0.8365, 0.9484)),
        row("xu_level_set", "Level set", printed=_miou("4", "Level set method", 0.8463, 0.9488)),
        row("xu_graph_cut", "Graph cut", printed=_miou("4", "Graph cut algorithm", 0.7464, 0.9064)),
        row("xu_unet", "U-Net", printed=_miou("4", "U-Net", 0.7994, 0.9075)),
        row(
            "nbri_fcm",
            "Spectral pipeline (proposed)",
            printed=_miou("4", "The proposed model", 0.8187, 0.9525, "table 3 prints .914 and .967 for it"),
        ),
    ),
    note="the text calls the proposed model best on both sets; on set 1 three rows of its table beat it",
)

# -- the others -----------------------------------------------------------------------------------------

ZHAKYP = Suite(
    "zhakyp",
    "Zhakyp et al.: their network as a row for the face mask",
    (row("dlv3p_se18", "DeepLabV3+ with squeeze-excitation", input_px=128),),
    note="the paper's own task, 18 labels of a face, is trained and scored as a task of its own",
)

MSML_OSB = Suite(
    "msml-osb",
    "MSML, table 5: the occlusion segmentation branch alone",
    (
        row("msml_osb_r18", "Occlusion branch, ResNet-18", input_px=112),
        row("msml_osb_r34", "Occlusion branch, ResNet-34", input_px=112),
    ),
    note="the paper scores drawn polygons (LFW_poly), not face masks",
)

BEYOND = Suite(
    "beyond",
    "Beyond the papers: newer decoders, and networks whose scores ABANet's release holds without a row",
    (
        row("segformer_mit_b2", "SegFormer, MiT-B2"),
        row("segformer_r50", "SegFormer decoder, ResNet-50"),
        row("upernet_convnext_t", "UPerNet, ConvNeXt-Tiny"),
        row("dpt_vit_s", "DPT, ViT-S/16"),
        row("fpn_r50", "FPN, ResNet-50"),
        row("pspnet_r50", "PSPNet, ResNet-50"),
        row("dlv3_r50", "DeepLabV3, ResNet-50"),
    ),
)

FLOORS = Suite(
    "floors",
    "Floors: what needs no learning; a model that does not clear them has learned nothing",
    (
        row("floor_prior", "Mean of the training labels"),
        row("floor_otsu", "Otsu's threshold"),
        row("floor_grabcut", "GrabCut from a rectangle"),
        row("floor_chan_vese", "Chan–Vese"),
    ),
)

OTHER_SUITES = (MISA_TABLE_2, MISA_TABLE_3, XU_TABLE_3, XU_TABLE_4, ZHAKYP, MSML_OSB, BEYOND, FLOORS)
