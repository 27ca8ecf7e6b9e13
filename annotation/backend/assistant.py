"""What answers the review page: the models at work, the pictures they may see, and what was proposed."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from annotation.backend.prompter import DEFAULT_CACHE_BYTES, EncodingCache, MapPrompter
from annotation.backend.prompts import Prompter, read_prompts
from annotation.label_studio.codec import encode_results
from annotation.prelabel.calibrate import NO_CALIBRATION, Calibration
from annotation.prelabel.proposer import Proposer
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import proposal_instances
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, ImageRef, Instance, Sample

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """What the assistant needs of a sample.

    Attributes:
        image: in the workspace's store; never an address from outside.
        faces: shown as boxes, and where a model looks.
    """

    image: ImageRef
    faces: tuple[Face, ...] = ()


def pictures_of(samples: Iterable[Sample]) -> dict[str, Picture]:
    """The pictures of a manifest by sample id, without all that would make a million of them heavy."""
    return {
        sample.id: Picture(sample.image, tuple(replace(face, landmarks_xyz=()) for face in sample.faces))
        for sample in samples
    }


@dataclass(frozen=True, slots=True)
class Models:
    """The models at work.

    Attributes:
        proposer: proposes for whole pictures.
        prompter: answers clicks and boxes; None: the proposer does that too.
        calibration: of the proposer's confidence.
    """

    proposer: Proposer
    prompter: Prompter | None = None
    calibration: Calibration = field(default=NO_CALIBRATION)

    @property
    def version(self) -> str:
        """ "<name>@<version>" of the proposer."""
        return _version(self.proposer)


def _version(model: Proposer | Prompter) -> str:
    return f"{model.name}@{model.version}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One prediction as Label Studio stores it.

    Attributes:
        model_version: "<name>@<version>" of the model that answered.
        results: of `codec.encode_results`.
        score: the lowest confidence, 0 when nothing was found.
    """

    model_version: str
    results: tuple[dict[str, Any], ...] = ()
    score: float = 0.0

    def values(self) -> dict[str, Any]:
        """As JSON values of the protocol."""
        return {"result": list(self.results), "score": self.score, "model_version": self.model_version}


class Assistant:
    """Answers for samples of one manifest; safe to use from several threads, one of which looks at a time.

    Args:
        pictures: by sample id (`pictures_of`).
        images: store of the manifest's workspace.
        models: at work until `use` brings others.
        settings: which proposals are kept, as in pre-labelling.
        cache_bytes: for the encodings of pictures that people click in.
    """

    def __init__(
        self,
        pictures: Mapping[str, Picture],
        images: ImageStore,
        models: Models,
        settings: PrelabelSettings | None = None,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._pictures = pictures
        self._images = images
        self._settings = settings or PrelabelSettings()
        self._models = models
        self._prompter = models.prompter or MapPrompter(models.proposer)
        self._versions = [models.version]
        self._cache = EncodingCache(cache_bytes)
        self._looking = threading.Lock()

    @property
    def models(self) -> Models:
        """Those at work."""
        return self._models

    @property
    def versions(self) -> tuple[str, ...]:
        """Model versions that were at work since the start, the present one last."""
        return tuple(self._versions)

    def use(self, models: Models) -> None:
        """From now on answer with other models; what is being looked at is finished with the old ones."""
        with self._looking:
            self._models = models
            self._prompter = models.prompter or MapPrompter(models.proposer)
            self._versions = [one for one in self._versions if one != models.version] + [models.version]

    def propose(self, sample_id: str) -> Answer:
        """What the proposer says of a sample, by the same way as pre-labelling.

        A sample that the manifest does not have, or whose picture cannot be read, has an empty answer.
        """
        with self._looking:
            models = self._models
            picture = self._pictures.get(sample_id)
            if picture is None:
                _log.warning("asked for a sample that the manifest does not have")
                return Answer(models.version)
            try:
                rgb = self._images.read(picture.image)
            except ItemFault as fault:
                _log.warning("sample %s: %s", sample_id, fault)
                return Answer(models.version)
            boxes = [face.box_xyxy for face in picture.faces]
            (proposals,) = models.proposer.propose([rgb], [boxes])
        found = proposal_instances(proposals, f"model:{models.version}", self._settings, models.calibration)
        results = encode_results(found, picture.faces, picture.image.size_hw)
        score = min((one.confidence for one in found if one.confidence is not None), default=0.0)
        return Answer(models.version, tuple(results), score)

    def segment(self, sample_id: str, context: Any) -> Answer | None:
        """The region that prompts ask for, as one new brush region; None when there are no prompts.

        Empty for a sample that is not there, for one whose picture cannot be read, and when the model finds
        nothing where it was asked to look.

        Args:
            sample_id: not trusted.
            context: of the request (`prompts.read_prompts`); not trusted.

        Raises:
            ItemFault: the context cannot be read.
        """
        picture = self._pictures.get(sample_id)
        if picture is None:
            _log.warning("asked for a sample that the manifest does not have")
            return Answer(_version(self._prompter))
        prompts = read_prompts(context, picture.image.size_hw)
        if prompts is None:
            return None
        with self._looking:
            prompter = self._prompter
            version = _version(prompter)
            try:
                encoding = self._cache.get(
                    picture.image.sha256,
                    version,
                    lambda: prompter.encode(
                        self._images.read(picture.image), [face.box_xyxy for face in picture.faces]
                    ),
                )
            except ItemFault as fault:
                _log.warning("sample %s: %s", sample_id, fault)
                return Answer(version)
            found = encoding.segment(prompts)
        if not found.mask.any():
            return Answer(version)
        # The page keeps regions by id, and each answer is a region of its own, which nobody has seen before.
        instance = Instance(
            secrets.token_hex(8), prompts.label, mask_to_rle(found.mask), f"model:{version}", found.score
        )
        (brush,) = encode_results([instance], [], picture.image.size_hw)
        return Answer(version, (brush | {"id": f"prompt-{instance.id}"},), found.score)
