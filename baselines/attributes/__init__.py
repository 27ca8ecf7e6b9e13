"""The multi-attribute network of Xu & Zheng (`baselines.md` section 3.3), for a user's own labelled pictures.

Importing this registers the task and loads no model library.
"""

from __future__ import annotations

from baselines.attributes.rows import ATTRIBUTE_TASK

__all__ = ["ATTRIBUTE_TASK"]
