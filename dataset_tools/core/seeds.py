"""Randomness that depends on the run seed and the item alone, never on order or worker count."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(run_seed: int, *names: str) -> int:
    """A 63-bit seed for one item and one purpose, e.g. `derive_seed(7, sample.id, "synth")`."""
    text = "\x1f".join((str(run_seed), *names)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator(run_seed: int, *names: str) -> np.random.Generator:
    """A NumPy generator seeded by `derive_seed` of the same arguments."""
    return np.random.default_rng(derive_seed(run_seed, *names))
