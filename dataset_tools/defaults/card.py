"""The model card of a shipped model; same facts, same text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dataset_tools.defaults.about import About, Measure, allowed_use
from dataset_tools.export.licences import describe_terms, read_terms
from dataset_tools.export.markdown import plain, table

CARD_FILE = "README.md"

_WHAT = {
    "proposer": "Proposes {tells} on photos of faces: what `prelabel`, `review assist` and the demo use when "
    "no other model is named (`prelabel: {{checkpoint: default}}`). Its proposals are marked with its name "
    "and are never ground truth.",
    "detector": "Finds faces and tells whether they are {tells}: what `detect` uses when AIZOO's official "
    "weights cannot be had, and always with `filter: {{detector: default}}`.",
}
_LIMITS = (
    "It finds what is worn over a face. It does not tell who a person is, was not trained for that, and must "
    "not be used to. It has seen no hand-made label; what rendered masks do not show, it has not learned."
)


def model_card(about: About) -> str:
    """The whole card."""
    what = _WHAT[about.kind].format(tells=", ".join(word.replace("_", " ") for word in about.tells))
    parts = [
        f"# The default {about.kind}: {plain(about.name)}",
        "<!-- Written by `build-dataset defaults train`; not by hand. -->",
        f"{what} Loading it runs no code: safetensors, JSON and CSV.",
        "## What it was made of\n\n" + _sources(about),
        "## What it may be used for\n\n" + _use(about),
        "## What was measured\n\n" + _measures(about.measures),
        "## How it was made\n\n" + _making(about),
        f"## Limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(parts) + "\n"


def _sources(about: About) -> str:
    rows = [
        (
            one.name,
            one.origin or "not stated",
            one.licence,
            describe_terms(read_terms(one.licence)),
            one.photos,
            one.rendered,
        )
        for one in about.sources
    ]
    titles = ("Source", "Origin", "Stated licence", "Which means", "Photos", "Rendered from them")
    start = f"Training began from {plain(about.start)}"
    start += f" ({plain(about.start_licence)})." if about.start_licence else "."
    return (
        f"{table(titles, rows)}\n\nAll masks are rendered by the suite, so every label is exact and none was "
        f"made by hand. {start} No photo is shipped; what was seen is kept as digests alone."
    )


def _use(about: About) -> str:
    words = " ".join(plain(one) for one in allowed_use(about))
    return f"{words} Whether weights are bound by the licences of their training pictures is yours to check."


def _measures(measures: tuple[Measure, ...]) -> str:
    if not measures:
        return "Nothing: it was made without `--score-on`."
    rows = [
        (
            one.what,
            one.data,
            one.items,
            f"{one.value:.4f}",
            "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}",
        )
        for one in measures
    ]
    digests = sorted({(one.data, one.digest) for one in measures if one.digest})
    said = "".join(f"\n- {plain(name)}: `{digest}`" for name, digest in digests)
    head = table(("Figure", "Pictures", "Of", "Value", "95 % interval"), rows)
    return head + (f"\n\nDigests of what was scored:\n{said}" if said else "")


def _making(about: About) -> str:
    rows: list[tuple[str, str | int]] = [
        ("Data", about.data),
        ("Data digest", about.data_digest),
        ("Samples", about.samples),
        ("Steps, seed", f"{about.steps}, {about.seed}"),
        ("Time, device", f"{about.seconds:.0f} s, {about.device}"),
        ("Weights", f"{about.weights_file}, {about.weights_bytes / 1e6:.2f} MB"),
        ("Weights sha256", about.weights_sha256),
        ("Made with", ", ".join(f"{name} {number}" for name, number in about.versions.items())),
    ]
    recipe = yaml.safe_dump(_plain_values(about.recipe), sort_keys=False, allow_unicode=True)
    return (
        f"```sh\n{about.command}\n```\n\n{table(('Fact', 'Value'), rows)}\n\nThe recipe, where it departs "
        f"from the suite's defaults:\n\n```yaml\n{recipe}```"
    )


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain_values(one) if isinstance(one, Mapping) else one for key, one in values.items()}
