from __future__ import annotations

import numpy as np

from synth.raster import nearer_part, prepare, rasterise


def brute_force(vertices: np.ndarray, triangles: np.ndarray, height: int, width: int) -> np.ndarray:
    """Depth by testing every pixel centre against every triangle with barycentric coordinates."""
    depth = np.full((height, width), np.inf)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    for a, b, c in vertices[triangles]:
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        wb = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        wc = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        inside = (wb >= 0) & (wc >= 0) & (wb + wc <= 1)
        z = a[2] + wb * (b[2] - a[2]) + wc * (c[2] - a[2])
        depth = np.where(inside & (z < depth), z, depth)
    return depth


def test_random_triangles_match_a_brute_force_z_buffer():
    rng = np.random.default_rng(5)
    vertices = rng.uniform(-10, 60, size=(60, 3))
    triangles = np.array([rng.choice(60, 3, replace=False) for _ in range(40)])
    found = rasterise(vertices, triangles, (0, 0, 50, 45)).depth_map()
    expected = brute_force(vertices, triangles, 45, 50)
    assert np.array_equal(np.isfinite(found), np.isfinite(expected))
    seen = np.isfinite(found)
    assert np.abs(found[seen] - expected[seen]).max() < 1e-3


def test_a_fan_around_a_point_covers_every_sample_exactly_once():
    angle = np.linspace(0, 2 * np.pi, 37)[:-1]
    rim = np.stack([20 + 17.3 * np.cos(angle), 20 + 17.3 * np.sin(angle), np.zeros(36)], axis=1)
    vertices = np.concatenate([rim, [[20.5, 20.5, 0.0]]])
    single = [rasterise(vertices, np.array([[k, (k + 1) % 36, 36]]), (0, 0, 40, 40)) for k in range(36)]
    times = sum(np.bincount(hit.sample, minlength=1600) for hit in single)
    assert times.max() == 1
    y, x = np.mgrid[0:40, 0:40] + 0.5
    well_inside = np.hypot(x - 20, y - 20) < 17.3 * np.cos(np.pi / 36) - 1e-6
    assert times.reshape(40, 40)[well_inside].min() == 1


def test_values_are_linear_across_a_triangle_and_samples_are_centred():
    vertices = np.array([[0.0, 0.0, 0.0], [40.0, 0.0, 0.0], [0.0, 40.0, 0.0]])
    hits = rasterise(vertices, np.array([[0, 1, 2]]), (2, 3, 10, 10), scale=2, values=vertices[:, :2])
    row, column = np.divmod(hits.sample, 20)
    assert np.abs(hits.values[:, 0] - (2 + (column + 0.5) / 2)).max() < 1e-4
    assert np.abs(hits.values[:, 1] - (3 + (row + 0.5) / 2)).max() < 1e-4
    assert len(hits.sample) == 400


def test_no_triangles_and_an_empty_window_hit_nothing():
    vertices = np.zeros((3, 3))
    assert rasterise(vertices, np.zeros((0, 3), dtype=int), (0, 0, 8, 8)).sample.size == 0
    assert rasterise(vertices, np.array([[0, 1, 2]]), (0, 0, 8, 8)).sample.size == 0
    big = np.array([[-9.0, -9.0, 1.0], [99.0, -9.0, 1.0], [-9.0, 99.0, 1.0]])
    assert rasterise(big, np.array([[0, 1, 2]]), (0, 0, 0, 0)).sample.size == 0


def test_triangles_left_out_as_too_far_away_hide_nothing():
    rng = np.random.default_rng(8)
    box = (0, 0, 50, 45)
    for _ in range(20):
        vertices = rng.uniform(-10, 60, size=(80, 3))
        hiding, hidden = (np.array([rng.choice(80, 3, replace=False) for _ in range(25)]) for _ in range(2))
        far = rasterise(vertices, hidden, box).depth_map()
        nearer = nearer_part(vertices, hiding, prepare(vertices, hidden), 4.0)
        every, chosen = (rasterise(vertices, part, box).depth_map() + 4.0 < far for part in (hiding, nearer))
        assert np.array_equal(every, chosen)
    below = prepare(vertices - (0.0, 0.0, 200.0), hidden)
    assert len(nearer_part(vertices, hiding, below, 0.0)) == 0
    assert len(nearer_part(vertices, hiding[:0], below, 0.0)) == 0


def test_depth_and_values_of_some_hits_are_those_of_all():
    rng = np.random.default_rng(9)
    vertices = rng.uniform(0, 40, size=(60, 3))
    triangles = np.array([rng.choice(60, 3, replace=False) for _ in range(30)])
    hits = rasterise(vertices, triangles, (3, 4, 30, 28), scale=2, values=vertices[:, :2])
    at = rng.choice(len(hits.sample), 25, replace=False)
    assert np.array_equal(hits.depth_at(at), hits.depth[at])
    assert np.array_equal(hits.value(1, at), hits.values[at, 1])
    row, column = np.divmod(hits.sample, 60)
    assert np.array_equal(hits.pixel, row // 2 * 30 + column // 2)
