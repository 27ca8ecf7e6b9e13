"""What is known of a shipped model: made of what, how, and what was measured; kept beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import write_text
from dataset_tools.export.licences import read_terms
from dataset_tools.export.markdown import counted

ABOUT_FILE = "about.json"

Kind = Literal["proposer", "detector"]


class PictureSource(BaseModel):
    """Photos that a model was made of.

    Attributes:
        name: of the folder.
        origin: where the photos come from, in the words of who made the model.
        licence: as stated by who made the model.
        photos: that were used.
        rendered: pictures made of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: str
    licence: str
    photos: int
    rendered: int


class Measure(BaseModel):
    """One figure of a model.

    Attributes:
        what: the figure.
        data, digest: name and canonical digest of the pictures; "" where they are not a dataset.
        items: how many pictures, faces or proposals it is of.
        value: the figure.
        low, high: its bootstrap interval; None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    data: str
    digest: str = ""
    items: int
    value: float
    low: float | None = None
    high: float | None = None


class About(BaseModel):
    """Everything that a model's card is computed from; the content of `about.json`.

    Attributes:
        kind: what it does.
        name: "<name>@<version>", as its proposals or faces are marked.
        tells: labels or classes that it tells apart.
        weights_file, weights_sha256, weights_bytes: what is shipped.
        start, start_licence: the published weights that training began from; "random" and "" for none.
        sources: of the photos.
        recipe: all settings, as JSON values.
        seed, steps: of the run.
        data, data_digest: name and canonical digest of the manifest that was learned from.
        samples, seconds, device: learned from, how long, and where.
        measures: figures, best first to read.
        command: that makes it anew, with folders in place of paths.
        versions: of the suite and the libraries that made it.
        made_of: digest of all that decides this file, to see that there is nothing left to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    tells: tuple[str, ...]
    weights_file: str
    weights_sha256: str
    weights_bytes: int
    start: str
    start_licence: str
    sources: tuple[PictureSource, ...]
    recipe: Mapping[str, Any]
    seed: int
    steps: int
    data: str
    data_digest: str
    samples: int
    seconds: float
    device: str
    measures: tuple[Measure, ...]
    command: str
    versions: Mapping[str, str]
    made_of: str


def write_about(folder: Path, about: About) -> None:
    """Write it beside the weights."""
    write_text(folder / ABOUT_FILE, about.model_dump_json(indent=2) + "\n")


def read_about(folder: Path) -> About:
    """What is known of the model in a folder.

    Raises:
        DataError: nothing is, or the file is damaged.
    """
    try:
        return About.model_validate_json((folder / ABOUT_FILE).read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {folder / ABOUT_FILE}: {error.strerror}") from None
    except ValidationError as error:
        raise DataError(f"{folder / ABOUT_FILE}: {error.errors()[0]['msg']}") from None


def allowed_use(about: About) -> tuple[str, ...]:
    """What follows for the weights from the stated licences of their photos, one sentence each.

    Nobody has settled whether weights are bound by the licences of their training pictures. The sentences
    take the careful answer: that they are.
    """
    found = {one.licence: read_terms(one.licence) for one in about.sources}
    said = []
    unknown = [words for words, terms in found.items() if not terms.is_stated or terms.allows_changes is None]
    if unknown:
        said.append(
            f"For {_photos(about, unknown)} no licence is known whose words say what is allowed "
            f"({', '.join(unknown)}): take the weights for research and for trying the suite, and train your "
            "own before you sell, or build on, what they draw."
        )
    closed = [words for words, terms in found.items() if terms.is_stated and terms.allows_sharing is False]
    if closed:
        said.append(f"Not to be passed on: {_photos(about, closed)} ({', '.join(closed)}), nor the weights.")
    for_nothing = [words for words, terms in found.items() if terms.allows_commerce is False]
    if for_nothing:
        words = f"{_photos(about, for_nothing)} ({', '.join(for_nothing)})"
        said.append(f"No commercial use: of {words}, nor of the weights.")
    alike = [words for words, terms in found.items() if terms.shares_alike]
    if alike:
        words = f"{_photos(about, alike)} ({', '.join(alike)})"
        said.append(f"To be shared alike: {words}; pass on the weights on the same terms.")
    credited = [words for words, terms in found.items() if terms.needs_credit]
    if credited:
        said.append(f"Name the sources whose licence asks for it ({', '.join(credited)}).")
    if not said:
        said.append("The stated licences bind nobody to anything.")
    return tuple(said)


def _photos(about: About, licences: list[str]) -> str:
    return counted(sum(one.photos for one in about.sources if one.licence in licences), "photo")
