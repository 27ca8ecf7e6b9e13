"""The `split` section of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dataset_tools.core.errors import UnknownName
from dataset_tools.core.record import Split
from dataset_tools.core.settings import Settings
from dataset_tools.split.strata import STRATA

Shares = tuple[float, float, float]  # train, val, test

SPLITS: tuple[Split, Split, Split] = (Split.TRAIN, Split.VAL, Split.TEST)

PRESETS: dict[str, Shares] = {
    # MISA (2022), section 4: 840 training, 105 validation and 105 test pictures.
    "misa": (8.0, 1.0, 1.0),
    # ABANet (2024), section 5: 8,500 / 2,500 / 1,758 of 12,758 labelled faces.
    "abanet": (8500.0, 2500.0, 1758.0),
}

# ABANet (2024), section 5, reports the mean over five draws of the split.
TRIALS = 5


class CustomShares(Settings):
    """Parts of the whole, in any unit: 8, 1, 1 and 0.8, 0.1, 0.1 mean the same."""

    train: float = Field(gt=0)
    val: float = Field(ge=0)
    test: float = Field(ge=0)


class SplitSettings(Settings):
    """How large the splits are, what they hold in equal proportion, and which of several draws this is.

    Attributes:
        preset: "misa" (8:1:1), "abanet" (8500:2500:1758) or "custom".
        shares: the parts when `preset` is "custom", otherwise absent.
        absolute: the parts are numbers of labelled faces, not shares: val and test get theirs exactly (as
            far as whole groups allow), train gets its own and all that is left over. With fewer labelled
            faces than the parts add up to, they are shares after all.
        stratify: attributes that every split shall hold in equal proportion, see `strata.STRATA`; whole
            size is always among them.
        trial: 0 to 4: draws of the same shares from other seeds.
        folds: deal everything into so many parts of equal size; the part `fold` is the test split, and the
            rest is train and val in the proportion of their shares. Every sample is in test for exactly
            one fold. Splits that sources state do not count then.
        fold: which part is the test split, from 0.
        frozen: file of `build-dataset split --freeze`: what is placed there stays there.
    """

    preset: Literal["misa", "abanet", "custom"] = "misa"
    shares: CustomShares | None = None
    absolute: bool = False
    stratify: tuple[str, ...] = tuple(STRATA)
    trial: int = Field(default=0, ge=0, lt=TRIALS)
    folds: int | None = Field(default=None, ge=2, le=1000)
    fold: int = Field(default=0, ge=0)
    frozen: Path | None = None

    @field_validator("stratify")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in STRATA:
                raise UnknownName("attribute", name, list(STRATA))
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _check_shares(self) -> SplitSettings:
        if (self.preset == "custom") != (self.shares is not None):
            raise ValueError('shares {train, val, test} go with preset "custom", and only with it')
        parts = self.parts
        if self.absolute and (self.folds is not None or any(part != int(part) for part in parts)):
            raise ValueError("absolute needs shares that are whole numbers of faces, and no folds")
        if self.absolute and self.preset == "misa":
            raise ValueError('absolute goes with preset "abanet" or "custom": 8:1:1 are no numbers of faces')
        return self

    @model_validator(mode="after")
    def _check_draw(self) -> SplitSettings:
        if self.fold and (self.folds is None or self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} needs folds to be larger, found {self.folds}")
        if self.frozen is not None and (self.trial or self.folds is not None):
            raise ValueError("frozen keeps everybody in place, trial and folds deal anew; choose one")
        return self

    @property
    def parts(self) -> Shares:
        """Train, val and test in the unit in which they were given."""
        custom = self.shares
        return (custom.train, custom.val, custom.test) if custom else PRESETS[self.preset]

    def fractions(self) -> dict[Split, float]:
        """Share of each split; they sum to 1."""
        return {split: part / sum(self.parts) for split, part in zip(SPLITS, self.parts, strict=True)}

    def targets(self, labelled_faces: int) -> dict[Split, float]:
        """Share of each split in this draw; they sum to 1.

        Args:
            labelled_faces: of the whole dataset; decides what absolute numbers come to.
        """
        train, val, test = self.parts
        if self.folds is not None:
            rest = (1 - 1 / self.folds) / (train + val)
            return dict(zip(SPLITS, (rest * train, rest * val, 1 / self.folds), strict=True))
        if self.counts_faces(labelled_faces):
            shares = ((labelled_faces - val - test) / labelled_faces, val / labelled_faces)
            return dict(zip(SPLITS, (*shares, test / labelled_faces), strict=True))
        return self.fractions()

    def counts_faces(self, labelled_faces: int) -> bool:
        """True when the parts are numbers of faces and there are enough."""
        return self.absolute and labelled_faces >= sum(self.parts)

    def resolved(self, base_dir: Path) -> SplitSettings:
        """The same with `frozen` made absolute from `base_dir`."""
        if self.frozen is None:
            return self
        return self.model_copy(update={"frozen": base_dir / self.frozen})
