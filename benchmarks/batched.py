"""Faces per second of the batched renderer at 256 and 512 pixels, on the device at hand.

    uv run python benchmarks/batched.py [--device cuda] [--batch 32]

Needs no photos: the faces are the canonical one, turned and coloured at random on noise. Laying out the
scenes (hang the mask, light the cloth) is CPU work that data workers share out, so it is timed apart from
drawing on the device. Without a GPU the figures are those of the CPU and say so.
"""

from __future__ import annotations

import argparse
import statistics
import time

import machine
import numpy as np
import torch

from synth.assets import draw_garment
from synth.batch.draw import Job, draw_batch
from synth.geometry import build_face
from synth.placement import fit_head_frame
from synth.render import composite, draw_scene
from synth.scene import Effects, set_scene
from synth.topology import canonical_face

FACE_MM = 165.0  # height of the landmarks of the mean face


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=0, help="faces at once; 0: 64 on a GPU, 4 on a CPU")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    batch = options.batch or (64 if on_gpu else 4)
    if not on_gpu:
        torch.set_num_threads(1)
    figures: dict[str, object] = {
        "machine": machine.describe(),
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU, one thread",
        "batch": batch,
        "runs": options.runs,
        "cuda": "measured" if on_gpu else "not measured: no CUDA device",
    }
    rows = []
    for face_px in (256, 512):
        found = _measure(face_px, batch, options.runs, device)
        figures[f"{face_px}_px"] = found
        rows.append((f"{face_px} px", *found.values()))
    header = ("face", "drawn, faces/s", "laid out, faces/s and core", "reference, faces/s and core")
    lines = [
        "# Batched renderer",
        "",
        f"Device: {figures['device']}; batches of {batch}, median of {options.runs} runs. "
        f"CUDA: {figures['cuda']}.",
        "",
        *machine.table(header, rows),
    ]
    machine.write("batched-cuda" if on_gpu else "batched-cpu", figures, lines)


def _measure(face_px: int, batch: int, runs: int, device: torch.device) -> dict[str, float]:
    drawn, laid_out, reference = [], [], []
    # On a CPU the processor time of this one thread, which other programs do not lengthen.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for run in range(runs + 1):
        start = clock()
        jobs = [_job(face_px, seed) for seed in range(run * batch, (run + 1) * batch)]
        laid_out.append(batch / (clock() - start))
        start = clock()
        draw_batch(jobs, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        drawn.append(batch / (clock() - start))
        start = clock()
        few = jobs[:4]
        for job in few:
            nobody = np.zeros(job.photo.shape[:2], dtype=np.float32)
            composite(job.photo, draw_scene(job.scene, job.photo, nobody))
        reference.append(len(few) / (clock() - start))
    # The first run warms up.
    return {
        "drawn_faces_per_second": round(statistics.median(drawn[1:]), 1),
        "laid_out_faces_per_second": round(statistics.median(laid_out[1:]), 1),
        "reference_drawn_faces_per_second": round(statistics.median(reference[1:]), 1),
    }


def _job(face_px: int, seed: int) -> Job:
    rng = np.random.default_rng(seed)
    yaw, roll = np.radians(rng.uniform(-35, 35)), np.radians(rng.uniform(-15, 15))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    side = round(face_px * 1.6)
    vertices = canonical_face().vertices_mm
    points = np.concatenate([vertices, np.zeros((10, 3))]) @ (tilt @ turn).T * (face_px / FACE_MM)
    points += np.array([side / 2, side * 0.42, 0.0])
    photo = np.clip(rng.normal(rng.uniform(90, 180, 3), 6, (side, side, 3)), 0, 255).astype(np.uint8)
    face = build_face(points, fit_head_frame(points))
    garment = draw_garment("surgical", "correct", rng)
    return Job(set_scene(photo, face, garment, Effects()), photo)


if __name__ == "__main__":
    main()
