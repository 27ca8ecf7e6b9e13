"""Face verification under occlusion: MSML trained on identities, scored on pairs (`baselines.md` section 5).

    from baselines.verification import training, scoring
    faces = read_identities(Path("faces"))                       # one folder per person
    training.train_verification(VerificationSettings(), faces, Path("run"))
    scoring.score_verification(Path("run"), read_pairs(Path("pairs.csv")), Path("cards"))

Training data is whatever the user has: pictures of faces with an identity each. Importing this package loads
no model library; it makes the task "verification" known.
"""

from __future__ import annotations

from baselines.verification.task import VERIFICATION

__all__ = ["VERIFICATION"]
