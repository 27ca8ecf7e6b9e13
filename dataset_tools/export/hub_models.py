"""Prepare a trained baseline, or a leaderboard, for the Hub; cards are computed from the records.

    model        README.md (the model card), weights.safetensors, training.json, trained_on.csv
    leaderboard  README.md, leaderboard.json, leaderboard.csv, leaderboard.html

Group words of a source may name a person; in `trained_on.csv` they become the hashes a published dataset has,
so a leak check against that dataset works.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_hex, write_text
from dataset_tools.export.card import licence_fields
from dataset_tools.export.hub_plan import CARD_FILE, PublishPlan, link_or_copy, plan_of
from dataset_tools.export.markdown import plain, table
from dataset_tools.export.replace import replacing_folder

WEIGHTS_FILE = "weights.safetensors"

# The Hub's names for the figures it can show; others go by our own.
_METRICS = {
    "iou": "mean_iou",
    "f1_of_means": "f1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
}
_NAMES = {
    "iou": "IoU (mean over pictures)",
    "f1_of_means": "F1",
    "mae": "MAE",
    "boundary_iou": "boundary IoU",
}
_PICKLES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".pck"})
_PICKLE_STARTS = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
_GROUP_DIGITS = 16  # as `formats.job.public_group`


@dataclass(frozen=True, slots=True)
class Score:
    """A checkpoint's figures on one dataset.

    Attributes:
        dataset: its name, or its repository on the Hub.
        split, label: what was scored.
        digest: of the dataset's rows.
        crops, leaked: scored crops, and samples among them that training had seen or that are kin to some.
        metrics: by name; None where nothing defines one.
    """

    dataset: str
    split: str
    label: str
    digest: str
    crops: int
    leaked: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model card is computed from.

    Attributes:
        title: of the baseline.
        record: content of `training.json`, already checked against the files it vouches for.
        weights_licence: of the weights training started from; "" for none.
        code_licence: of the code that builds the network.
        data_licences: samples of the training data by licence; empty when not known.
        dataset_repo: where that dataset is published; "" when it is not.
        scores: of these very weights.
    """

    title: str
    record: Mapping[str, Any]
    weights_licence: str
    code_licence: str
    data_licences: Mapping[str, int]
    dataset_repo: str
    scores: tuple[Score, ...]

    def missing(self) -> tuple[str, ...]:
        """What keeps it from being published openly."""
        found = []
        if not self.data_licences:
            found.append("the licences of the training data (--data)")
        if not self.scores:
            found.append("a score on pictures it was not trained on (--board)")
        if any(score.leaked for score in self.scores):
            found.append("a fair score: training saw some of the scored pictures")
        return tuple(found)


def prepare_model(checkpoint: Path, out: Path, facts: ModelFacts) -> PublishPlan:
    """Make the folder of a model repository.

    Args:
        checkpoint: a finished one, with `weights.safetensors` and `trained_on.csv`.
        out: folder to make or replace.
        facts: for the card.

    Raises:
        DataError: a pickle lies in the checkpoint, or the weights are no safetensors.
    """
    _refuse_pickles(checkpoint)
    _check_weights(checkpoint / WEIGHTS_FILE)
    seen = _public_rows((checkpoint / "trained_on.csv").read_text(encoding="utf-8"))
    record = _public_record(facts.record, sha256_hex(seen.encode()))
    with replacing_folder(out) as fresh:
        link_or_copy(str(checkpoint / WEIGHTS_FILE), str(fresh / WEIGHTS_FILE))
        write_text(fresh / "trained_on.csv", seen)
        write_text(fresh / "training.json", record)
        write_text(fresh / CARD_FILE, model_card(facts))
    return plan_of(out, facts.missing())


