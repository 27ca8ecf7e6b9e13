"""Faces and pairs are read from folders, CSV lists and LFW's own list; nonsense is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from baselines.verification.identities import contiguous_folds, read_face, read_identities, read_pairs
from dataset_tools.core.errors import DataError


def test_a_folder_per_person_and_a_list_give_the_same_faces(people_folder: Path) -> None:
    by_folder = read_identities(people_folder)
    assert by_folder.identities == ("ann", "ben", "cem", "dee")
    assert [face.name for face in by_folder.faces[:2]] == ["ann/ann_0001.png", "ann/ann_0002.png"]
    listed = people_folder / "list.csv"
    rows = [f"{face.name},{face.identity}" for face in reversed(by_folder.faces)]
    listed.write_text("path,identity\n" + "\n".join(rows) + "\n")
    by_list = read_identities(listed)
    assert by_list.faces == by_folder.faces
    assert by_list.digest == by_folder.digest


def test_landmarks_change_the_digest_and_reach_their_face(people_folder: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    columns = [
        f"{one}_{axis}"
        for one in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
        for axis in "xy"
    ]
    points.write_text(f"path,{','.join(columns)}\nben/ben_0001.png,{','.join(map(str, range(10)))}\n")
    faces = read_identities(people_folder, points)
    with_points = [face for face in faces.faces if face.points is not None]
    assert [face.name for face in with_points] == ["ben/ben_0001.png"]
    assert with_points[0].points is not None
    assert with_points[0].points.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert faces.digest != read_identities(people_folder).digest


def test_folds_are_runs_of_either_kind_as_scikit_learn_cuts_them() -> None:
    same = [True] * 60 + [False] * 60
    expected = np.zeros(120, dtype=int)
    for fold, (_, judged) in enumerate(StratifiedKFold(10).split(np.zeros(120), same)):
        expected[judged] = fold
    assert contiguous_folds(same) == expected.tolist()


def test_folds_named_in_the_list_are_kept(tmp_path: Path) -> None:
    listed = tmp_path / "pairs.csv"
    listed.write_text("file_a,file_b,same,fold\na.png,b.png,1,3\na.png,c.png,0,1\n")
    pairs = read_pairs(listed).pairs
    assert [(one.names, one.is_same, one.fold) for one in pairs] == [
        (("a.png", "b.png"), True, 3),
        (("a.png", "c.png"), False, 1),
    ]
    assert pairs[0].paths == (tmp_path / "a.png", tmp_path / "b.png")


def test_lfws_own_list_is_read(tmp_path: Path) -> None:
    listed = tmp_path / "pairs.txt"
    listed.write_text("2\t1\nAbel\t1\t4\nAbel\t1\tZoe\t2\nMia\t3\t10\nMia\t3\tAbel\t1\n")
    found = [(one.names, one.is_same, one.fold) for one in read_pairs(listed, tmp_path / "lfw").pairs]
    assert found == [
        (("Abel/Abel_0001.jpg", "Abel/Abel_0004.jpg"), True, 0),
        (("Abel/Abel_0001.jpg", "Zoe/Zoe_0002.jpg"), False, 0),
        (("Mia/Mia_0003.jpg", "Mia/Mia_0010.jpg"), True, 1),
        (("Mia/Mia_0003.jpg", "Abel/Abel_0001.jpg"), False, 1),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file_a,same\na,1\n", "no column file_b"),
        ("file_a,file_b,same\na,b,yes\n", "line 2: same is 'yes'"),
        ("file_a,file_b,same\na,b,1\nc,d,1\n", "of one person and of two people"),
        ("file_a,file_b,same,fold\na,b,1,x\n", "fold is 'x'"),
    ],
)
def test_a_broken_pair_list_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    listed = tmp_path / "pairs.csv"
    listed.write_text(text)
    with pytest.raises(DataError, match=said):
        read_pairs(listed)


def test_one_person_alone_cannot_be_told_apart(people_folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "one.csv"
    listed.write_text("path,identity\na.png,ann\n")
    with pytest.raises(DataError, match="1 people"):
        read_identities(listed)
    with pytest.raises(DataError, match=r"gone\.png"):
        read_face(people_folder / "gone.png")


def test_development_pairs_are_read(shared_data: Path) -> None:
    pairs = read_pairs(shared_data / "lfw_verify" / "pairs.csv")
    assert [sum(one.is_same is kind for one in pairs.pairs) for kind in (True, False)] == [258, 258]
    assert len(read_identities(shared_data / "lfw_verify" / "labels.csv").identities) == 60
