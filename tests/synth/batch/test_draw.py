"""The batched renderer draws what the reference renderer draws."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from synth.assets import DESIGNS, draw_garment
from synth.batch.draw import Job, draw_batch
from synth.geometry import build_face
from synth.placement import fit_head_frame
from synth.render import composite, draw_scene
from synth.scene import Effects, set_scene

EVERYTHING = Effects()


def iou(one: np.ndarray, other: np.ndarray) -> float:
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else 1.0


def stored_as_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    _, stored = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])


def job_of(portrait, design: str, seed: int, effects: Effects = EVERYTHING) -> Job:
    face = build_face(portrait.points, fit_head_frame(portrait.points))
    garment = draw_garment(design, "correct", np.random.default_rng(seed))
    return Job(set_scene(portrait.rgb, face, garment, effects), portrait.rgb)


def compare(jobs: list[Job], device: str = "cpu") -> list[np.ndarray]:
    """Checks labels and untouched pixels; gives the colour differences of the touched ones."""
    differences = []
    for job, drawn in zip(jobs, draw_batch(jobs, device), strict=True):
        nobody = np.zeros(job.photo.shape[:2], np.float32)
        dressing = draw_scene(job.scene, job.photo, nobody if job.in_front is None else job.in_front)
        x, y, width, height = dressing.box
        expected = composite(job.photo, dressing)[y : y + height, x : x + width]
        assert drawn.box == dressing.box
        for mine, theirs in (
            (drawn.mask, dressing.mask.alpha),
            (drawn.strap, dressing.loops.alpha),
            (drawn.amodal, dressing.amodal),
        ):
            assert iou(mine >= 32768, theirs >= 0.5) >= 0.995
        touched = (dressing.mask.alpha > 0) | (dressing.loops.alpha > 0) | (dressing.shadow > 0)
        assert np.abs(drawn.shadow - dressing.shadow * 255).max() <= 1
        difference = np.abs(drawn.picture.astype(int) - expected)
        assert not difference[~touched & (drawn.mask == 0) & (drawn.strap == 0) & (drawn.shadow == 0)].any()
        differences.append(difference[touched])
    return differences


@pytest.fixture(scope="module")
def portraits(astronaut, hopper):
    small = hopper.shrunk(0.6)
    return [astronaut.shrunk(0.7), small, replace(small, rgb=stored_as_jpeg(small.rgb, 70))]


@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_labels_and_colours_equal_the_reference_for_every_design(design, portraits):
    jobs = [job_of(portrait, design, seed) for seed, portrait in enumerate(portraits)]
    differences = compare(jobs)
    assert np.quantile(np.concatenate(differences), 0.99) <= 2


def test_what_is_in_front_and_faces_cut_by_the_border_are_drawn_alike(astronaut):
    cut = replace(astronaut, rgb=np.ascontiguousarray(astronaut.rgb[:, : int(astronaut.points[4, 0]) + 20]))
    in_front = np.zeros(astronaut.rgb.shape[:2], np.float32)
    in_front[:, : int(astronaut.points[4, 0])] = 0.7
    jobs = [job_of(cut, "surgical", 1), replace(job_of(astronaut, "cloth", 2), in_front=in_front)]
    assert np.quantile(np.concatenate(compare(jobs)), 0.99) <= 2


@pytest.mark.parametrize("effect", ["light", "shadow", "camera"])
def test_effects_can_be_left_out_as_in_the_reference(effect, astronaut):
    differences = compare([job_of(astronaut, "cloth", 3, replace(Effects(), **{effect: False}))])
    assert np.quantile(differences[0], 0.99) <= 2


def test_a_jpeg_state_is_found_and_drawn_in_this_test_at_all(portraits):
    states = [job_of(portrait, "surgical", 0).scene.state for portrait in portraits]
    assert any(state.jpeg for state in states) and any(state.jpeg is None for state in states)


def test_the_neighbours_in_a_batch_change_nothing(portraits):
    jobs = [job_of(portrait, "cloth", 5) for portrait in portraits]
    together = draw_batch(jobs)
    for job, drawn in zip(jobs, together, strict=True):
        (alone,) = draw_batch([job])
        assert np.array_equal(alone.mask, drawn.mask)
        assert np.abs(alone.picture.astype(int) - drawn.picture).max() <= 1


def test_no_jobs_and_faces_outside_the_picture_come_back_empty(astronaut):
    away = replace(astronaut, points=astronaut.points + np.array([5000.0, 0.0, 0.0]))
    (drawn,) = draw_batch([job_of(away, "surgical", 0)])
    assert drawn.picture.size == 0 and drawn.mask.size == 0
    assert draw_batch([]) == []


@pytest.mark.gpu
def test_a_gpu_draws_what_the_cpu_draws(portraits):
    assert torch.cuda.is_available()
    jobs = [job_of(portrait, design, 4) for portrait in portraits for design in sorted(DESIGNS)]
    assert np.quantile(np.concatenate(compare(jobs, "cuda")), 0.99) <= 2
    first, again = draw_batch(jobs, "cuda"), draw_batch(jobs, "cuda")
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first, again, strict=True))
