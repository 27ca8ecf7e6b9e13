"""Every format to the suite to every format to the suite, over masks that are hard to keep."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Sample
from dataset_tools.formats.registry import FORMATS

NAMES = sorted(FORMATS)
EXACT = [name for name in NAMES if not FORMATS[name].loses]


@pytest.fixture(scope="module")
def matrix(load_fake):
    return load_fake("matrix")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ImageStore(tmp_path_factory.mktemp("store"), syncs=False)


@pytest.fixture(scope="module")
def hard(matrix, store) -> list[Sample]:
    samples: list[Sample] = matrix.hard_samples(store)
    return samples


@pytest.fixture(scope="module")
def once(matrix, store, hard, tmp_path_factory) -> dict[str, list[Sample]]:
    """Format -> what the suite has after one trip through it."""
    found = {}
    for name in NAMES:
        folder = matrix.write_samples(name, hard, store, tmp_path_factory.mktemp(name))
        found[name], rejections = matrix.read_samples(name, folder, store)
        assert rejections == [], name
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_format_loses_what_it_says_and_nothing_if_it_says_nothing(matrix, hard, once, name, capsys):
    kept = matrix.compare(hard, once[name])
    with capsys.disabled():
        print(f"\n{name:<18} {matrix.describe(kept)}", end="")
    assert kept.is_exact == (FORMATS[name].loses == "")
    assert kept.pictures == (len(hard), len(hard))


def masks_by_label(samples: list[Sample]) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Sample id -> label and mask of its instances, sorted."""
    return {
        sample.id: sorted((item.label.value, item.mask.counts) for item in sample.instances)
        for sample in samples
    }


def test_mfsd_keeps_every_face_mask_and_nothing_else(hard, once):
    wanted = [
        dataclasses.replace(
            sample, instances=tuple(item for item in sample.instances if item.label is Label.FACE_MASK)
        )
        for sample in hard
    ]
    assert masks_by_label(once["mfsd"]) == masks_by_label(wanted)


@pytest.mark.parametrize("name", ["panoptic", "voc"])
def test_one_layer_of_pixels_keeps_of_each_instance_what_lies_in_front(hard, once, name):
    order = ["face", "strap", "face_mask", "occluder"]
    wanted = []
    for sample in hard:
        behind_first = sorted(sample.instances, key=lambda item: order.index(item.label.value))
        visible, taken = [], np.zeros(sample.image.size_hw, dtype=bool)
        for item in reversed(behind_first):
            mask = rle_to_mask(item.mask) & ~taken
            taken |= mask
            if mask.any():
                visible.append(dataclasses.replace(item, mask=mask_to_rle(mask)))
        wanted.append(dataclasses.replace(sample, instances=tuple(visible)))
    assert masks_by_label(once[name]) == masks_by_label(wanted)


def test_celebamask_keeps_one_mask_for_each_label(hard, once):
    wanted = []
    for sample in hard:
        merged = []
        for label in Label:
            own = [rle_to_mask(item.mask) for item in sample.instances if item.label is label]
            if own:
                mask = mask_to_rle(np.logical_or.reduce(own))
                merged.append(dataclasses.replace(sample.instances[0], label=label, mask=mask))
        wanted.append(dataclasses.replace(sample, instances=tuple(merged)))
    assert masks_by_label(once["celebamask"]) == masks_by_label(wanted)


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_format_keeps_split_licence_author_and_attributes(hard, once, name):
    again = {sample.id: sample for sample in once[name]}
    for sample in hard:
        other = again[sample.id]
        assert (other.split, other.is_labelled) == (sample.split, True)
        assert other.provenance.licence == sample.provenance.licence
        assert other.provenance.author == sample.provenance.author
        for item in sample.instances:
            twins = [
                found for found in other.instances if (found.label, found.mask) == (item.label, item.mask)
            ]
            assert any(
                (found.attributes, found.drawn_by) == (item.attributes, item.drawn_by) for found in twins
            )


@pytest.mark.parametrize("first", NAMES)
def test_an_exact_format_adds_no_loss_to_whatever_came_before(matrix, store, once, first, tmp_path):
    for second in EXACT:
        folder = matrix.write_samples(second, once[first], store, tmp_path / second)
        again, rejections = matrix.read_samples(second, folder, store)
        assert rejections == []
        assert matrix.compare(once[first], again).is_exact, (first, second)


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.product(NAMES, [name for name in NAMES if name not in EXACT]))
)
def test_what_a_lossy_format_keeps_of_another_is_readable(matrix, store, once, first, second, tmp_path):
    folder = matrix.write_samples(second, once[first], store, tmp_path)
    again, rejections = matrix.read_samples(second, folder, store)
    assert rejections == []
    assert {sample.id for sample in again} == {sample.id for sample in once[first]}
    direct = matrix.compare(once[first], again)
    if first in EXACT:
        assert direct == matrix.compare(once[first], once[second])
