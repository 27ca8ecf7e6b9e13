"""Label Studio's settings, with walls between organisations (see `maskset_walls`)."""

import os

# While these load, Label Studio asks Django for them, and Django looks up this variable: it has to find
# Label Studio's half-read module, not this one, which has nothing in it yet.
_OURS = os.environ["DJANGO_SETTINGS_MODULE"]
os.environ["DJANGO_SETTINGS_MODULE"] = "label_studio.core.settings.label_studio"
from label_studio.core.settings.label_studio import *  # type: ignore[import-not-found]  # noqa: E402, F403
from label_studio.core.settings.label_studio import INSTALLED_APPS as _THEIRS  # noqa: E402

os.environ["DJANGO_SETTINGS_MODULE"] = _OURS

INSTALLED_APPS = [*_THEIRS, "maskset_walls.Walls"]
PROJECT_MIXIN = "maskset_project.ProjectMixin"
