"""Models that come with the suite itself: trained by `build-dataset defaults train` on rendered masks.

Each is a folder as training writes one; data_cards/default-proposer.md and data_cards/default-detector.md say
what they were made of.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def shipped_proposer() -> Path:
    """Folder of the model that pre-labels when no other is named."""
    return _HERE / "proposer"


def shipped_detector() -> Path:
    """Folder of the face-mask detector that is used when AIZOO's official weights are not at hand."""
    return _HERE / "detector"
