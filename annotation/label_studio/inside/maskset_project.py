"""Who may touch a project: read by Label Studio through its setting PROJECT_MIXIN."""

from typing import Any

from projects.mixins import ProjectMixin as OpenProjectMixin  # type: ignore[import-not-found]


class ProjectMixin(OpenProjectMixin):  # type: ignore[misc]
    """Base of `Project`; tasks, annotations, drafts, predictions and uploads ask their project."""

    def has_permission(self, user: Any) -> bool:
        """Only for members of the project's organisation, while they act in it."""
        return (
            user.is_authenticated
            and user.active_organization_id == self.organization_id
            and bool(self.organization.has_permission(user))
            and bool(super().has_permission(user))
        )
