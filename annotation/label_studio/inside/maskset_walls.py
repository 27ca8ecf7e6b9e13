"""Walls between the organisations of one Label Studio.

The free edition has organisations, but takes for granted that there is only one: lists are filtered by it,
most single objects are not ("cross-org access does not exist by design", says its `projects.mixins`), and
everybody may move themselves into another one. `maskset_project` answers for all that asks its project;
here is what asks nobody.
"""

from typing import Any

from django.apps import AppConfig  # type: ignore[import-not-found]


class Walls(AppConfig):  # type: ignore[misc]
    """Put up once, when Django has all models."""

    name = "maskset_walls"

    def ready(self) -> None:
        """Called by Django."""
        _ask_the_project()
        _stay_in_the_organisation()


def _ask_the_project() -> None:
    """Drafts by task and uploads by number ask nobody; new tasks, tabs and projects do not either."""
    from core.api_permissions import HasObjectPermission  # type: ignore[import-not-found]
    from core.current_request import CurrentContext  # type: ignore[import-not-found]
    from data_import.api import FileUploadAPI  # type: ignore[import-not-found]
    from data_manager.models import View  # type: ignore[import-not-found]
    from django.core.exceptions import PermissionDenied  # type: ignore[import-not-found]
    from django.db.models.signals import pre_save  # type: ignore[import-not-found]
    from projects.models import Project  # type: ignore[import-not-found]
    from rest_framework.permissions import BasePermission  # type: ignore[import-not-found]
    from tasks.api import AnnotationDraftListAPI  # type: ignore[import-not-found]
    from tasks.models import Task  # type: ignore[import-not-found]

    class TaskPermission(BasePermission):  # type: ignore[misc]
        def has_permission(self, request: Any, view: Any) -> bool:
            task = Task.objects.filter(pk=view.kwargs["pk"]).first()
            return task is not None and task.has_permission(request.user)

    FileUploadAPI.permission_classes = (*FileUploadAPI.permission_classes, HasObjectPermission)
    AnnotationDraftListAPI.permission_classes = (*AnnotationDraftListAPI.permission_classes, TaskPermission)

    def check(instance: Any, **_: Any) -> None:
        user = CurrentContext.get_user()
        project = instance if isinstance(instance, Project) else instance.project
        if user is not None and user.is_authenticated and not project.has_permission(user):
            raise PermissionDenied("that project belongs to another organisation")

    for model in (Project, Task, View):
        pre_save.connect(check, sender=model, weak=False)


def _stay_in_the_organisation() -> None:
    """Everybody may edit their own account, the organisation they act in included."""
    from django.core.exceptions import PermissionDenied
    from django.db.models.signals import pre_save
    from organizations.models import OrganizationMember  # type: ignore[import-not-found]
    from users.models import User  # type: ignore[import-not-found]

    def check(instance: Any, update_fields: Any = None, **_: Any) -> None:
        there = instance.active_organization_id
        if there is None or (update_fields is not None and "active_organization" not in update_fields):
            return
        mine = OrganizationMember.objects.filter(user_id=instance.pk, deleted_at__isnull=True)
        if not mine.filter(organization_id=there).exists():
            raise PermissionDenied("you are no member of that organisation")

    pre_save.connect(check, sender=User, weak=False)
