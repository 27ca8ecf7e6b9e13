"""What labels of faces can and cannot mean; shown with every figure of the attribute task."""

from __future__ import annotations

ABOUT_LABELS = (
    "The labels are what the people who labelled these pictures wrote down, nothing more. A feature "
    "value is their reading of a photo on a scale they chose. A gender label is how someone was "
    "perceived or registered, as one of two words; it is not a fact about the person shown, it leaves "
    "out everyone whom two words do not describe, and it cannot be read from a face. Accuracy here "
    "means agreement with those labels on pictures like these, and it can differ between groups of "
    "people without this table showing it. Such a network must not be used to decide about people. "
    "Gender is learned only when asked for, and no other part of the suite uses it."
)
