from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import (
    Face,
    Instance,
    Layer,
    Provenance,
    Rejection,
    Review,
    ReviewState,
    Sample,
    Score,
    Split,
    sample_id,
)
from dataset_tools.core.seeds import generator
from dataset_tools.core.stage import each


def make_sample(store: ImageStore, index: int) -> Sample:
    """A sample with every field filled, different for every index."""
    rng = generator(0, f"sample{index}")
    rgb = rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    image = store.put_array(rgb)
    soft = store.put_array(rng.integers(0, 65535, (20, 30)).astype(np.uint16))
    instance = Instance(
        "i0",
        Label.FACE_MASK,
        mask_to_rle(rgb[..., 0] > 128),
        "synth:surgical@1",
        confidence=None if index % 2 else 0.25,
        face=0,
        soft=soft,
        attributes=(("mask_type", "surgical"),),
    )
    face = Face((1.0, 2.5, 20.0, 19.0), 0.875, Wearing.MASKED, "aizoo@1", (0.5,) * 6, (1.5, -2.0, 0.25))
    return Sample(
        id=sample_id(image),
        image=image,
        provenance=Provenance(
            source="test",
            item_key=f"item{index}",
            licence="CC0-1.0",
            author="=A1",
            retrieved_at="2026-01-01T00:00:00Z",
            seed=index,
            evidence=(("status", "200"),),
        ),
        group=f"g{index // 3}",
        phash="00ff00ff00ff00ff",
        faces=(face,),
        instances=(instance,),
        layers=(Layer("alpha", soft),),
        scores=(Score("sharpness", 0.5),),
        split=Split.TRAIN,
        review=Review(ReviewState.ACCEPTED, ("ann@example.org",), "2026-01-02T00:00:00Z", "fine"),
        is_labelled=True,
    )


@dataclass(frozen=True)
class Numbered:
    """A source item of the test stages."""

    number: int

    @property
    def key(self) -> str:
        return f"item{self.number}"


@dataclass(frozen=True)
class MakeStage:
    """Makes samples from numbers; numbers divisible by 5 are rejected; may kill its own process, or hang."""

    die_at: int | tuple[int, ...] = -1
    hangs: bool = False
    name: str = "make"
    version: str = "1"
    parallel: bool = True

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def plan(self, samples: Iterable[Sample]) -> None:
        return None

    def run(
        self, items: Sequence[Numbered], *, plan: None, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        for item in items:
            if item.number in np.atleast_1d(self.die_at):
                if self.hangs:
                    threading.Event().wait()
                os.kill(os.getpid(), signal.SIGKILL)
            if item.number % 5 == 0:
                yield Rejection("make", item.key, Reason.EMPTY, "divisible\nby 5")
            else:
                yield make_sample(images, item.number)
            progress.advance()


@dataclass(frozen=True)
class FaultyStage:
    """Rejects number 1 by a fault, has a bug on number 2, loses number 3, and adds a child to number 4."""

    loses: bool = False
    name: str = "faulty"
    version: str = "1"
    parallel: bool = True

    @property
    def config(self) -> dict[str, Any]:
        return {"loses": self.loses}

    def plan(self, samples: Iterable[Sample]) -> int:
        return sum(1 for _ in samples)

    def run(
        self, items: Sequence[Sample], *, plan: int, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        def handle(sample: Sample) -> list[Sample | Rejection]:
            number = sample.provenance.seed
            if number == 1:
                raise ItemFault(Reason.NO_FACE, f"one of {plan}", retryable=True)
            if number == 2:
                raise ZeroDivisionError("a bug")
            if number == 3 and self.loses:
                return []
            if number == 4:
                from dataclasses import replace

                child = replace(
                    sample,
                    provenance=replace(sample.provenance, item_key="item4#synth0", parent_id=sample.id),
                )
                return [sample, child]
            return [sample]

        return each(items, self.name, handle, progress)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path)


@pytest.fixture
def sample_maker() -> Callable[[ImageStore, int], Sample]:
    return make_sample


@pytest.fixture
def stages() -> dict[str, type]:
    return {"make": MakeStage, "faulty": FaultyStage, "item": Numbered}
