"""A test head: a drawn person of whom everything is known — pose, landmarks, light, skin, what is in front.

Without ground truth there is no measuring: photos come without their pose, their light and their occluders.
`draw_head` draws the canonical face with a skull, hair, eyes and shoulders, and gives the exact numbers with
the picture. The people do not exist, so the pictures can be given away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError, UnknownName
from dataset_tools.core.images import RgbImage
from synth.cloth.fabric import Rgb
from synth.colour import LUMINANCE
from synth.heads.front import HAIRLINES, HAND_PLACES
from synth.heads.shape import MODES
from synth.shading import Light

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

HAIR_STYLES = ("none", *HAIRLINES)
HAND_STYLES = ("", *HAND_PLACES)
GLASSES = ("", "round", "square", "dark")
INTER_OCULAR_MM = 63.0  # between the eye centres of the canonical face

_DAYLIGHT = Light((-0.25, -0.3, -0.35), 0.8, 0.85, (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Head:
    """Everything a picture of a head is drawn from.

    Attributes:
        yaw_deg, pitch_deg, roll_deg: signs as in `core.record.Face.pose_deg`; nodded first, then turned,
            then tilted in the picture.
        identity: one number for each of `synth.heads.shape.MODES`; 0 is the mean face.
        mouth_open: 0 closed, 1 about 6 mm open.
        gaze_deg: of the eyes in the head: to the right edge of the picture, down.
        ita_deg: individual typology angle of the skin: 60 very light, 0 brown, -50 dark.
        eye_rgb, hair_rgb, brow_rgb, cloth_rgb, background_rgb: sRGB under white light.
        lip_red: how much redder than the skin the lips are, 0–1.
        hair: one of `HAIR_STYLES`.
        hand: where a hand lies on the face, one of `HAND_STYLES`.
        strands: loose hairs over the face.
        glasses: one of `GLASSES`.
        light: direction is in image space; the shade is `ambient * (1 + normal · direction)`.
        size_px: the picture is square.
        px_per_mm: scale of the head; the inter-ocular distance is 63 mm times this.
        distance_mm: of the camera from the head; 0 for parallel rays.
        seed: of skin texture and loose hair.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    identity: tuple[float, ...] = (0.0,) * len(MODES)
    mouth_open: float = 0.0
    gaze_deg: tuple[float, float] = (0.0, 0.0)
    ita_deg: float = 38.0
    eye_rgb: Rgb = (104, 78, 52)
    hair_rgb: Rgb = (58, 42, 32)
    brow_rgb: Rgb = (62, 46, 36)
    cloth_rgb: Rgb = (74, 88, 110)
    background_rgb: Rgb = (168, 174, 178)
    lip_red: float = 0.75
    hair: str = "cap"
    hand: str = ""
    strands: int = 0
    glasses: str = ""
    light: Light = field(default_factory=lambda: _DAYLIGHT)
    size_px: int = 512
    px_per_mm: float = 1.3
    distance_mm: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("hair style", self.hair, HAIR_STYLES),
            ("hand place", self.hand, HAND_STYLES),
            ("glasses", self.glasses, GLASSES),
        ):
            if value not in known:
                raise UnknownName(kind, value, [name for name in known if name])
        if len(self.identity) != len(MODES):
            raise DataError(f"identity has {len(self.identity)} numbers, {len(MODES)} needed")

    @property
    def rotation(self) -> Floats:
        """(3, 3) head space to image space: R = Rz(roll) Ry(yaw) Rx(pitch)."""
        yaw, pitch, roll = np.radians([self.yaw_deg, self.pitch_deg, self.roll_deg])
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        rotation: Floats = tilt @ turn @ nod
        return rotation

    def to_image(self, points_mm: Floats) -> Floats:
        """(..., 3) head-space millimetres to image space, pixels; the middle of the head stays put."""
        seen = (points_mm - PIVOT_MM) @ self.rotation.T
        if self.distance_mm > 0:
            seen = seen * (self.distance_mm / (self.distance_mm + seen[..., 2:]))
        placed: Floats = seen * self.px_per_mm + (self.size_px / 2, self.size_px / 2, 0.0)
        return placed


PIVOT_MM = np.array([0.0, 18.0, 45.0])  # what the head turns about; the middle of the picture


@dataclass(frozen=True)
class HeadPicture:
    """A drawn head and the truth about it.

    Attributes:
        image: (H, W, 3) sRGB.
        landmarks: (478, 3) pixels, as a perfect MediaPipe would give them; z smaller is nearer.
        eyes: (2, 2) midpoints of the eyes' corners, the viewer's left one first.
        face: (H, W) float32 coverage of the face oval, whatever is in front of it.
        skin: (H, W) bool, pixels that show the face oval (eyes, brows and lips count).
        occluder: (H, W) float32 coverage of all that is in front of face, ears or neck.
        layers: the same by kind, whole things: "hair", "hand", "glasses".
        normals: (H, W, 3) float32 unit, image space, of the head's skin where visible; 0 elsewhere.
        shade: (H, W) float32 brightness of the light there, 1 for a surface that the light leaves alone.
        pose_deg: yaw, pitch, roll.
    """

    image: RgbImage
    landmarks: Floats
    eyes: Floats
    face: Floats32
    skin: BoolMask
    occluder: Floats32
    layers: Mapping[str, Floats32]
    normals: Floats32
    shade: Floats32
    pose_deg: tuple[float, float, float]


