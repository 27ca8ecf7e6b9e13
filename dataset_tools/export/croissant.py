"""croissant.json: the exported Parquet files described in the Croissant format, for search and for loaders.

Written by hand from the facts, so that no further library is needed. Source: Croissant Format Specification
1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.licences import licence_url

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
RECORD_SET = "default"
_FILE_SET = "parquet-files"
_PARQUET = "application/x-parquet"

# The context of the specification, section "Dataset-level Information".
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_DESCRIPTIONS = {
    "image": "The picture.",
    "mask": "Palette PNG whose pixel values are label ids; 0 is background.",
    "id": "First 32 hex digits of the SHA-256 of the picture's bytes.",
    "instances": "Every labelled object with its own exact mask as a COCO run-length code.",
    "faces": "Faces that a detector found.",
    "group": "Pictures of one group lie in one split; no identity.",
    "is_synthetic": "True for a picture onto which a mask was rendered.",
    "parent_id": "id of the photo that a picture was rendered from.",
    "licence": "Licence of the picture in its source's words.",
    "author": "Author of the picture as its source states.",
    "url": "Address the picture was fetched from.",
}


def write_croissant(facts: DatasetFacts, schema: Any) -> str:
    """The whole croissant.json; same facts and schema, same text.

    Args:
        facts: with at least one Parquet file.
        schema: `pyarrow.Schema` of the files.
    """
    settings = facts.settings
    stated = {
        "url": settings.homepage,
        "citeAs": settings.citation,
        "datePublished": settings.date,
        "version": settings.version,
    }
    values: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": settings.name,
        "description": settings.description or settings.name,
        "conformsTo": CONFORMS_TO,
        "identifier": settings.identity,
        **{key: value for key, value in stated.items() if value},
        "license": [licence_url(words) or words for words in sorted(facts.summary.licences)],
        "rai:dataUseCases": "Segmentation of face masks. Not for recognising people.",
        "rai:personalSensitiveInformation": "Faces of people. "
        + (settings.consent or "Consent: not stated."),
        "distribution": _distribution(facts),
        "recordSet": [_record_set(facts, schema)],
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _distribution(facts: DatasetFacts) -> list[dict[str, Any]]:
    files = [
        {
            "@type": "cr:FileObject",
            "@id": part.path,
            "name": part.path,
            "description": f"Split {part.split}: {part.rows} pictures.",
            "contentUrl": part.path,
            "contentSize": f"{part.size} B",
            "encodingFormat": _PARQUET,
            "sha256": part.sha256,
        }
        for part in facts.parts
    ]
    every = {
        "@type": "cr:FileSet",
        "@id": _FILE_SET,
        "name": _FILE_SET,
        "description": "All Parquet files of the dataset.",
        "encodingFormat": _PARQUET,
        "includes": "data/*.parquet",
    }
    return [*files, every]


def _record_set(facts: DatasetFacts, schema: Any) -> dict[str, Any]:
    names = "|".join(dict.fromkeys(part.split for part in facts.parts))
    split = {
        **_head(f"{RECORD_SET}/split", "Split of the picture."),
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": _FILE_SET},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": f".*({names})-.*[.]parquet$"},
        },
    }
    return {
        "@type": "cr:RecordSet",
        "@id": RECORD_SET,
        "name": RECORD_SET,
        "description": f"One record a picture: {sum(part.rows for part in facts.parts)} in all.",
        "key": {"@id": f"{RECORD_SET}/id"},
        "field": [split, *(_field(column.name, column.type) for column in schema)],
    }


def _head(name: str, description: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name, "description": description}


def _field(column: str, kind: Any) -> dict[str, Any]:
    import pyarrow.types as kinds

    name = f"{RECORD_SET}/{column}"
    head = _head(name, _DESCRIPTIONS.get(column, f"Column {column}."))
    if _is_picture(kind):
        return {**head, "dataType": "sc:ImageObject", "source": _source(column, "bytes")}
    if kinds.is_list(kind) and kinds.is_struct(kind.value_type):
        leaves = [_leaf(column, name, *leaf) for leaf in _leaves(kind.value_type)]
        return {**head, "repeated": True, "subField": leaves}
    if kinds.is_struct(kind):
        return {**head, "subField": [_leaf(column, name, *leaf) for leaf in _leaves(kind)]}
    if kinds.is_list(kind):
        return {**head, "repeated": True, "dataType": _data_type(kind.value_type), "source": _source(column)}
    return {**head, "dataType": _data_type(kind), "source": _source(column)}


def _leaf(column: str, parent: str, path: str, kind: Any) -> dict[str, Any]:
    head = _head(f"{parent}/{path}", f"{path} of {column}.")
    return {**head, "dataType": _data_type(kind), "source": _source(column, path)}


def _leaves(struct: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path ("segmentation.counts") and type of everything inside a struct that is no struct itself.

    Lists of structs inside are left out: Croissant 1.0 has no place for records inside a list of records.
    """
    import pyarrow.types as kinds

    for index in range(struct.num_fields):
        inner = struct.field(index)
        path = f"{prefix}{inner.name}"
        if kinds.is_struct(inner.type):
            yield from _leaves(inner.type, f"{path}.")
        elif not (kinds.is_list(inner.type) and kinds.is_struct(inner.type.value_type)):
            yield path, inner.type


def _source(column: str, json_path: str = "") -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": _FILE_SET}, "extract": {"column": column}}
    if json_path:
        source["transform"] = {"jsonPath": json_path}
    return source


def _is_picture(kind: Any) -> bool:
    """`datasets` stores a picture as a struct of its bytes and a path."""
    import pyarrow.types as kinds

    return bool(kinds.is_struct(kind)) and {field.name for field in kind} == {"bytes", "path"}


def _data_type(kind: Any) -> str:
    import pyarrow.types as kinds

    while kinds.is_list(kind):
        kind = kind.value_type
    if kinds.is_boolean(kind):
        return "sc:Boolean"
    if kinds.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if kinds.is_floating(kind) else "sc:Text"
