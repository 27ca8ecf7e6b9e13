"""MFSD layout: where the authors put things and as large, exact masks beside; theirs read and scored."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from baselines.metrics import score_image, summarise
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask, union
from dataset_tools.formats.mfsd import PHOTO_COLUMNS, quoted_cell, unquoted_cell, write_mfsd
from dataset_tools.formats.mfsd_reading import read_mfsd


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def region_of(sample):
    masks = [item.mask for item in sample.instances if item.label is Label.FACE_MASK]
    return union(masks, sample.image.size_hw)


def grey(path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def abanet_pairs(images, masks, label_ext: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures and labels as ABANet's training script finds and its metric script thresholds them.

    https://github.com/sadjadrz/ABANet-Attention-boundary-aware-network-for-image-segmentation: all `*.jpg` of
    one folder, the label of the same stem from another, its first channel, foreground above 127.
    """
    found = []
    for path in sorted(images.glob("*.jpg")):
        label = grey(masks / (path.name.rpartition(".")[0] + label_ext))
        found.append((grey(path), (label if label.ndim == 2 else label[:, :, 0]) > 127))
    return found


def test_folders_and_names_follow_the_authors_layout(exported):
    root = exported[0] / "mfsd"
    assert {path.name for path in root.iterdir()} == {"1", "2", "photos.csv", "photo_masks"}
    assert {path.name for path in (root / "1").iterdir()} == {
        "img", "face_crop", "face_crop_segmentation", "dataset.csv",
    }  # fmt: skip
    assert {path.name for path in (root / "2").iterdir()} == {"img"}
    crops = {path.stem for path in (root / "1/face_crop").iterdir()}
    assert crops == {path.stem for path in (root / "1/face_crop_segmentation").iterdir()}
    assert crops == {path.stem for path in (root / "photo_masks").iterdir()}
    with_masks = {sample.id for sample in exported[2].values() if region_of(sample).any()}
    assert {path.stem for path in (root / "1/img").iterdir()} == with_masks
    assert {path.stem for path in (root / "2/img").iterdir()} == set(exported[2]) - with_masks
    assert all(int(k) < int(n) for _, k, n in (stem.split("_") for stem in crops))


def test_abanets_loader_opens_the_crops_and_the_truth_scores_one_against_itself(exported):
    root = exported[0] / "mfsd/1"
    pairs = abanet_pairs(root / "face_crop", root / "face_crop_segmentation", ".png")
    masked = [row for row in rows_of(root / "dataset.csv") if row["with_mask"] == "True"]
    assert len(pairs) == len(masked) == 5
    for picture, mask in pairs:
        assert picture.shape == (250, 250, 3) and mask.shape == (250, 250) and mask.any()
    for path in (root / "face_crop_segmentation").iterdir():
        assert set(np.unique(grey(path))) <= {0, 255}
    scores = summarise([score_image(mask.astype(float), mask) for _, mask in pairs])
    assert [scores[name] for name in ("iou", "f1_mean", "precision", "recall", "accuracy")] == [1.0] * 5


def test_a_crop_put_back_is_as_good_as_its_row_says(exported):
    root = exported[0] / "mfsd"
    lowest = 1.0
    for row in rows_of(root / "1/dataset.csv"):
        if row["with_mask"] != "True":
            continue
        left, top, right, bottom = (int(row[name]) for name in ("x1", "y1", "x2", "y2"))
        crop = Image.open(root / "1/face_crop_segmentation" / row["face_crop"].replace(".jpg", ".png"))
        again = np.asarray(crop.resize((right - left, bottom - top), Image.Resampling.BOX)) > 127
        exact = region_of(exported[2][row["filename"].partition(".")[0]])[top:bottom, left:right]
        assert f"{(again & exact).sum() / (again | exact).sum():.4f}" == row["crop_iou"]
        whole = rle_to_mask(
            next(
                item.mask
                for item in exported[2][row["filename"].partition(".")[0]].instances
                if item.id == row["instance_id"]
            )
        )
        assert whole[top:bottom, left:right].sum() == whole.sum()  # the crop holds the whole mask
        lowest = min(lowest, float(row["crop_iou"]))
    assert 0.9 < lowest < 1


