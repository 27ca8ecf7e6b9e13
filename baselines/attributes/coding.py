"""How a row of outputs stands for a feature value and, where it is learned, a gender.

With `levels` = N + 1 feature values 0..N:

    feature    levels outputs: one softmax over the values
    joint      2 * levels outputs: one softmax; output l is (value l, female), levels + l is (value l, male)
    separate   levels + 2 outputs: a softmax over the values, then one over female, male

Source: Xu & Zheng, equations 11 to 13. The text also says "array of length N" and "age l", left over from
another network; N + 1 values fit its 22 outputs (`baselines.md` section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.attributes.settings import CodingKind

GENDERS = ("female", "male")
UNKNOWN_GENDER = -1


@dataclass(frozen=True, slots=True)
class OutputCoding:
    """The meaning of a network's outputs.

    Attributes:
        levels: feature values, 0 to levels - 1.
        kind: see the module's text.
    """

    levels: int
    kind: CodingKind

    @property
    def outputs(self) -> int:
        """How many numbers the network gives."""
        return {"feature": self.levels, "joint": 2 * self.levels, "separate": self.levels + 2}[self.kind]

    @property
    def has_gender(self) -> bool:
        """Whether the outputs say anything about gender."""
        return self.kind != "feature"

    def feature_log_probabilities(self, logits: Tensor) -> Tensor:
        """(B, levels) float32 logarithms of the probability of each feature value, from (B, outputs)."""
        if self.kind == "joint":
            return self._pairs(logits).logsumexp(dim=1)
        return torch.log_softmax(logits[:, : self.levels].float(), dim=1)

    def gender_log_probabilities(self, logits: Tensor) -> Tensor:
        """(B, 2) float32 logarithms of the probability of female and male, from (B, outputs).

        Raises:
            ValueError: the outputs say nothing about gender.
        """
        if self.kind == "joint":
            return self._pairs(logits).logsumexp(dim=2)
        if self.kind == "separate":
            return torch.log_softmax(logits[:, self.levels :].float(), dim=1)
        raise ValueError("these outputs hold no gender")

    def class_log_probabilities(self, logits: Tensor, feature: Tensor, gender: Tensor) -> Tensor:
        """(B,) logarithm of the probability of what is known to be true: the value, and the gender if known.

        Args:
            logits: (B, outputs).
            feature: (B,) integer values.
            gender: (B,) integer places in `GENDERS`, or `UNKNOWN_GENDER`.
        """
        of_feature = self.feature_log_probabilities(logits).gather(1, feature[:, None])[:, 0]
        if not self.has_gender:
            return of_feature
        place = gender.clamp(min=0)
        if self.kind == "joint":
            pairs = self._pairs(logits)[torch.arange(len(place), device=logits.device), place]
            with_gender = pairs.gather(1, feature[:, None])[:, 0]
        else:
            of_gender = self.gender_log_probabilities(logits).gather(1, place[:, None])[:, 0]
            with_gender = of_feature + of_gender
        return torch.where(gender == UNKNOWN_GENDER, of_feature, with_gender)

    def _pairs(self, logits: Tensor) -> Tensor:
        return torch.log_softmax(logits.float(), dim=1).view(-1, 2, self.levels)
