from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import (
    Manifest,
    count_shard,
    read_shard_counts,
    read_shard_samples,
    write_header,
    write_shard,
)
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.rows import (
    REJECTION_SCHEMA,
    SAMPLE_SCHEMA,
    rejection_from_row,
    rejection_to_row,
    sample_from_row,
    sample_to_row,
)

Maker = Callable[[ImageStore, int], Sample]


def test_a_sample_with_every_field_filled_survives_parquet_exactly(
    store: ImageStore, sample_maker: Maker, tmp_path: Path
) -> None:
    samples = [sample_maker(store, index) for index in range(7)]
    dropped = Rejection("crawl", "k", Reason.CORRUPT, "cut", retryable=True, tries=3)
    keys = [*(sample.provenance.item_key for sample in samples), "k"]
    counts = write_shard(tmp_path / "m", 0, keys, samples, [dropped])
    assert (counts.inputs, counts.kept, counts.rejected, counts.derived) == (8, 7, 1, 0)
    manifest = write_header(tmp_path / "m", {"key": "x", "shards": 1, "counts": {}})
    back = list(manifest.samples())
    assert back == sorted(samples, key=lambda sample: sample.id)
    assert list(manifest.rejections()) == [dropped]
    assert read_shard_counts(tmp_path / "m", 0) == counts


def test_rows_have_exactly_the_columns_of_the_schema(store: ImageStore, sample_maker: Maker) -> None:
    sample = sample_maker(store, 1)
    row = sample_to_row(sample)
    assert set(row) == set(SAMPLE_SCHEMA.names)
    assert sample_from_row(row) == sample
    dropped = Rejection("crawl", "k", Reason.CORRUPT, "two\nlines " + "x" * 600)
    row = rejection_to_row(dropped)
    assert set(row) == set(REJECTION_SCHEMA.names)
    assert "\n" not in row["detail"] and len(row["detail"]) == 500
    assert rejection_from_row(row).reason is Reason.CORRUPT


def test_the_same_rows_give_the_same_bytes(store: ImageStore, sample_maker: Maker, tmp_path: Path) -> None:
    samples = [sample_maker(store, index) for index in range(5)]
    keys = [sample.provenance.item_key for sample in samples]
    write_shard(tmp_path / "a", 0, keys, samples, [])
    write_shard(tmp_path / "b", 0, keys, samples[::-1], [])
    name = "samples/part-00000.parquet"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_items_that_vanish_end_twice_or_come_from_nowhere_are_refused(
    store: ImageStore, sample_maker: Maker
) -> None:
    one, two = sample_maker(store, 1), sample_maker(store, 2)
    dropped = Rejection("s", "item1", Reason.EMPTY, "")
    with pytest.raises(ManifestError, match="vanished"):
        count_shard(["item1", "item2"], [one], [])
    with pytest.raises(ManifestError, match="ended twice"):
        count_shard(["item1"], [one], [dropped])
    with pytest.raises(ManifestError, match="came from nowhere"):
        count_shard(["item2"], [two], [dropped])
    child = replace(two, provenance=replace(two.provenance, item_key="item1#synth0"))
    failed_child = replace(dropped, item_key="item1#synth1", derived=True)
    counts = count_shard(["item1"], [one, child], [failed_child])
    assert (counts.kept, counts.derived, counts.derived_rejected) == (1, 1, 1)


def test_canonical_digest_ignores_the_clock_and_nothing_else(
    store: ImageStore, sample_maker: Maker, tmp_path: Path
) -> None:
    sample = sample_maker(store, 1)
    later = replace(sample, provenance=replace(sample.provenance, retrieved_at="2030-01-01T00:00:00Z"))
    other = replace(sample, group="another")
    digests = []
    for index, item in enumerate((sample, later, other)):
        folder = tmp_path / str(index)
        write_shard(folder, 0, ["item1"], [item], [])
        digests.append(write_header(folder, {"key": "x", "shards": 1, "counts": {}}).canonical_digest())
    assert digests[0] == digests[1] != digests[2]


def test_a_missing_or_foreign_manifest_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no complete manifest"):
        Manifest(tmp_path)
    (tmp_path / "header.json").write_text("{")
    with pytest.raises(ManifestError, match="cannot read"):
        Manifest(tmp_path)
    (tmp_path / "header.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ManifestError, match="schema version"):
        Manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"inputz": 1}},
        {"counts": [1]},
        {"counts": {"inputs": "x"}},
        {"shards": None},
        {"shards": []},
    ],
)
def test_a_header_with_a_torn_entry_is_one_clear_line(tmp_path: Path, change: dict[str, object]) -> None:
    header = {"schema_version": 1, "key": "x", "shards": 1, "counts": {"inputs": 1}}
    (tmp_path / "header.json").write_text(json.dumps(header))
    assert Manifest(tmp_path).counts.inputs == 1
    (tmp_path / "header.json").write_text(json.dumps({**header, **change}))
    with pytest.raises(ManifestError, match=r"header\.json"):
        Manifest(tmp_path)


def test_a_row_of_another_schema_is_refused_with_its_file(
    store: ImageStore, sample_maker: Maker, tmp_path: Path
) -> None:
    write_shard(tmp_path / "m", 0, ["item1"], [sample_maker(store, 1)], [])
    path = tmp_path / "m" / "samples" / "part-00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["group"]), path)
    with pytest.raises(ManifestError, match=r"part-00000\.parquet holds a row of another schema"):
        read_shard_samples(path)


def test_lone_surrogates_do_not_stop_a_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "m", 0, ["k"], [], [Rejection("s", "k", Reason.SCHEMA, "id \ud800")])
    manifest = write_header(tmp_path / "m", {"key": "x", "shards": 1, "counts": {}})
    assert [item.detail for item in manifest.rejections()] == ["id ?"]


def test_a_torn_shard_is_named(store: ImageStore, sample_maker: Maker, tmp_path: Path) -> None:
    write_shard(tmp_path / "m", 0, ["item1"], [sample_maker(store, 1)], [])
    path = tmp_path / "m" / "samples" / "part-00000.parquet"
    assert pq.read_metadata(path).num_rows == 1
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ManifestError, match=r"part-00000\.parquet"):
        read_shard_counts(tmp_path / "m", 0)
