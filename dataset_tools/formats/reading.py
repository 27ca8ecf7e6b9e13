"""What a format reader hands over: pictures with their labels, and everything that is wrong, with its place.

Nothing here decodes a picture or trusts a file: labels are turned into masks only once the size of the
upright picture is known, and what cannot be used becomes a `Problem`, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dataset_tools.core.labels import Label
from dataset_tools.core.published import Annotation, Content, Fault


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user says of a dataset that its files do not.

    Attributes:
        drawn_by: origin of labels whose file names none, "published:<source name>".
        licence: of pictures for which the files state none; "" when there is none to assume.
        categories: foreign class name -> label; None leaves a class out on purpose. Names that already are
            labels need no entry.
    """

    drawn_by: str
    licence: str = ""
    categories: Mapping[str, Label | None] = field(default_factory=dict)

    def label_of(self, name: str) -> Label | None:
        """The label of a class name, None for one left out on purpose.

        Raises:
            KeyError: neither a label nor mapped.
        """
        if name in self.categories:
            return self.categories[name]
        return {label.value: label for label in Label}[name]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a dataset states about one picture; "" where it states nothing.

    Attributes:
        licence, author, url, source: of the picture.
        group: pictures of one group never lie on both sides of a split.
        sample_id: of the sample it was written from, in datasets of this suite.
        parent_id: sample id of the photo that a rendered picture was made of.
    """

    licence: str = ""
    author: str = ""
    url: str = ""
    source: str = ""
    group: str = ""
    sample_id: str = ""
    parent_id: str = ""


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """One picture of a dataset on disk; neither picture nor masks are decoded yet.

    Attributes:
        key: unique in the dataset: the picture's relative path or id.
        content: how to read its bytes.
        annotation: its labels; None when the dataset has none for it.
        path: of the file, when it is one of its own.
        facts: see there.
    """

    key: str
    content: Content
    annotation: Annotation | None = None
    path: Path | None = None
    facts: Facts = Facts()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a dataset that cannot be used.

    Attributes:
        where: file and line, or id, e.g. "instances_train.json: annotation 17", for people.
        fault: why.
        is_fatal: the dataset as a whole cannot be read.
    """

    where: str
    fault: Fault
    is_fatal: bool = False


# Everything in a dataset folder (or file), in a fixed order. A reader goes on after a problem, so that all of
# them are reported at once.
Reader = Callable[[Path, ReadOptions], Iterator[FoundPicture | Problem]]
