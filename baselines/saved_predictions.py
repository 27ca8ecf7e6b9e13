"""Predictions as a folder of PNG files, one a picture: written by us, or by anybody, and scored again.

Files of single faces' crops are named `<picture>_<face>.png`, those of whole pictures `<picture>.png`. Grey
values are probabilities times 255 ("soft"), or 0 and 255 only ("hard"); either way a pixel is foreground from
128 on, so a folder decides each pixel as the network did. A folder we write also holds `predictions.json`
with a digest of each file; one that somebody else made needs none.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from baselines.crops import FloatMap, Window, cut_visible
from baselines.metrics import THRESHOLD
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_hex, write_bytes, write_text
from dataset_tools.core.images import encode_png

INDEX_FILE = "predictions.json"
Form = Literal["soft", "hard"]

_SUFFIX = ".png"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_MAX_BYTES = 64 * 1024 * 1024
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A crop whose prediction is looked for.

    Attributes:
        sample_id: of the picture.
        face: index of the face, -1 for the whole picture.
        names: file names without ending under which the picture may be known, the best one first.
        size_hw: of the picture.
        window: the crop; only its part inside the picture is asked for.
    """

    sample_id: str
    face: int
    names: tuple[str, ...]
    size_hw: tuple[int, int]
    window: Window

    @property
    def visible_hw(self) -> tuple[int, int]:
        """Size of the part of the crop that lies inside the picture."""
        x0, y0, x1, y1 = self.window.visible_xyxy(self.size_hw)
        return y1 - y0, x1 - x0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd about a folder of predictions.

    Attributes:
        file: its name, or the name that was looked for.
        what: for people.
        is_fatal: the folder cannot be scored.
    """

    file: str
    what: str
    is_fatal: bool


def mask_names(pictures: Iterable[str]) -> dict[str, str]:
    """File name of each picture's mask: `a.jpg` → `a.png`; where two would meet, all keep their ending.

    Args:
        pictures: file names, or paths relative to one folder.
    """
    found = sorted(set(pictures))
    short = {name: str(Path(name).with_suffix(_SUFFIX)) for name in found}
    if len({name.casefold() for name in short.values()}) == len(found):
        return short
    return {name: name + _SUFFIX for name in found}


def crop_name(picture: str, face: int) -> str:
    """File name, without ending, of the prediction of one crop of a picture."""
    return picture if face < 0 else f"{picture}_{face}"


def encode_mask(probability: npt.ArrayLike, form: Form) -> bytes:
    """A probability map as an 8-bit grey PNG.

    Args:
        probability: (H, W) float in [0, 1].
        form: "soft" rounds to 1/255 without moving a pixel over the threshold, "hard" writes 0 and 255.

    Raises:
        DataError: not such a map.
    """
    values = np.asarray(probability, dtype=np.float64)
    if values.ndim != 2 or values.size == 0 or not (values.min() >= 0 and values.max() <= 1):
        raise DataError(f"a prediction of shape {values.shape} is not a map of probabilities in [0, 1]")
    levels = np.rint(values * 255) if form == "soft" else np.where(values >= THRESHOLD, 255, 0)
    return encode_png(levels.astype(np.uint8))


class PredictionFolder:
    """Writes predictions; the index comes last, so a folder without one is unfinished.

    Args:
        folder: made when missing; files of the same names are replaced.
        made_by: "name@version" of what predicts.
        form: see `encode_mask`.
    """

    def __init__(self, folder: Path, made_by: str, form: Form = "soft") -> None:
        self._folder = folder
        self._about: dict[str, str] = {"made_by": made_by, "form": form}
        self._form: Form = form
        self._digests: dict[str, str] = {}
        (folder / INDEX_FILE).unlink(missing_ok=True)

    def add(self, name: str, probability: npt.ArrayLike) -> Path:
        """Write the map of one picture.

        Args:
            name: file name, which may lie in folders below, with or without ending `.png`.
            probability: (H, W) float in [0, 1].

        Raises:
            DataError: not a map of probabilities, a name that leads out of the folder, or one used before.
        """
        relative = Path(name if name.endswith(_SUFFIX) else name + _SUFFIX)
        if relative.is_absolute() or ".." in relative.parts:
            raise DataError(f"{name!r} leads out of the folder of predictions")
        file = relative.as_posix()
        if file in self._digests:
            raise DataError(f"two pictures would be written to {file}")
        data = encode_mask(probability, self._form)
        write_bytes(self._folder / relative, data)
        self._digests[file] = sha256_hex(data)
        return self._folder / relative

    def finish(self) -> Path:
        """Write the index."""
        target = self._folder / INDEX_FILE
        files = dict(sorted(self._digests.items()))
        write_text(target, json.dumps({**self._about, "files": files}, indent=2) + "\n")
        return target


class SavedPredictions:
    """Somebody's folder of masks, checked against the crops that are to be scored.

    Attributes:
        made_by: as its index says; "" without one.
        form: "hard" when no file holds a value other than 0 and 255.
        findings: what is odd about it, none of it fatal.
        sha256: digest of all files that are scored, in the order of the crops.
    """

    def __init__(self, folder: Path, wanted: Sequence[Wanted]) -> None:
        """Read and check every file once.

        Raises:
            DataError: predictions are missing, unreadable, of the wrong size, not grey, or not those of the
                index; or all values are 0 and 1. Names the first ones and says how many.
        """
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of predictions")
        self._folder = folder
        self._findings: list[Finding] = []
        self._index = self._read_index()
        self._names = _own_names(wanted)
        self._pictures = {name for own in self._names.values() for name in own}
        self._files = {(one.sample_id, one.face): self._find(one) for one in wanted}
        self._peak, self._soft_files, self._digests = 0, 0, dict[str, str]()
        for one in wanted:
            if (file := self._files[one.sample_id, one.face]) and file not in self._digests:
                self._check(file, one)
        self._check_all(wanted)
        fatal = [one for one in self._findings if one.is_fatal]
        if fatal:
            shown = "; ".join(f"{one.file}: {one.what}" for one in fatal[:_SHOWN])
            rest = f"; and {len(fatal) - _SHOWN} more" if len(fatal) > _SHOWN else ""
            raise DataError(f"{folder} cannot be scored: {shown}{rest}")
        self.made_by = str(self._index.get("made_by", ""))
        self.form: Form = "soft" if self._soft_files else "hard"
        self.findings = tuple(self._findings)
        order = (self._digests[self._files[one.sample_id, one.face]] for one in wanted)
        self.sha256 = sha256_hex("\n".join(order).encode())

    def probability(self, one: Wanted) -> FloatMap:
        """The prediction of a crop: (h, w) float32 in [0, 1], the part that lies inside the picture.

        Raises:
            DataError: the file is no longer as it was checked.
        """
        file = self._files[one.sample_id, one.face]
        data = (self._folder / file).read_bytes()
        if sha256_hex(data) != self._digests[file]:
            raise DataError(f"{file} changed while it was being scored")
        values, _ = _grey(data, self._size_of(file, one))
        whole = self._is_whole(one, file)
        return np.asarray(cut_visible(values, one.window) if whole else values, dtype=np.float32)

    def _is_whole(self, one: Wanted, file: str) -> bool:
        return file.removesuffix(_SUFFIX) in self._names[one.sample_id]

    def _size_of(self, file: str, one: Wanted) -> tuple[int, int]:
        return one.size_hw if self._is_whole(one, file) else one.visible_hw

    def _read_index(self) -> Mapping[str, Any]:
        path = self._folder / INDEX_FILE
        if not path.exists():
            return {}
        try:
            index = json.loads(path.read_bytes())
            if all(isinstance(value, str) for value in index["files"].values()):
                return dict(index)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self._say(INDEX_FILE, "is damaged; remove it to score the files without it", is_fatal=True)
        return {}

    def _find(self, one: Wanted) -> str:
        names = self._names[one.sample_id]
        crops = [crop_name(name, one.face) for name in names] if one.face >= 0 else []
        possible = [*(name for name in crops if name not in self._pictures), *names]
        for name in possible:
            if (self._folder / f"{name}{_SUFFIX}").is_file():
                return f"{name}{_SUFFIX}"
        self._say(f"{[*possible, one.sample_id][0]}{_SUFFIX}", "is missing", is_fatal=True)
        return ""

    def _check(self, file: str, one: Wanted) -> None:
        self._digests[file] = ""
        try:
            path = self._folder / file
            if path.stat().st_size > _MAX_BYTES:
                raise DataError(f"is larger than {_MAX_BYTES >> 20} MiB")
            data = path.read_bytes()
            values, remarks = _grey(data, self._size_of(file, one))
        except (OSError, DataError) as error:
            self._say(file, str(error), is_fatal=True)
            return
        self._digests[file] = sha256_hex(data)
        expected = self._index.get("files", {}).get(file)
        if self._index and expected != self._digests[file]:
            self._say(
                file, "is not the file the index speaks of; remove the index to score it", is_fatal=True
            )
        for remark in remarks:
            self._say(file, remark)
        peak = float(values.max())
        self._peak = max(self._peak, round(peak * 255))
        between = int(np.count_nonzero((values > 0) & (values < 1)))
        if between:
            self._soft_files += 1
            if self._index.get("form") == "hard":
                self._say(file, f"should hold 0 and 255 only, {between} pixels are others", is_fatal=True)

    def _check_all(self, wanted: Sequence[Wanted]) -> None:
        used = {file for file in self._files.values() if file}
        if used and self._peak == 1:
            self._say(
                sorted(used)[0],
                "no value of the folder is above 1: class numbers? A mask is written as 0 and 255",
                is_fatal=True,
            )
        if self._soft_files and not self._index:
            self._say(
                f"{self._soft_files} of {len(used)} files",
                "hold values between 0 and 255, which are read as probabilities; masks that once were JPEG "
                "look so too, and then MAE, F-beta and S-measure mean little",
            )
        extra = sorted(
            path.name
            for path in self._folder.iterdir()
            if path.suffix.lower() in _PICTURES and path.name not in used
        )
        lossy = [name for name in extra if not name.lower().endswith(_SUFFIX)]
        if lossy:
            self._say(lossy[0], f"{len(lossy)} pictures are not PNG and were not read")
        if len(extra) > len(lossy):
            first = next(name for name in extra if name not in lossy)
            self._say(first, f"{len(extra) - len(lossy)} PNG files belong to none of the {len(wanted)} crops")

    def _say(self, file: str, what: str, *, is_fatal: bool = False) -> None:
        self._findings.append(Finding(file, what, is_fatal))


def _own_names(wanted: Sequence[Wanted]) -> dict[str, list[str]]:
    # Names of each sample's picture; one that two samples go by says nothing.
    samples = {one.sample_id: one.names for one in wanted}
    claims = Counter(name for names in samples.values() for name in dict.fromkeys(names))
    return {sample: [name for name in names if claims[name] == 1] for sample, names in samples.items()}


def _grey(data: bytes, size_hw: tuple[int, int]) -> tuple[npt.NDArray[np.float64], list[str]]:
    # Values in [0, 1] of somebody's PNG, and what is odd about it. The size is compared before decoding.
    if not data.startswith(_SIGNATURE):
        raise DataError("is JPEG inside, which is lossy" if data.startswith(b"\xff\xd8") else "is not a PNG")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            if (opened.height, opened.width) != size_hw:
                raise DataError(
                    f"is {opened.width}x{opened.height} pixels, the picture is {size_hw[1]}x{size_hw[0]}"
                )
            if getattr(opened, "n_frames", 1) > 1:
                raise DataError("is animated")
            return _one_channel(opened)
    except DataError:
        raise
    except Exception as error:  # Pillow raises many types on hostile bytes
        raise DataError(f"cannot be read: {error}") from None


def _one_channel(opened: Image.Image) -> tuple[npt.NDArray[np.float64], list[str]]:
    mode = opened.mode
    if mode in ("1", "L"):
        return np.asarray(opened.convert("L"), dtype=np.float64) / 255, []
    if mode.startswith("I"):
        return np.asarray(opened, dtype=np.float64) / 65535, []
    pixels = np.asarray(opened.convert("RGBA"))
    if (pixels[..., 3] != 255).any():
        raise DataError("is partly transparent; a mask is one grey channel")
    if (pixels[..., :1] != pixels[..., 1:3]).any():
        raise DataError(f"is a colour picture ({mode}); a mask is one grey channel")
    return pixels[..., 0].astype(np.float64) / 255, [f"is {mode} with equal channels; one was taken"]