def test_face_masks_and_all_that_is_known_come_back_exactly(trips, job, tmp_path):
    folder = trips.write(write_mfsd, job, tmp_path / "out")
    trips.assert_kept(job, trips.read_all(read_mfsd, folder), labels=(Label.FACE_MASK,))


def test_every_photo_has_its_origin_and_no_cell_is_a_formula(exported):
    root = exported[0] / "mfsd"
    photos = rows_of(root / "photos.csv")
    assert tuple(photos[0]) == PHOTO_COLUMNS
    assert {row["sample_id"] for row in photos} == set(exported[2])
    assert all((root / row["path"]).is_file() and row["licence"] for row in photos)
    for row in photos + rows_of(root / "1/dataset.csv"):
        assert not any(
            value.startswith(("=", "+", "-", "@")) for name, value in row.items() if name != "face"
        )


@pytest.mark.parametrize("text", ["", "plain", "=1+1", "'quoted", "'=1", "@x", "-5", "\tx"])
def test_a_cell_gives_its_text_back_and_never_runs(text):
    assert unquoted_cell(quoted_cell(text)) == text
    assert not quoted_cell(text).startswith(("=", "+", "-", "@", "\t"))


def test_the_face_table_holds_the_columns_of_the_published_one(exported):
    rows = rows_of(exported[0] / "mfsd/1/dataset.csv")
    assert list(rows[0])[:6] == ["filename", "x1", "y1", "x2", "y2", "with_mask"]
    assert {row["mask_type"] for row in rows} == {"cloth", "surgical", "n95", ""}


def picture(path, array: np.ndarray, **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path, **more)


def crop(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (250, 250, 3))


def test_their_folder_is_read_with_jpeg_masks_negatives_and_groups(trips, tmp_path):
    root = tmp_path / "MSFD"
    rows, columns = np.indices((250, 250))
    truth = (rows - 120) ** 2 + (columns - 130) ** 2 < 60**2
    for number, name in enumerate(("p_1_0_2", "p_1_1_2", "q_5_3")):
        picture(root / f"1/face_crop/{name}.jpg", crop(number))
        picture(root / f"1/face_crop_segmentation/{name}.jpg", truth * 255.0, quality=60)
    smeared = grey(root / "1/face_crop_segmentation/q_5_3.jpg")
    assert len(np.unique(smeared)) > 10
    picture(root / "1/img/p_1.jpg", crop(7))
    picture(root / "2/img/bare.jpg", crop(8))
    (root / "1/dataset.csv").write_text("filename,x1\n")
    said = trips.read_all(read_mfsd, root)
    assert said.problems == []
    groups = {key: found.facts.group for key, found in said.pictures.items()}
    assert groups == {
        "1/face_crop/p_1_0_2.jpg": "p_1",
        "1/face_crop/p_1_1_2.jpg": "p_1",
        "1/face_crop/q_5_3.jpg": "q_5_3",
        "1/img/p_1.jpg": "p_1",
        "2/img/bare.jpg": "",
    }
    for key in list(groups)[:3]:
        (item,) = said.instances(key)
        assert (item.label, item.drawn_by) == (Label.FACE_MASK, "published:test")
        np.testing.assert_array_equal(rle_to_mask(item.mask), smeared > 127)
    assert said.labels["1/img/p_1.jpg"] is None
    assert said.labels["2/img/bare.jpg"].is_complete and said.instances("2/img/bare.jpg") == ()


def test_the_published_pairs_are_all_read_and_score_one_against_themselves(shared_data, trips):
    root = shared_data / "mfsd_dev"
    said = trips.read_all(read_mfsd, root)
    assert said.problems == [] and len(said.pictures) == 100
    theirs = dict(
        zip(
            sorted(path.name for path in (root / "image").glob("*.jpg")),
            abanet_pairs(root / "image", root / "mask", ".png"),
            strict=True,
        )
    )
    scores = []
    for key in said.pictures:
        (item,) = said.instances(key)
        scores.append(
            score_image(rle_to_mask(item.mask).astype(float), theirs[key.removeprefix("image/")][1])
        )
    figures = summarise(scores)
    assert len(scores) == 100
    assert [figures[name] for name in ("iou", "f1_mean", "accuracy", "iou_dataset")] == [1.0] * 4


