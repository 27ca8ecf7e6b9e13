"""Face parsing: Zhakyp et al.'s DeepLabV3+ on 18 overlapping parts of a face (`baselines.md` section 4).

    from baselines.parsing.settings import ParsingSettings
    from baselines.parsing.train import train_parsing
    from baselines.parsing.score import score_parsing
    train_parsing(ParsingSettings(), Path("celebamask"), Path("run"))
    card = score_parsing(Path("run"), Path("celebamask"), Path("cards"))

Importing this package loads no model library; it makes the task "parsing" known.
"""

from __future__ import annotations

from baselines.parsing.task import PARSING

__all__ = ["PARSING"]
