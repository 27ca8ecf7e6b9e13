"""`crawl --retry-failed`: what the command line adds to `retry`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dataset_tools.core.errors import UnknownName
from dataset_tools.core.reasons import Reason

if TYPE_CHECKING:
    from dataset_tools.crawl.retry import RetryReport


def parse_reasons(text: str) -> tuple[Reason, ...]:
    """Reasons from "transport,http_5xx"; "" gives none.

    Raises:
        UnknownName: no such reason.
    """
    known = [reason.value for reason in Reason]
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UnknownName("reason", word, known)
    return tuple(Reason(word) for word in words)


def describe_retry(report: RetryReport) -> str:
    """One or two lines about a retry, for people."""
    parts = [f"{report.tried} tried", f"{report.kept} kept"]
    failed = sum(report.reasons.values())
    if failed:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(report.reasons.items()))
        parts.append(f"{failed} rejected again ({why})")
    if report.put_off:
        parts.append(f"{report.put_off} put off by their hosts to a later time")
    said = f"retry     {', '.join(parts)}; {report.shards} shard(s) rewritten"
    if report.stale:
        said += f"\n          put away, as they followed from the old rows: {', '.join(report.stale)}"
    return said


def retry_values(report: RetryReport) -> dict[str, Any]:
    """The report as plain JSON values."""
    return dataclasses.asdict(report)
