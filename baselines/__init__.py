"""Segmentation models of the papers: registry, training, scoring, leaderboard."""
