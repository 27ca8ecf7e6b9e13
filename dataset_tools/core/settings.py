"""Base of all configuration models: frozen, and an unknown key is an error with near matches."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from dataset_tools.core.errors import ConfigError


class Settings(BaseModel):
    """A frozen configuration section. Fields have defaults wherever a sensible one exists."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Section = TypeVar("_Section", bound=Settings)


def parse_settings(section: type[_Section], values: Mapping[str, Any], where: str) -> _Section:
    """Validate plain values, as read from YAML.

    Args:
        section: the model to fill.
        values: plain values.
        where: file name for the message.

    Raises:
        ConfigError: one line naming every wrong key, what was found, and near matches.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = [_describe(section, dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(problems)}") from None


def _describe(section: type[BaseModel], problem: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        found = problem.get("input")
        said = "" if isinstance(found, dict | list) or found is None else f" (found {found!r})"
        # A check of a whole section has no key of its own.
        return f"{path + ': ' if path else ''}{problem['msg'].removeprefix('Value error, ')}{said}"
    known = _known_keys(section, problem["loc"][:-1])
    close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(sorted(known))}"
    return f"unknown key {path}; {hint}"


def _known_keys(section: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        field = section.model_fields.get(str(part))
        if field is not None:
            # An optional section is a union of the model and None.
            kinds = get_args(field.annotation) or (field.annotation,)
            section = next(
                (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), section
            )
    return list(section.model_fields)
