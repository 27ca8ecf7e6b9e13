"""An audit as text, Markdown or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

from baselines.audit import Audit
from baselines.audit.printed import Severity
from baselines.audit.rules import Figures
from dataset_tools.core.errors import ConfigError

Form = Literal["table", "md", "json"]

_COLUMNS = (
    ("IoU", "iou"),
    ("F1 of means", "f1_of_means"),
    ("F1 mean", "f1_mean"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("accuracy", "accuracy"),
)
_EXPLAINED = {
    Severity.IMPOSSIBLE: "Impossible: no set of pictures gives these means",
    Severity.SUSPICIOUS: "Suspicious: possible, but not what the other rows do",
    Severity.DUPLICATE: "Repeated figures",
    Severity.KNOWN: "Known from the released files and the specification",
}

Rows = Sequence[Sequence[str]]


def render(audit: Audit, form: str) -> str:
    """The audit as a text that ends in a line break.

    Args:
        audit: what to write.
        form: "table" for a terminal, "md" or "json".

    Raises:
        ConfigError: no such form.
    """
    if form == "json":
        return json.dumps(_json_values(asdict(audit)), indent=2, ensure_ascii=False) + "\n"
    if form not in get_args(Form):
        raise ConfigError(f"--format {form}: choose one of {', '.join(get_args(Form))}")
    is_markdown = form == "md"
    blocks = [f"# Audit: {audit.title}" if is_markdown else f"Audit: {audit.title}"]
    for title, body in _sections(audit, is_markdown):
        blocks.append(f"## {title}" if is_markdown else f"{title}\n{'-' * len(title)}")
        blocks.append(body)
    return "\n\n".join(blocks) + "\n"


def _sections(audit: Audit, is_markdown: bool) -> Iterable[tuple[str, str]]:
    table = _markdown_table if is_markdown else _text_table
    for severity in Severity:
        lines = _findings(audit, severity)
        if lines:
            yield f"{_EXPLAINED[severity]} ({len(lines)})", "\n".join(f"- {line}" for line in lines)
    if audit.ceilings:
        yield "What a perfect prediction scores", "\n\n".join((_about_data(audit), _ceilings(audit, table)))
    if audit.rows:
        yield "Our rows by both rules", _rows(audit, table)
    if audit.published:
        head = ("score file", "pictures", *(name for name, key in _COLUMNS if key != "f1_of_means"))
        body = [
            (one.name, str(one.pictures), *_cells(one.figures, without="f1_of_means"))
            for one in audit.published
        ]
        yield "Published scores of single pictures, averaged (released rule)", table(head, body)


def _findings(audit: Audit, severity: Severity) -> list[str]:
    """One line per statement, with the rows it is said of."""
    rows: dict[str, list[str]] = {}
    for finding in audit.findings:
        if finding.severity is severity:
            rows.setdefault(finding.what, []).append(finding.row)
    return [f"{_names(found)}: {what}" for what, found in rows.items()]


def _names(rows: Sequence[str]) -> str:
    return ", ".join(rows) if len(rows) <= 3 else f"{len(rows)} rows ({rows[0]} to {rows[-1]})"


def _about_data(audit: Audit) -> str:
    said = f"{audit.pictures} pictures."
    if audit.shares is not None:
        said += (
            f" Mean share of foreground: {audit.shares[0]:.3f} of the lossless labels, "
            f"{audit.shares[1]:.3f} of the released ones."
        )
    if audit.matching is not None:
        equal, total = audit.matching
        said += f" Released labels made again from the lossless ones: {equal} of {total} bit for bit."
    return said


def _ceilings(audit: Audit, table: Any) -> str:
    head = ("prediction", "scored by", *(name for name, _ in _COLUMNS))
    return str(table(head, [(one.predictor, one.rule, *_cells(one.figures)) for one in audit.ceilings]))


def _rows(audit: Audit, table: Any) -> str:
    published = {one.baseline: one for one in audit.published}
    head = ("row", "rule", "pictures", *(name for name, _ in _COLUMNS))
    body: list[Sequence[str]] = []
    for row in audit.rows:
        body.append((row.row, "ours", str(row.pictures), *_cells(row.ours)))
        body.append((row.row, "released", str(row.pictures), *_cells(row.released)))
        if (theirs := published.get(row.baseline)) is not None:
            body.append((row.row, "published", str(theirs.pictures), *_cells(theirs.figures)))
    return str(table(head, body))


def _cells(figures: Figures, without: str = "") -> list[str]:
    values = (figures.get(key, math.nan) for _, key in _COLUMNS if key != without)
    return ["–" if math.isnan(value) else f"{value:.4f}" for value in values]


def _text_table(head: Sequence[str], body: Rows) -> str:
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *body)
    ]
    return "\n".join(lines)


def _markdown_table(head: Sequence[str], body: Rows) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *body)]
    lines.insert(1, "|" + " --- |" * len(head))
    return "\n".join(lines)


def _json_values(value: Any) -> Any:
    """NaN has no place in JSON."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: _json_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json_values(one) for one in value]
    return value
