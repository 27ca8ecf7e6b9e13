"""Published labels and picture bytes as they travel from whoever lists them to whoever decodes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from dataset_tools.core.images import ImageLimits
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something cannot be used: a fixed word and one line for people."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Labels:
    """What the published annotations of one picture came to.

    Attributes:
        instances: the good ones.
        faults: (name of the annotation, fault) for each one lost. A picture that lost an annotation is
            no complete ground truth, so it is not marked as labelled.
        is_complete: False for labels that nobody confirmed, such as a model's proposals.
    """

    instances: tuple[Instance, ...] = ()
    faults: tuple[tuple[str, Fault], ...] = ()
    is_complete: bool = True


class Annotation(Protocol):
    """Published labels that travel with an item; picklable."""

    @property
    def split(self) -> Split:
        """The part of the published dataset the picture belongs to, so that a test set stays one."""

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Turn them into instances of a picture of that size.

        Labels are taken to be drawn on the upright picture (EXIF orientation applied), as every viewer
        and drawing tool shows it.

        Raises:
            ItemFault: the labels do not belong to this picture; the whole item is rejected.
        """


class Content(Protocol):
    """Where the bytes of a picture lie that is no file of its own, e.g. in an archive; picklable."""

    def read(self, max_bytes: int) -> bytes:
        """The whole picture file.

        Raises:
            FetchFault: it cannot be had, or has more than `max_bytes` bytes.
        """


@runtime_checkable
class Streamed(Protocol):
    """Content or labels out of one stream: a single process should read them, about in their order."""

    def held(self, max_bytes: int) -> Any:
        """The same in memory, ready for any process.

        Raises:
            FetchFault: as `Content.read`.
        """


@dataclass(frozen=True, slots=True)
class Held:
    """Content that is in memory.

    Attributes:
        data: the whole picture file.
    """

    data: bytes

    def read(self, max_bytes: int) -> bytes:
        """The data; whoever held it has checked its size."""
        return self.data