def changed(root, table: str, change) -> None:
    rows = rows_of(root / table)
    columns = list(rows[0])
    change(rows)
    with (root / table).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def test_all_that_is_wrong_in_our_tables_is_said_with_its_line_and_the_rest_is_read(trips, job, tmp_path):
    root = trips.write(write_mfsd, job, tmp_path / "out")
    (tmp_path / "canary.png").write_bytes(next((root / "2/img").iterdir()).read_bytes())
    photos = rows_of(root / "photos.csv")
    faces = rows_of(root / "1/dataset.csv")

    def spoil_photos(rows):
        rows[0]["path"] = "../canary.png"
        rows[1]["path"] = str(tmp_path / "canary.png")
        rows[2]["path"] = "2/img/nothing.png"
        rows.append(rows[3])

    changed(root, "photos.csv", spoil_photos)
    gone = {row["path"] for row in photos[:3]}
    lines = [(line, f"1/img/{row['filename']}") for line, row in enumerate(faces, 2) if row["photo_mask"]]
    lost = [line for line, path in lines if path in gone]
    hit = next(line for line, path in lines if path == photos[3]["path"])

    def spoil_faces(rows):
        rows[hit - 2]["photo_mask"] = "../../canary.png"

    changed(root, "1/dataset.csv", spoil_faces)
    said = trips.read_all(read_mfsd, root)
    assert said.problems == [
        ("photos.csv:2", "unsafe_path"),
        ("photos.csv:3", "unsafe_path"),
        ("photos.csv:4", "missing_image"),
        ("photos.csv:8", "duplicate_id"),
        *((f"1/dataset.csv:{line}", "dangling_reference") for line in lost),
    ]
    assert said.faults(photos[3]["path"])[0] == (f"1/dataset.csv:{hit}", "unsafe_path")
    assert set(said.pictures) == {row["path"] for row in photos[3:]}


def test_masks_that_are_none_and_tables_that_are_torn_are_said(trips, job, tmp_path):
    root = trips.write(write_mfsd, job, tmp_path / "out")
    masks = sorted((root / "photo_masks").iterdir())
    for path, change in zip(masks, ("size", "values", "empty", "torn"), strict=False):
        size = grey(path).shape
        if change == "torn":
            path.write_bytes(path.read_bytes()[:60])
            continue
        new = {"size": np.zeros((70, 90)), "values": np.full(size, 7), "empty": np.zeros(size)}[change]
        picture(path, new)
    said = trips.read_all(read_mfsd, root)
    faults = sorted(reason for key in said.labels for _, reason in said.faults(key))
    assert faults == ["no_area", "schema", "size_mismatch", "truncated"]
    for text in ("", "filename,x1\n", "\x00", "a,b\n1"):
        (root / "1/dataset.csv").write_text(text)
        assert any(item.is_fatal for item in read_mfsd(root, trips.OPTIONS) if hasattr(item, "is_fatal"))
    shutil.rmtree(root / "1")
    said = trips.read_all(read_mfsd, root)
    assert said.problems[0] == ("1/dataset.csv", "missing_image")


def test_what_does_not_belong_together_in_their_folder_is_said(trips, tmp_path):
    root = tmp_path / "w"
    truth = np.zeros((250, 250))
    truth[50:90, 50:90] = 255
    for name in ("good", "alone", "two", "numbers", "small"):
        picture(root / f"image/{name}.png", crop(len(name)))
    picture(root / "mask/good.png", truth)
    picture(root / "mask/stray.png", truth)
    picture(root / "mask/two.png", truth)
    picture(root / "mask/two.jpg", truth)
    picture(root / "mask/numbers.png", truth / 255)
    picture(root / "mask/small.png", truth[:100])
    (root / "image/link.png").symlink_to(root / "image/good.png")
    said = trips.read_all(read_mfsd, root)
    assert said.problems == [
        ("image/link.png", "unsafe_path"),
        ("image/alone.png", "dangling_reference"),
        ("image/numbers.png", "schema"),
        ("image/small.png", "size_mismatch"),
        ("image/two.png", "duplicate_id"),
        ("mask/stray.png", "missing_image"),
    ]
    assert list(said.pictures) == ["image/good.png"]
