"""MISA's second stage: an occlusion classifier on pairs of faces, and the edge segmentation that uses it."""
