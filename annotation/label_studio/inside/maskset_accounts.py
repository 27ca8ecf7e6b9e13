"""Make annotators, each with an organisation of their own, or set their password and token anew.

Run by Label Studio's python with the server's environment, also while the server runs. Standard input has a
JSON list of {"name", "email", "password", "token"}; no secret stands in an argument list.
"""

import json
import sys
from pathlib import Path
from typing import Any

NO_OWNER = 3  # exit status: the server has never been started


def main() -> int:
    """Make them all, or none."""
    people = json.load(sys.stdin)
    import label_studio  # type: ignore[import-not-found]

    sys.path.insert(0, str(Path(label_studio.__file__).parent))  # as its own start command does
    import django  # type: ignore[import-not-found]

    django.setup()
    from django.db import OperationalError, transaction  # type: ignore[import-not-found]
    from organizations.models import Organization  # type: ignore[import-not-found]

    try:
        # The first organisation takes in people who come by a link: it has to be the owner's.
        if not Organization.objects.exists():
            return NO_OWNER
    except OperationalError as error:
        if "no such table" in str(error):
            return NO_OWNER
        raise
    with transaction.atomic():
        for person in people:
            _make(person)
    return 0


def _make(person: dict[str, Any]) -> None:
    from organizations.models import Organization
    from rest_framework.authtoken.models import Token  # type: ignore[import-not-found]
    from users.models import User  # type: ignore[import-not-found]

    user = User.objects.filter(email=person["email"]).first()
    if user is None:
        user = User.objects.create_user(email=person["email"])
    user.username = user.first_name = person["name"]
    user.set_password(person["password"])
    user.save()
    home = Organization.objects.filter(created_by=user).first() or Organization.create_organization(
        created_by=user, title=person["name"], legacy_api_tokens_enabled=True
    )
    user.active_organization = home
    user.save(update_fields=["active_organization"])
    Token.objects.filter(user=user).delete()
    Token.objects.create(user=user, key=person["token"])


if __name__ == "__main__":
    sys.exit(main())
