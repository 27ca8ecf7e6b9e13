"""Edge segmentation with judges that are known: what may change, what may not, and what it gains."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.models import build_network
from baselines.registry import option_names
from baselines.rpdsn.blocks import BACKGROUND, FACE, MASK, Blocks, refine, smallest_mixed_blocks
from baselines.rpdsn.settings import EdgeSettings
from dataset_tools.core.errors import ConfigError


def drawn(seed: int, size: int = 256) -> np.ndarray:
    """A face with a mask over its lower part, on background: true class numbers."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    y, x = size * rng.uniform(0.45, 0.55, 2)
    face = ((rows - y) / (size * 0.4)) ** 2 + ((columns - x) / (size * 0.32)) ** 2 < 1
    edge = y + size * 0.05 * np.sin(columns / size * rng.uniform(6, 14))
    return np.where(face, np.where(rows > edge, MASK, FACE), BACKGROUND).astype(np.uint8)


def shifted(truth: np.ndarray, down_px: int) -> np.ndarray:
    """A coarse answer: the same, but the mask's upper edge lies `down_px` lower."""
    coarse = truth.copy()
    moved = np.roll(truth == MASK, down_px, axis=0)
    coarse[(truth == MASK) & ~moved] = FACE
    return coarse


def oracle(truth: np.ndarray):
    def judge(blocks: Blocks) -> np.ndarray:
        return np.array(
            [
                (truth[y0:y1, x0:x1] == MASK).sum() >= (truth[y0:y1, x0:x1] == FACE).sum()
                for x0, y0, x1, y1 in blocks
            ]
        )

    return judge


def always(answer: bool):
    return lambda blocks: np.full(len(blocks), answer)


def pixel_accuracy(found: np.ndarray, truth: np.ndarray, label: int) -> float:
    return float((found[truth == label] == label).mean())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([64, 100, 255]))
def test_background_and_blocks_without_a_border_never_change(seed: int, size: int) -> None:
    coarse = drawn(seed, size)
    rng = np.random.default_rng(seed)
    after = refine(coarse, lambda blocks: rng.random(len(blocks)) < 0.5, EdgeSettings(least_change=0))
    assert ((after == BACKGROUND) == (coarse == BACKGROUND)).all()
    lines = [round(index * size / 8) for index in range(9)]
    for y0, y1 in pairwise(lines):
        for x0, x1 in pairwise(lines):
            before = coarse[y0:y1, x0:x1]
            if not ((before == MASK).any() and (before == FACE).any()):
                assert (after[y0:y1, x0:x1] == before).all()


@pytest.mark.parametrize("seed", range(5))
def test_an_oracle_brings_mask_and_face_closer_to_the_truth(seed: int) -> None:
    truth = drawn(seed)
    coarse = truth.copy()
    rng = np.random.default_rng(seed)
    border = (truth != BACKGROUND) & (np.roll(truth, 2, axis=0) != truth) | (
        np.roll(truth, -2, axis=0) != truth
    )
    border &= truth != BACKGROUND
    flipped = border & (rng.random(truth.shape) < 0.4)
    coarse[flipped] = np.where(truth[flipped] == MASK, FACE, MASK)
    after = refine(coarse, oracle(truth), EdgeSettings(min_block_px=2, depth=5))
    for label in (MASK, FACE):
        assert pixel_accuracy(after, truth, label) > pixel_accuracy(coarse, truth, label)


def test_passes_carry_a_wrong_border_towards_the_true_one() -> None:
    truth = drawn(3)
    coarse = shifted(truth, 3)
    wrong = [
        int((refine(coarse, oracle(truth), EdgeSettings(passes=count, least_change=0)) != truth).sum())
        for count in (1, 2, 3)
    ]
    assert int((coarse != truth).sum()) > wrong[0] > wrong[1] >= wrong[2]


def test_a_constant_judge_changes_only_the_smallest_mixed_blocks() -> None:
    coarse = drawn(1)
    chosen = EdgeSettings(passes=1)
    leaves = np.zeros(coarse.shape, dtype=bool)
    for x0, y0, x1, y1 in smallest_mixed_blocks(coarse, chosen):
        leaves[y0:y1, x0:x1] = True
        assert max(x1 - x0, y1 - y0) <= chosen.min_block_px
    for answer, label in ((True, MASK), (False, FACE)):
        after = refine(coarse, always(answer), chosen)
        assert (after[~leaves] == coarse[~leaves]).all()
        assert set(np.unique(after[leaves])) <= {BACKGROUND, label}


def test_after_a_pass_no_smallest_block_of_its_grid_is_mixed() -> None:
    after = refine(drawn(2), always(True), EdgeSettings(passes=1))
    assert len(smallest_mixed_blocks(after, EdgeSettings())) == 0


def test_a_block_is_cut_only_as_often_as_allowed() -> None:
    coarse = np.full((64, 64), FACE, dtype=np.uint8)
    coarse[40:, :] = MASK
    shallow = smallest_mixed_blocks(coarse, EdgeSettings(grid=2, depth=0))
    assert shallow.tolist() == [[0, 32, 32, 64], [32, 32, 64, 64]]
    deeper = smallest_mixed_blocks(coarse, EdgeSettings(grid=2, depth=1))
    assert deeper.tolist() == [[0, 32, 16, 48], [16, 32, 32, 48], [32, 32, 48, 48], [48, 32, 64, 48]]


def test_other_labels_never_change() -> None:
    coarse = drawn(4)
    coarse[100:140, 100:140] = 3
    after = refine(coarse, always(True), EdgeSettings())
    assert ((after == 3) == (coarse == 3)).all()


def test_nothing_to_judge_asks_nobody() -> None:
    def refuse(blocks: Blocks) -> np.ndarray:
        raise AssertionError("asked")

    plain = np.full((32, 32), FACE, dtype=np.uint8)
    assert (refine(plain, refuse, EdgeSettings()) == plain).all()


def test_the_row_has_the_settings_defaults_and_needs_both_labels() -> None:
    import inspect

    from baselines.models.misa_edge import misa_edge

    given_defaults = {name: one.default for name, one in inspect.signature(misa_edge).parameters.items()}
    for name, value in EdgeSettings().model_dump().items():
        assert given_defaults[name] == value and name in option_names("misa_edge")
    with pytest.raises(ConfigError, match="both labels"):
        build_network("misa_edge", 1, pretrained=False)