def landmarks_of(head: Head) -> Floats:
    """(478, 3) landmarks of a head in pixels, without drawing it."""
    from synth.heads.shape import build_shape, iris_points

    shape = build_shape(head.identity, head.mouth_open)
    return head.to_image(np.concatenate([shape.face_mm, iris_points(shape, head.gaze_deg)]))


_HAIR: tuple[Rgb, ...] = (
    *((24, 21, 20), (40, 30, 25), (66, 46, 33), (96, 66, 42), (142, 104, 62), (190, 156, 104)),
    *((120, 62, 36), (150, 148, 145)),
)
_EYES: tuple[Rgb, ...] = (
    (62, 42, 28), (92, 64, 40), (112, 92, 58), (96, 110, 84), (98, 124, 146), (126, 140, 150)
)  # fmt: skip


def random_head(rng: np.random.Generator, *, size_px: int = 512) -> Head:
    """A random person in a random pose and light, with something in front of the face now and then."""
    ita = float(rng.uniform(-45.0, 62.0))
    # Light eyes and hair are rare on dark skin.
    fair = ita > 30.0
    hair = _scaled(_HAIR[int(rng.integers(len(_HAIR) if fair else 3))], float(rng.uniform(0.8, 1.25)))
    eyes = _EYES[int(rng.integers(len(_EYES) if fair else 2))]
    towards = np.array([rng.uniform(-1, 1), rng.uniform(-1.0, 0.3), -rng.uniform(0.2, 1.0)])
    towards *= float(rng.uniform(0.1, 0.75)) / np.linalg.norm(towards)
    warm = float(rng.normal(0.03, 0.08))
    tint = np.array([1.0 + warm, 1.0, 1.0 - 1.2 * warm])
    tint /= float(tint @ LUMINANCE)
    light = Light(
        (float(towards[0]), float(towards[1]), float(towards[2])),
        float(rng.uniform(0.65, 1.0)),
        float(rng.uniform(0.45, 1.0)),
        (float(tint[0]), float(tint[1]), float(tint[2])),
    )
    return Head(
        yaw_deg=float(rng.uniform(-60, 60)),
        pitch_deg=float(rng.uniform(-25, 25)),
        roll_deg=float(rng.normal(0, 10)),
        identity=tuple(float(value) for value in np.clip(rng.normal(0, 0.9, len(MODES)), -2, 2)),
        mouth_open=float(max(rng.normal(0.0, 0.5), 0.0)),
        gaze_deg=(float(rng.normal(0, 7)), float(rng.normal(0, 4))),
        ita_deg=ita,
        eye_rgb=eyes,
        hair_rgb=hair,
        brow_rgb=_scaled(hair, 0.8),
        cloth_rgb=_muted(rng, 0.35),
        background_rgb=_muted(rng, 0.2),
        lip_red=float(rng.uniform(0.2, 1.0)),
        hair=str(rng.choice(HAIR_STYLES, p=(0.1, 0.4, 0.2, 0.3))),
        hand=str(rng.choice(HAND_STYLES, p=(0.85, 0.04, 0.04, 0.04, 0.03))),
        strands=int(rng.choice((0, 30), p=(0.85, 0.15))),
        glasses=str(rng.choice(GLASSES, p=(0.75, 0.1, 0.12, 0.03))),
        light=light,
        size_px=size_px,
        px_per_mm=1.3 * size_px / 512 * float(rng.uniform(0.85, 1.15)),
        distance_mm=float(rng.uniform(600, 2500)),
        seed=int(rng.integers(2**31)),
    )


def _scaled(colour: Rgb, share: float) -> Rgb:
    red, green, blue = (int(np.clip(value * share, 5, 250)) for value in colour)
    return red, green, blue


def _muted(rng: np.random.Generator, saturation: float) -> Rgb:
    grey, hue = rng.uniform(40, 215), rng.uniform(0, 1, 3)
    red, green, blue = (int(v) for v in np.clip(grey * (1 + 2 * saturation * (hue - hue.mean())), 5, 250))
    return red, green, blue


def head_to_json(head: Head) -> dict[str, Any]:
    """A head as plain JSON values."""
    return asdict(head)


def head_from_json(values: Mapping[str, Any]) -> Head:
    """The inverse of `head_to_json`, after a round trip through JSON text.

    Raises:
        DataError: keys are missing or unknown, or a value is none that a head can have.
    """
    try:
        parts = _tupled(values)
        return Head(**{**parts, "light": Light(**_tupled(values["light"]))})
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a head of this version: {error}") from error


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
