"""Suites against the papers' tables, and every row of every suite can be built and trained."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from baselines.losses import find_loss
from baselines.registry import Printed, all_specs, build_network, find_spec
from baselines.settings import TrainSettings
from baselines.suites import (
    NOT_PRINTED,
    Suite,
    SuiteRow,
    all_suites,
    check_suite,
    find_suite,
    printed_of,
    settings_of,
)
from dataset_tools.core.errors import ConfigError, UnknownName
from dataset_tools.core.settings import parse_settings

NAMES = [suite.name for suite in all_suites()]

# ABANet's table 2 as the paper prints it: IoU, F1, precision, recall, accuracy in percent, in its order.
TABLE_2 = """
89.516 94.469 91.507 97.63  96.115
89.188 94.299 91.463 97.318 96.032
89.208 94.302 91.28  97.533 96.012
89.524 94.47  91.565 97.567 96.129
88.526 93.928 90.952 97.106 95.678
89.242 94.329 91.602 97.225 95.998
89.587 94.507 91.667 97.529 97.159
89.61  94.21  91.218 97.405 95.934
89.242 94.339 91.45  97.418 95.999
89.484 94.464 91.629 97.482 96.113
89.011 94.202 91.427 97.152 95.904
89.064 94.239 91.652 96.978 95.905
89.242 94.353 91.45  97.448 95.999
89.463 94.46  91.46  97.665 96.083
89.312 92.967 91.522 97.435 96.033
89.466 94.457 91.52  97.59  96.107
91.435 96.576 95.341 97.845 97.2
88.834 94.11  91.09  97.352 95.875
93.24  96.598 95.57  97.649 97.39
91.68  95.488 94.754 96.235 96.787
93.814 96.817 97.164 96.474 97.623
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_row_names_a_registered_baseline_with_options_it_has(name: str) -> None:
    check_suite(find_suite(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_row_makes_valid_settings_with_a_known_loss_and_its_own_folder(name: str) -> None:
    suite = find_suite(name)
    keys = Counter(row.key for row in suite.rows)
    assert suite.rows and max(keys.values()) == 1
    for row in suite.rows:
        assert set(row.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.")
        settings = parse_settings(TrainSettings, settings_of(suite, row), row.key)
        assert settings.baseline == row.baseline
        if settings.loss:
            find_loss(settings.loss)


def test_the_suites_of_the_issue_have_the_rows_of_their_tables() -> None:
    sizes = {suite.name: len(suite.rows) for suite in all_suites()}
    expected = {"abanet-table2": 21, "abanet-table4": 5, "abanet-table5": 4, "abanet-table6": 3}
    expected |= {"abanet-table7": 3, "abanet-table9": 4, "misa-table2": 4, "xu-table3": 10, "xu-table4": 7}
    expected |= {"msml-osb": 2, "zhakyp": 1, "floors": 4}
    assert expected.items() <= sizes.items()
    assert sizes["abanet-table8"] == 4 + 1  # an extra rate for SGD
    assert sizes["abanet-fig7"] == 4 + 1  # the released code's loss
    assert sizes["misa-table3"] == 3 + 1  # ResNeSt without and with EIoU
    assert sizes["quick"] == len(all_specs())


def test_table_2_prints_what_the_paper_prints() -> None:
    expected = [[float(cell) for cell in line.split()] for line in TABLE_2.strip().splitlines()]
    names = ("iou", "f1_of_means", "precision", "recall", "accuracy")
    found = []
    for row in find_suite("abanet-table2").rows:
        printed = printed_of(row)
        assert printed is not None
        found.append([round(100 * (printed.value(name) or 0.0), 3) for name in names])
    assert found == expected


def test_ablations_change_what_their_tables_are_about() -> None:
    by_key = {row.key: row for suite in all_suites() for row in suite.rows if suite.name != "quick"}
    assert by_key["baseline"].settings["options"] == {"refine": False, "ag_stages": []}
    assert by_key["stages-3-4-5-6"].settings["options"] == {"ag_stages": [3, 4, 5, 6]}
    assert [by_key[f"input-{side}"].settings["input_px"] for side in (128, 256, 512)] == [128, 256, 512]
    assert by_key["adamax"].settings["optimiser"] == "adamax"
    assert by_key["focal-iou"].settings["loss"] == "focal_iou"
    assert by_key["gauss-pyr"].settings["options"] == {"compensation": "gauss_pyr"}
    assert by_key["misa_edge"].settings["labels"] == ("face_mask", "face")


def test_the_first_row_of_table_5_is_basnet_without_its_refiner() -> None:
    import torch

    first = find_suite("abanet-table5").rows[0]
    with torch.device("meta"):
        network = build_network(first.baseline, 1, pretrained=False, **first.settings["options"])
    assert sum(one.numel() for one in network.parameters()) == 86_578_183


def test_an_ablation_that_is_not_printed_does_not_borrow_the_papers_row() -> None:
    extra = next(row for row in find_suite("abanet-table8").rows if row.key == "sgd-lr-1e-2")
    assert extra.printed is NOT_PRINTED
    assert printed_of(extra) is None
    own = printed_of(next(row for row in find_suite("abanet-table7").rows if row.key == "input-128"))
    assert own is not None and own.values == (("iou", 0.92576),)


def test_defaults_may_be_overridden_and_what_a_row_is_about_may_not() -> None:
    quick = find_suite("quick")
    row = next(row for row in quick.rows if row.baseline == "abanet")
    assert settings_of(quick, row, {"steps": 7})["steps"] == 7
    table = find_suite("abanet-table7")
    assert settings_of(table, table.rows[0], {"input_px": 128, "seed": 3})["seed"] == 3
    with pytest.raises(ConfigError, match="input_px 64: row input-128 of suite abanet-table7 is about"):
        settings_of(table, table.rows[0], {"input_px": 64})


def test_quick_respects_the_least_sizes_of_a_network() -> None:
    quick = find_suite("quick")
    for row in quick.rows:
        spec, values = find_spec(row.baseline), settings_of(quick, row)
        assert values["input_px"] >= spec.min_px and values["batch"] >= spec.least_batch
        assert values["pretrained"] is False


def test_an_unknown_suite_row_or_option_names_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="did you mean abanet-table2"):
        find_suite("abanet-tabel2")
    with pytest.raises(UnknownName, match="did you mean abanet"):
        check_suite(Suite("s", "S", (SuiteRow("a", "A", "abanett"),)))
    with pytest.raises(UnknownName, match="option of abanet"):
        check_suite(Suite("s", "S", (SuiteRow("a", "A", "abanet", {"options": {"gates": 1}}),)))


def test_a_suite_is_a_frozen_value() -> None:
    suite = find_suite("abanet-table9")
    with pytest.raises(AttributeError):
        suite.name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        suite.rows[0].settings["loss"] = "dice"  # type: ignore[index]
    assert isinstance(printed_of(suite.rows[0]), Printed)


def test_listing_suites_loads_no_model_library() -> None:
    heavy = ("torch", "cv2", "pandas", "timm", "pyarrow", "numpy", "pydantic")
    code = (
        f"import baselines.suites as s, sys; s.all_suites(); print([n for n in {heavy} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
