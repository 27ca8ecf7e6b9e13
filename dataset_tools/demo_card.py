"""What the demo's card and datasheet say that no manifest can: the `export` section of its configuration.

No contact is given, so that the demo cannot be published openly.
"""

from __future__ import annotations

from typing import Any

DEMO_EXPORT: dict[str, Any] = {
    "description": (
        "Two public-domain portraits, mirrored and enlarged, with rendered face masks. It shows "
        "that every stage of the suite works, and is far too small to train or judge anything."
    ),
    "lawful_basis": (
        "Official portraits of two public figures, from installed Python packages; made for "
        "trying the suite on one's own machine and not meant to be passed on."
    ),
    "consent": (
        "Nobody was asked: NASA and the United States Navy published the portraits, which are in "
        "the public domain."
    ),
    "datasheet": {
        "motivation": {
            "purpose": ("To show that every stage of the suite works, on a machine without internet."),
            "creators": "The command `build-dataset demo`, on behalf of whoever runs it.",
            "funding": "Nobody.",
        },
        "composition": {
            "confidential": "No.",
            "offensive": "No.",
        },
        "collection": {
            "people_involved": "Nobody but who ran the command.",
            "ethical_review": "No.",
            "notice": "No.",
            "impact": "No.",
        },
        "uses": {
            "so_far": "No, and it is not fit for any.",
            "repository": "No.",
        },
        "distribution": {
            "third_parties": "It is not meant to be.",
            "when": "Never.",
        },
        "maintenance": {
            "maintainer": "Nobody; running the demo again makes it anew.",
            "updates": "No.",
            "old_versions": "No.",
        },
    },
}
