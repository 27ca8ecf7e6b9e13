"""Counts an exported dataset afresh, from its Parquet files and the manifests' own Parquet rows, and
compares every number of its documents with that. Shares no code with what wrote them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

LABELS = {1: "face_mask", 2: "face", 3: "occluder", 4: "strap"}
SPLITS = {"train": "train", "validation": "val", "test": "test"}
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def tables_of(text: str) -> list[Table]:
    """All Markdown tables: titles and rows."""
    found: list[Table] = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        lines = [tuple(re.split(r"(?<!\\) ?\| ?", line)[1:-1]) for line in block.splitlines()]
        found.append((lines[0], lines[2:]))
    return found


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of the exported Parquet, with their split; pictures left out."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("data/*.parquet")):
        names = [name for name in pq.read_schema(path).names if name not in ("image", "mask")]
        for row in pq.read_table(path, columns=names).to_pylist():
            rows.append(row | {"split": path.name.split("-")[0]})
    for row in rows:
        for item in row["instances"]:
            item["label"] = LABELS.get(item["label"], item["label"])
    return rows


class Recount:
    """Everything the documents may say, as `tables` by their titles and `numbers` by their place."""

    def __init__(self, folder: Path, workspace: Path) -> None:
        self.folder = folder
        self.rows = rows_of(folder)
        self.headers = _chain(workspace)
        self.manifest_rows = _parquet(self.headers[-1]["at"] / "samples")
        self.rejections = Counter(
            (header["stage"], row["reason"])
            for header in self.headers
            for row in _parquet(header["at"] / "rejections")
        )
        self.masks = [item for row in self.rows for item in row["instances"] if item["label"] == "face_mask"]
        ids = {row["id"] for row in self.rows}
        self.records = [row for row in self.manifest_rows if row["id"] in ids]

    def count(self, column: str, rows: list[dict[str, Any]] | None = None) -> Counter[Any]:
        return Counter(row[column] or "unknown" for row in (self.rows if rows is None else rows))

    @property
    def instances(self) -> Counter[str]:
        return Counter(item["label"] for row in self.rows for item in row["instances"])

    @property
    def drawn_by(self) -> Counter[str]:
        return Counter(item["drawn_by"].split(":")[0] for row in self.rows for item in row["instances"])

    @property
    def rendered(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["is_synthetic"]]

    @property
    def negatives(self) -> int:
        return sum(all(item["label"] != "face_mask" for item in row["instances"]) for row in self.rows)

    def measured_skin(self) -> int:
        return sum(
            any(pair["key"] == "skin_ita_deg" and pair["value"] for pair in item["attributes"])
            for item in self.masks
        )

    def rendered_from(self) -> Counter[str]:
        origins = [row["provenance"] for row in self.records if row["provenance"]["parent_id"]]
        notes = [{pair["key"]: pair["value"] for pair in origin["evidence"]} for origin in origins]
        return Counter(note.get("parent_source", "not stated") for note in notes)

    def tables(self) -> dict[tuple[str, ...], list[tuple[object, ...]]]:
        """Expected rows by titles; text cells of which only the number counts are None."""
        rows, masks = self.rows, self.masks
        per_split = []
        for name in SPLITS:
            held = [row for row in rows if row["split"] == name]
            drawn = sum(row["is_synthetic"] for row in held)
            if held:
                groups = len({row["group"] for row in held})
                per_split.append((name, len(held), len(held) - drawn, drawn, groups))
        copies = {
            word: sum(n for (_, reason), n in self.rejections.items() if reason == word)
            for word in ("duplicate", "near_duplicate")
        }
        relatives = sum(
            n - 1 for n in self.count("group", [r for r in rows if not r["is_synthetic"]]).values() if n > 1
        )
        bare = sum(not row["is_labelled"] for row in rows)
        licences = self.count("licence")
        drawn = self.count("licence", self.rendered)
        recipes = Counter(
            json.loads(row["provenance"]["recipe"]).get("renderer", "not stated")
            for row in self.records
            if row["provenance"]["recipe"]
        )
        agreements = [
            row["review"]["agreement"] for row in self.records if row["review"]["agreement"] is not None
        ]
        methods = Counter(row["review"]["method"] for row in self.records if row["review"]["method"])
        people = {name for row in self.records for name in row["review"]["reviewers"]}
        return {
            ("In this dataset", "Count"): [
                ("Pictures", len(rows)),
                ("collected photos", len(rows) - len(self.rendered)),
                ("rendered pictures", len(self.rendered)),
                ("pictures without a face mask", self.negatives),
                ("labelled face masks", len(masks)),
                ("detected faces", sum(len(row["faces"]) for row in rows)),
                *([("pictures whose labels nobody has confirmed", bare)] if bare else []),
            ],
            ("Split", "Pictures", "Photos", "Rendered", "Groups"): per_split,
            ("Label", "Id", "Instances"): [
                ("background", 0, "-"),
                *((name, number, self.instances[name]) for number, name in LABELS.items()),
            ],
            ("Begins with", "Meaning", "Instances"): [
                (f"`{kind}:`", None, self.drawn_by[kind])
                for kind in ("human", "synth", "published", "model")
                if self.drawn_by[kind]
            ],
            ("Mask type", "Face masks"): _ranked(self.count("mask_type", masks)),
            ("Wearing state", "Face masks"): _ranked(self.count("wearing_state", masks)),
            ("Source", "Kind", "Licence", "Pictures"): [
                (_cell(source), None, _cell(licence), n)
                for (source, licence), n in sorted(Counter((r["source"], r["licence"]) for r in rows).items())
            ],
            ("Rendered onto photos of the source", "Kind", "Pictures"): [
                (_cell(name), None, n) for name, n in _ranked(self.rendered_from())
            ],
            ("Licence", "It asks", "Pictures", "Of them rendered"): [
                (_cell(words), None, n, drawn[words]) for words, n in sorted(licences.items())
            ],
            ("Not in this dataset", "Count"): [
                ("pictures without a label", len(self.manifest_rows) - len(self.records))
            ],
            ("Stage", "Reason", "Items"): [
                (stage, reason, n) for (stage, reason), n in sorted(self.rejections.items())
            ],
            ("Refused by the site through", "Items"): [
                ("robots.txt", sum(n for (_, reason), n in self.rejections.items() if reason == "robots"))
            ],
            ("Review", "Pictures"): sorted(self.count("review").items()),
            ("Several opinions became one by", "Pictures"): sorted(methods.items()),
            ("Overlap of reviewers (IoU)", "Value"): [
                ("pictures", len(agreements)),
                *_spread(agreements, 3),
            ],
            ("Size", "Least", "Mean", "Greatest"): [
                ("Width in px", *(text for _, text in _spread([r["width"] for r in rows], 0))),
                ("Height in px", *(text for _, text in _spread([r["height"] for r in rows], 0))),
            ],
            ("What is not known", "Count"): [
                ("author of a picture", sum(not row["author"] for row in rows)),
                ("address of a picture (local files have none)", sum(not row["url"] for row in rows)),
                ("mask type of a face mask", self.count("mask_type", masks)["unknown"]),
                ("wearing state of a face mask", self.count("wearing_state", masks)["unknown"]),
            ],
            ("Redundancy and noise", "Count"): [
                ("exact copies dropped", copies["duplicate"]),
                ("near copies dropped", copies["near_duplicate"]),
                ("near copies kept, in the group of their original", relatives),
                ("instances that only a model proposed", self.drawn_by["model"]),
            ],
            ("Skin tone", "Face masks"): [("measured", self.measured_skin())],
            ("Renderer", "Pictures"): sorted(recipes.items()),
            ("People", "Count"): [("reviewers of masks", len(people))],
            ("Stage", "Version", "Seed", "Items in", "Kept", "Made", "Dropped"): [
                (
                    header["stage"],
                    header["stage_version"],
                    header["config"].get("seed", "-"),
                    *(header["counts"][name] for name in ("inputs", "kept", "derived", "rejected")),
                )
                for header in self.headers
            ],
        }

    def prose(self) -> list[str]:
        """Sentences with a number that may stand outside tables."""
        unknown = self.count("mask_type", self.masks)["unknown"]
        nameless = sum(not row["author"] for row in self.rows)
        toned, bare = self.measured_skin(), self.count("licence")["unknown"]
        return [
            f"The mask type is not known for {unknown} face mask{_s(unknown)}.",
            f"The author is not stated for {nameless} picture{_s(nameless)}.",
            f"Skin tone was measured, in the photo as it is lit, for {toned} face mask{_s(toned)} only.",
            f"The licence is not known for {bare} picture{_s(bare)}.",
            f"It lacks a known licence for {bare} picture{_s(bare)} marked: unknown.",
        ]

    def counts(self) -> dict[str, Any]:
        """`counts` of dataset.json."""
        rows = self.rows
        by_split = Counter(SPLITS[row["split"]] for row in rows)
        agreements = [r["review"]["agreement"] for r in self.records if r["review"]["agreement"] is not None]
        return {
            "samples": dict(by_split),
            "synthetic": {name: sum(SPLITS[r["split"]] == name for r in self.rendered) for name in by_split},
            "groups": {
                name: len({r["group"] for r in rows if SPLITS[r["split"]] == name}) for name in by_split
            },
            "instances": dict(self.instances),
            "drawn_by": dict(self.drawn_by),
            "mask_types": dict(self.count("mask_type", self.masks)),
            "wearing_states": dict(self.count("wearing_state", self.masks)),
            "licences": dict(self.count("licence")),
            "rendered_licences": dict(self.count("licence", self.rendered)),
            "rendered_from": dict(self.rendered_from()),
            "renderers": dict(self.tables()[("Renderer", "Pictures")]),
            "reviews": dict(self.count("review")),
            "review_methods": dict(
                Counter(r["review"]["method"] for r in self.records if r["review"]["method"])
            ),
            "agreement": _plain_spread(agreements),
            "reviewers": len({name for r in self.records for name in r["review"]["reviewers"]}),
            "widths_px": _plain_spread([row["width"] for row in rows]),
            "heights_px": _plain_spread([row["height"] for row in rows]),
            "faces": sum(len(row["faces"]) for row in rows),
            "negatives": self.negatives,
            "unattributed": sum(not row["author"] for row in rows),
            "without_url": sum(not row["url"] for row in rows),
            "unlabelled": sum(not row["is_labelled"] for row in rows),
            "measured_skin": self.measured_skin(),
            "relatives": self.tables()[("Redundancy and noise", "Count")][2][1],
            "left_out": len(self.manifest_rows) - len(self.records),
            "rejections": {f"{stage}/{reason}": n for (stage, reason), n in self.rejections.items()},
        }


def differences(folder: Path, workspace: Path) -> list[str]:
    """What the documents say and the data do not bear out, one line each; [] when all is right."""
    truth = Recount(folder, workspace)
    found = []
    for name in ("README.md", "DATASHEET.md"):
        text = (folder / name).read_text(encoding="utf-8")
        found += [f"{name}: {line}" for line in _wrong_tables(text, truth) + _wrong_prose(text, truth)]
    found += [f"README.md: {line}" for line in _wrong_head(folder, truth)]
    said = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["counts"]
    right = truth.counts()
    found += [
        f"dataset.json: {key}: {said.get(key)}, counted {right.get(key)}"
        for key in sorted(said.keys() | right.keys())
        if said.get(key) != right.get(key)
    ]
    return found + [f"croissant.json: {line}" for line in _wrong_croissant(folder, truth)]


def _wrong_tables(text: str, truth: Recount) -> list[str]:
    expected = truth.tables()
    wrong = []
    for titles, rows in tables_of(text):
        if titles in (("Attribute", "It means", "It cannot mean"), ("Questions", "Count")):
            continue
        right = [tuple(None if cell is None else str(cell) for cell in row) for row in expected[titles]]
        said = [
            tuple(None if other is None else cell for cell, other in zip(row, other_row, strict=True))
            for row, other_row in zip(rows, right, strict=False)
        ]
        if len(rows) != len(right) or said != right:
            wrong.append(f"{titles}: {rows}, counted {right}")
    return wrong


def _wrong_prose(text: str, truth: Recount) -> list[str]:
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    body = re.sub(r"```[\s\S]*?```|`[^`\n]*`|https?://\S+|^\|.*$", "", body, flags=re.M)
    allowed = truth.prose()
    wrong = []
    for line in body.splitlines():
        sentence = line.removeprefix("- ").strip("*")
        free = re.sub(
            r"ACM, 2021|[Vv]ersion [\d.]+\d|maskset \d+\.\d+\.\d+|Apache-2\.0|\d{4}-\d\d-\d\d", "", sentence
        )
        if re.search(r"(?<!\w)\d", free) and sentence not in allowed:
            wrong.append(f"a number that nothing bears out: {line}")
    return wrong


def _wrong_head(folder: Path, truth: Recount) -> list[str]:
    head = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[1])
    sizes = {path: path.stat().st_size for path in folder.glob("data/*.parquet")}
    said = {item["name"]: item["num_examples"] for item in head["dataset_info"]["splits"]}
    right = dict(truth.count("split"))
    wrong = [] if said == right else [f"splits of the head: {said}, counted {right}"]
    if head["dataset_info"]["download_size"] != sum(sizes.values()):
        wrong.append("download_size")
    if head["dataset_info"]["dataset_size"] != sum(s["num_bytes"] for s in head["dataset_info"]["splits"]):
        wrong.append("dataset_size")
    return wrong


def _wrong_croissant(folder: Path, truth: Recount) -> list[str]:
    stated = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    wrong = []
    for part in stated["distribution"]:
        if part["@type"] != "cr:FileObject":
            continue
        data = (folder / part["contentUrl"]).read_bytes()
        rows = pq.read_metadata(folder / part["contentUrl"]).num_rows
        split = part["contentUrl"].removeprefix("data/").split("-")[0]
        right = (f"{len(data)} B", hashlib.sha256(data).hexdigest(), f"Split {split}: {rows} pictures.")
        if (part["contentSize"], part["sha256"], part["description"]) != right:
            wrong.append(f"{part['@id']} is another file")
    if stated["recordSet"][0]["description"] != f"One record a picture: {len(truth.rows)} in all.":
        wrong.append("number of records")
    return wrong


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _chain(workspace: Path) -> list[dict[str, Any]]:
    headers = {}
    for path in (workspace / "manifests").glob("*/header.json"):
        header = json.loads(path.read_text())
        headers[header["key"]] = header | {"at": path.parent}
    parents = {header["parent"] for header in headers.values()}
    (last,) = (header for key, header in headers.items() if key not in parents)
    chain = [last]
    while chain[0]["parent"]:
        chain.insert(0, headers[chain[0]["parent"]])
    return chain


def _parquet(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def _ranked(counts: Counter[str]) -> list[tuple[object, ...]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _spread(values: list[float], digits: int) -> list[tuple[str, str]]:
    if not values:
        return []
    three = {"least": min(values), "mean": sum(values) / len(values), "greatest": max(values)}
    return [(name, f"{value:.{digits}f}") for name, value in three.items()]


def _plain_spread(values: list[float]) -> dict[str, float | int | None]:
    if not values:
        return {"count": 0, "least": None, "mean": None, "most": None}
    mean = round(sum(values) / len(values), 4)
    return {"count": len(values), "least": min(values), "mean": mean, "most": max(values)}


def _cell(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("|", "\\|").replace("[", "\\[")
