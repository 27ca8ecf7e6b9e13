"""Label Studio's settings, with walls between organisations (see `maskset_walls`) and a quicker SQLite."""

import os

# While these load, Label Studio asks Django for them, and Django looks up this variable: it has to find
# Label Studio's half-read module, not this one, which has nothing in it yet.
_OURS = os.environ["DJANGO_SETTINGS_MODULE"]
os.environ["DJANGO_SETTINGS_MODULE"] = "label_studio.core.settings.label_studio"
from label_studio.core.settings.label_studio import *  # type: ignore[import-not-found]  # noqa: E402, F403
from label_studio.core.settings.label_studio import DATABASES, INSTALLED_APPS  # noqa: E402

os.environ["DJANGO_SETTINGS_MODULE"] = _OURS

INSTALLED_APPS = [*INSTALLED_APPS, "maskset_walls.Walls"]
PROJECT_MIXIN = "maskset_project.ProjectMixin"

# Each uploaded picture is a transaction. A write-ahead log syncs the disk once for it instead of five times,
# as safely, and readers do not wait for writers. Transactions take the lock when they begin: one that reads
# first could find that somebody else has written meanwhile, and would fail at once.
DATABASES["default"]["OPTIONS"] = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
    "transaction_mode": "IMMEDIATE",
    "timeout": 60,
}