def _refuse_pickles(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as stream:
            start = stream.read(4)
        if path.suffix.lower() in _PICKLES or start.startswith(_PICKLE_STARTS):
            raise DataError(
                f"{path.name} is a pickle or an archive, which runs code when it is loaded; remove it"
            )


def _check_weights(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            if not list(opened.keys()):
                raise DataError(f"{path} holds no tensor")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is no safetensors file: {error}") from None


def _public_rows(text: str) -> str:
    stream = io.StringIO()
    rows = list(csv.DictReader(io.StringIO(text)))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("sample_id", "split", "group", "image_sha256", "parent_id"))
    for row in sorted(
        (one["sample_id"], one["split"], _public(one["group"]), one["image_sha256"], one["parent_id"])
        for one in rows
    ):
        writer.writerow(row)
    return stream.getvalue()


def _public(group: str) -> str:
    return sha256_hex(group.encode())[:_GROUP_DIGITS]


def _public_record(record: Mapping[str, Any], trained_on_sha256: str) -> str:
    settings = dict(record["settings"])
    if settings.get("start_from"):
        settings["start_from"] = Path(settings["start_from"]).name  # a folder of somebody's machine
    changed = {**record, "settings": settings, "trained_on_sha256": trained_on_sha256}
    return json.dumps(changed, indent=2) + "\n"


def model_card(facts: ModelFacts) -> str:
    """The whole README.md; same record and scores, same text."""
    record = facts.record
    label = ", ".join(record["settings"]["labels"])
    head = yaml.safe_dump(_model_head(facts), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {plain(facts.title)}",
        f"Segments {plain(label)} in pictures of faces; a `maskset` checkpoint of the baseline "
        f"`{record['baseline']}`. Loading it runs no code: safetensors, JSON and CSV.",
        "## Training\n\n" + _training(facts),
        "## Scores\n\n" + _scores(facts),
        "## Licences\n\n" + _licences(facts),
        "## Use\n\n```sh\nbuild-dataset pull USER/NAME folder --model\n"
        "leaderboard predict folder PICTURES --out masks\n```",
        "## Limits\n\nThe network finds what is worn over a face. It does not tell who a person is, was not "
        "trained for that, and must not be used to. How well it does on faces unlike its training data is "
        "not known.",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _model_head(facts: ModelFacts) -> dict[str, Any]:
    found = Counter(dict(facts.data_licences))
    if facts.weights_licence:
        found[facts.weights_licence] += 1
    head: dict[str, Any] = {
        **(licence_fields(found) if facts.data_licences else {}),
        "library_name": "maskset",
        "pipeline_tag": "image-segmentation",
        "tags": ["face-masks", "faces", "occlusion", "segmentation"],
    }
    if facts.dataset_repo:
        head["datasets"] = [facts.dataset_repo]
    if facts.scores:
        head["model-index"] = [{"name": facts.title, "results": [_result(score) for score in facts.scores]}]
    return head


def _result(score: Score) -> dict[str, Any]:
    return {
        "task": {"type": "image-segmentation", "name": f"Segmentation of {score.label}"},
        "dataset": {
            "type": score.dataset,
            "name": score.dataset,
            "split": score.split,
            "revision": score.digest,
        },
        "metrics": [
            {"type": _METRICS.get(name, name), "name": _NAMES.get(name, name), "value": value}
            for name, value in score.metrics.items()
            if value is not None
        ],
    }


def _training(facts: ModelFacts) -> str:
    record = facts.record
    settings = record["settings"]
    start = record["initial_weights"]
    digest = record["initial_weights_sha256"]
    val = record["best_val_iou"]
    rows: list[tuple[str, str | int]] = [
        ("Data", record["dataset_name"]),
        ("Data digest", record["dataset_digest"]),
        ("Samples, crops", f"{record['samples']}, {record['crops']}"),
        ("of them rendered", record["synthetic_crops"]),
        ("of them with labels that a model proposed", record.get("proposed_crops", 0)),
        ("Steps, batch", f"{record['steps']}, {settings['batch']}"),
        ("Loss, optimiser", f"{settings['loss']}, {settings['optimiser']} at {settings['learning_rate']}"),
        ("Input", f"{settings['input_px']} px"),
        ("Start", f"{start}, sha256 {digest}" if digest else start),
        ("Chosen by", f"IoU {val:.4f} on split val" if val is not None else "nothing: the last step"),
        ("Seed, device", f"{settings['seed']}, {record['device']}"),
        ("Weights sha256", record["weights_sha256"]),
    ]
    return (
        table(("Fact", "Value"), rows)
        + "\n\nAll of it is in `training.json`; every sample is in `trained_on.csv`."
    )


def _scores(facts: ModelFacts) -> str:
    if not facts.scores:
        return "It was not scored on pictures held out from training."
    parts = []
    for score in facts.scores:
        rows = [
            (_NAMES.get(name, name), f"{value:.4f}" if value is not None else "not defined")
            for name, value in score.metrics.items()
        ]
        leaked = f"; {score.leaked} of its samples leaked from training" if score.leaked else ""
        what = f"{plain(score.dataset)}, split {score.split}, label {plain(score.label)}"
        parts.append(f"{what}: {score.crops} crops{leaked}.\n\n" + table(("Metric", "Value"), rows))
    return "\n\n".join(parts)


def _licences(facts: ModelFacts) -> str:
    rows: list[tuple[str, str]] = [
        (f"Training pictures: {count}", licence) for licence, count in sorted(facts.data_licences.items())
    ]
    rows += [
        ("Start of the weights", facts.weights_licence or "none"),
        ("Code of the network", facts.code_licence),
    ]
    unknown = "" if facts.data_licences else "\n\nThe licences of the training pictures were not stated here."
    return (
        table(("What", "Licence"), rows)
        + unknown
        + "\n\nWhether weights are bound by the licences of their training pictures is yours to check."
    )


def prepare_board(
    out: Path, title: str, licence: str, markdown: str, files: Iterable[tuple[str, str]]
) -> PublishPlan:
    """Make the folder of a leaderboard's repository (of type dataset).

    Args:
        out: folder to make or replace.
        title: of the board.
        licence: that the figures are given under; "" when none is stated, which keeps it from being public.
        markdown: the board as a table.
        files: (name, content) of the other forms.
    """
    head: dict[str, Any] = {
        **(licence_fields(Counter([licence])) if licence else {}),
        "pretty_name": title,
        "tags": ["leaderboard", "face-masks", "segmentation"],
        "viewer": False,
    }
    card = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    with replacing_folder(out) as fresh:
        for name, content in files:
            write_text(fresh / name, content)
        write_text(
            fresh / CARD_FILE,
            f"---\n{card}---\n\n# {plain(title)}\n\nScored by `maskset`; every figure was recomputed from "
            "the per-picture scores before it was printed. `leaderboard.json` holds all of it, "
            f"`leaderboard.html` opens offline.\n\n{markdown}",
        )
    return plan_of(out, () if licence else ("a licence for the figures (--licence)",))
