"""The statistics page: one HTML file that opens offline, and the same facts as `report.json`.

Figures 3 and 4 follow those of the MFSD dataset in ABANet (Rezvani et al., Expert Systems 2024): image
sizes, face orientation, masked faces per image, mask types.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.files import write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import LABEL_COLOURS
from dataset_tools.core.manifest import Manifest
from dataset_tools.stats import sections
from dataset_tools.stats.gallery import gallery_section
from dataset_tools.stats.html import text
from dataset_tools.stats.noise_page import MOST_SUSPECTS, noise_section
from dataset_tools.stats.opinions import PredictionReader
from dataset_tools.stats.rendered import RenderedFacts, collect_rendered
from dataset_tools.stats.rendered_page import render_overlay
from dataset_tools.stats.survey import Survey, make_survey
from dataset_tools.stats.thumbnails import GUESS

# With some 8 kB each they make a page of about 10 MB, which a browser opens in a fraction of a second.
MOST_PICTURES = 1200

_GUESS_RGB = (255, 214, 0)


def write_report(
    chain: Mapping[str, Manifest],
    images: ImageStore,
    out_dir: Path,
    title: str = "Dataset report",
    predictions: PredictionReader | None = None,
) -> Path:
    """Write `report.html` and `report.json`.

    Args:
        chain: manifests by stage name, in the order they ran; the last one is what the page shows.
        images: the workspace's pictures.
        out_dir: folder for both files.
        title: heading of the page.
        predictions: gives what a trained model has saved of a sample, for the label-noise estimate;
            None: proposals that people have reviewed are all there is.

    Returns:
        Path of the page.

    Raises:
        ConfigError: an empty chain.
    """
    if not chain:
        raise ConfigError("a report needs at least one finished stage")
    survey = make_survey(chain, MOST_PICTURES, predictions)
    rendered = collect_rendered(chain["synth"]) if "synth" in chain else RenderedFacts()
    values = {**survey.facts.as_json(), "rendered": rendered.as_json(), "noise": noise_as_json(survey)}
    write_text(out_dir / "report.json", json.dumps(values, indent=2) + "\n")
    write_text(out_dir / "report.html", render_page(survey, rendered, images, title))
    return out_dir / "report.html"


def noise_as_json(survey: Survey) -> dict[str, Any]:
    """The label-noise estimate as plain values; None for what is not known."""
    noise, evidence = survey.noise, survey.evidence
    background, mask = noise.wrong_shares if noise.suspects else (None, None)
    return {
        "pictures_from_predictions": evidence.from_predictions,
        "pictures_from_proposals": evidence.from_proposals,
        "unreadable": len(evidence.unreadable),
        "models": sorted(evidence.models),
        "confident_joint": noise.confident.tolist(),
        "wrong_share_of_face_mask": mask,
        "wrong_share_of_background": background,
        "most_suspicious": [
            {
                "sample": key,
                "suspicion": round(item.suspicion, 6),
                "extra_px": item.extra_px,
                "missing_px": item.missing_px,
                "label_px": item.label_px,
            }
            for key, item in list(noise.suspects.items())[:MOST_SUSPECTS]
            if item.suspicion > 0
        ],
    }


def render_page(survey: Survey, rendered: RenderedFacts, images: ImageStore, title: str) -> str:
    """The whole page as HTML.

    Args:
        survey: all that is shown.
        rendered: what the overlay made; nothing is shown when it did not run.
        images: for the pictures.
        title: of the page.
    """
    facts = survey.facts
    gallery = gallery_section(survey.entries, facts.pictures, survey.noise, images)
    parts = {
        "sizes": ("Figure 3: sizes, orientation, masked faces", sections.figure_three(facts)),
        "types": ("Figure 4: mask types and how they are worn", sections.figure_four(facts)),
        "faces": ("Pictures, faces and labels", sections.further(facts)),
        "rendered": ("Rendered masks", render_overlay(rendered, images) if rendered.yields else ""),
        "origins": ("Sources, licences and label origins", sections.provenance(facts)),
        "review": ("Review and agreement", sections.review(facts)),
        "splits": ("Attributes by split", sections.by_split(facts) if facts.cells else ""),
        "noise": ("Suspicious labels", noise_section(survey)),
        "gallery": ("Gallery", gallery),
        "flow": ("What happened to every item", sections.flow(facts)),
        "rejected": ("Rejected, by stage and reason", sections.dropped(facts)),
    }
    shown = {key: part for key, part in parts.items() if part[1]}
    contents = "".join(
        f'<a href="#{key}">{text(name.partition(":")[0])}</a>' for key, (name, _) in shown.items()
    )
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{text(name)}</h2>{content}</section>'
        for key, (name, content) in shown.items()
    )
    return _document(
        title,
        f'<div class="head"><div><h1>{text(title)}</h1><p class="lead">{sections.lead(facts)}</p></div>'
        '<button type="button" id="theme" hidden>Colours: automatic</button></div>'
        f'<nav aria-label="Contents">{contents}</nav>{sections.tiles(facts)}{body}'
        "<footer>Counted from the manifest; the same facts are in report.json.</footer>",
    )


def _document(title: str, main: str) -> str:
    here = Path(__file__).parent
    css = (here / "page.css").read_text(encoding="utf-8") + _layer_style()
    script = (here / "gallery.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # The page needs one script and no address; this makes a browser refuse anything that slipped in.
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>\n{css}</style></head><body><main>{main}"
        "<noscript>The gallery needs JavaScript, which this browser has switched off.</noscript>"
        f"</main><script>{script}</script></body></html>\n"
    )


def _layer_style() -> str:
    colours = {**{label.value: rgb for label, rgb in LABEL_COLOURS.items()}, GUESS: _GUESS_RGB}
    return "".join(
        f".l-{key} {{ fill: rgb{rgb}; }} .swatch.l-{key} {{ background: rgb{rgb}; }} "
        f"path.l-{key} {{ display: var(--show-{key}, inline); }}\n"
        for key, rgb in colours.items()
    )
