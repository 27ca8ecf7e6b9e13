"""The stage "split": train, val and test, whole groups at a time and evenly over many attributes at once."""

from dataset_tools.split.settings import PRESETS, CustomShares, SplitSettings
from dataset_tools.split.stage import SplitStage

__all__ = ["PRESETS", "CustomShares", "SplitSettings", "SplitStage"]
