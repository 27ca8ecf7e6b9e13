"""What a user may choose about rendered masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.files import digest_json, sha256_file
from dataset_tools.core.settings import Settings
from synth.add_mask import all_designs
from synth.assets import DEFAULT_SHARES, DESIGNS, WEARING, Design, allowed_states
from synth.front.ordering import METHODS as FRONT_METHODS
from synth.halves import STATES as HALVES_STATES
from synth.occluders.cutouts import OccluderLibrary
from synth.occluders.occluder import OccluderSettings
from synth.resources import Resources

_log = logging.getLogger(__name__)

LayerName = Literal[
    "alpha", "hard", "strap", "amodal", "skin", "occluder", "shadow", "clean", "depth", "normals", "uv"
]
LAYERS: Mapping[str, str] = MappingProxyType(
    {
        "alpha": "all masks, 16 bit",
        "hard": "the same at alpha >= 0.5, 0 and 255",
        "strap": "all straps, 16 bit",
        "amodal": "masks as if nothing were in front of them, 16 bit",
        "skin": "visible skin of all faces, 0 and 255",
        "occluder": "rendered occluders, 16 bit",
        "shadow": "light taken from the photo, 8 bit",
        "clean": "the undressed photo: the pair of the child",
        "depth": "1 + 50 per millimetre behind the nearest point of a head, 16 bit",
        "normals": "127.5 * (n + 1); x right, y down, z away from the camera",
        "uv": "255 * place on the cloth (across, down), 255 on a mask",
    }
)
AUTO = "auto"
# Most people wear it well; the rest as seen in the street (our choice; the papers give no shares).
_USUAL_STATES = {"correct": 0.80, "nose_out": 0.10, "mouth_out": 0.03, "under_chin": 0.05, "hanging": 0.02}


class SynthSettings(Settings):
    """What is rendered.

    Attributes:
        per_face: children per photo; each dresses all its faces anew. 0 switches the stage off.
        masks_dir: folder of the user's own designs, as `synth add-mask` writes them.
        mask_types: share of each design; names of `synth.designs.DESIGNS` or of the user's own.
        wearing_states: share of each way to wear it; a design is worn only in ways that it can be.
        method: "mesh3d", or "halves" for MISA's flat recipe (worn correctly or below the nose only).
        front: how hands, hair and spectacles in front of the face are found: a name of
            `synth.front.ordering.METHODS`, or "auto" for the best one whose model files are at hand.
        light, shadow, camera: what the masks take from the photo; see `render.Effects`.
        occluders: other things drawn in front of faces.
        bare: share of children on which nobody wears a mask, only something else in front of each face,
            whatever `occluders.probability` says: they teach a model what is no mask.
        max_yaw_deg: faces turned further stay bare.
        min_face_px: faces whose landmarks span less stay bare.
        layers: further pictures stored with each child, see `LAYERS`.
    """

    per_face: int = Field(default=1, ge=0, le=64)
    masks_dir: Path | None = None
    mask_types: dict[str, float] = Field(default_factory=lambda: dict(DEFAULT_SHARES))
    wearing_states: dict[str, float] = Field(default_factory=lambda: dict(_USUAL_STATES))
    method: Literal["mesh3d", "halves"] = "mesh3d"
    front: str = "auto"
    light: bool = True
    shadow: bool = True
    camera: bool = True
    occluders: OccluderSettings = OccluderSettings()
    bare: float = Field(default=0.0, ge=0.0, le=1.0)
    max_yaw_deg: float = Field(default=75.0, gt=0, le=90)
    min_face_px: float = Field(default=60.0, gt=0)
    layers: tuple[LayerName, ...] = ()

    @field_validator("wearing_states")
    @classmethod
    def _known_states(cls, shares: dict[str, float]) -> dict[str, float]:
        return _checked_shares(shares, list(WEARING))

    @field_validator("front")
    @classmethod
    def _known_method(cls, name: str) -> str:
        if name not in (AUTO, *FRONT_METHODS):
            raise ValueError(f"unknown {name}; known: {', '.join((AUTO, *FRONT_METHODS))}")
        return name

    @model_validator(mode="after")
    def _designs_can_be_worn(self) -> SynthSettings:
        # The user's own designs are only known once paths are resolved: `open_resources` checks those.
        if self.masks_dir is None:
            self.check_designs(DESIGNS)
        return self

    def check_designs(self, designs: Mapping[str, Design]) -> None:
        """Check that every mask with a share exists and can be worn.

        Raises:
            ValueError: one line.
        """
        _checked_shares(self.mask_types, list(designs))
        for design, share in self.mask_types.items():
            if share > 0 and not states_for(self, design, designs):
                words = f"{design} cannot be worn in any of the wearing_states with method {self.method}"
                raise ValueError(words)

    def resolved(self, base_dir: Path) -> SynthSettings:
        """The same settings with relative folders meant from `base_dir`."""
        folder = self.occluders.folder
        occluders = self.occluders.model_copy(update={"folder": folder and base_dir / folder})
        masks_dir = self.masks_dir and base_dir / self.masks_dir
        return self.model_copy(update={"masks_dir": masks_dir, "occluders": occluders})


def states_for(settings: SynthSettings, design: str, designs: Mapping[str, Design]) -> dict[str, float]:
    """Shares of the wearing states that a design and the method allow."""
    drawable = HALVES_STATES if settings.method == "halves" else tuple(WEARING)
    asked = settings.wearing_states
    allowed = [state for state in allowed_states(design, designs) if state in drawable and asked.get(state)]
    return {state: asked[state] for state in allowed}


def _checked_shares(shares: dict[str, float], known: list[str]) -> dict[str, float]:
    strange = sorted(set(shares) - set(known))
    if strange:
        raise ValueError(f"unknown {', '.join(strange)}; known: {', '.join(known)}")
    if any(not 0 <= share < float("inf") for share in shares.values()) or sum(shares.values()) <= 0:
        raise ValueError("shares must be >= 0 and not all 0")
    return shares


def open_resources(settings: SynthSettings) -> Resources:
    """The user's folders that the settings name, read and checked.

    Raises:
        ConfigError: a folder is not there, or a mask with a share is not in it or cannot be worn.
        DataError: a file of the user's designs is not one.
    """
    designs = dict(all_designs(settings.masks_dir))
    try:
        settings.check_designs(designs)
    except ValueError as error:
        raise ConfigError(f"synth: {error}") from error
    own = ""
    if settings.masks_dir is not None:
        files = sorted(settings.masks_dir.glob("*.json"))
        own = digest_json({path.name: sha256_file(path) for path in files})
    folder = settings.occluders.folder
    if folder is None:
        return Resources(designs, own)
    library = OccluderLibrary(folder)
    for item in library.skipped:
        _log.warning("%s is no cut-out: %s", item.path, item.detail)
    return Resources(designs, own, library)
