"""The benchmark: segmentation baselines, one training loop, metrics, and a leaderboard.

Importing this package loads no model library; `baselines.models` lists the baselines, `baselines.train`,
`baselines.predict` and `baselines.evaluate` do the work.
"""
