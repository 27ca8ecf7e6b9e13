"""Face parsing: both forms of data, mirror images, a training that stops and resumes, scores, masks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.parsing.data import read_classes, read_faces, split_names
from baselines.parsing.parts import MIRROR_ORDER, PARTS
from baselines.parsing.predict import CLASS_NUMBERS, class_numbers, predict_folder
from baselines.parsing.score import score_parsing
from baselines.parsing.settings import ParsingSettings
from baselines.parsing.task import part_table
from baselines.parsing.train import ParsingRecord, mirrored, read_parsing_record, train_parsing
from baselines.tasks import read_card
from dataset_tools.core.errors import ConfigError, DataError

# Class numbers of CelebAMask-HQ.
CLASSES = (
    *("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear"),
    *("mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
SIDE = 64


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its class numbers: skin, a nose, the person's left eye at the right, and a necklace."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
    numbers = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for name, where, colour in (
        ("skin", np.s_[8:48, 12:52], (220, 180, 150)),
        ("nose", np.s_[28:36, 28:36], (240, 120, 120)),
        ("l_eye", np.s_[18:24, 40:48], (30, 60, 220)),
        ("r_eye", np.s_[18:24, 16:24], (30, 220, 60)),
        ("neck_l", np.s_[52:56, 20:44], (250, 250, 40)),
    ):
        numbers[where] = CLASSES.index(name)
        rgb[where] = colour
    return rgb, numbers


def write_numbered(folder: Path, count: int) -> Path:
    for name in ("image", "mask"):
        (folder / name).mkdir(parents=True)
    lines = [f"{number} {name}" for number, name in enumerate(CLASSES)]
    (folder / "classes.txt").write_text("\n".join(lines) + "\n")
    for index in range(count):
        rgb, numbers = draw(index)
        Image.fromarray(rgb).save(folder / "image" / f"face{index:02}.png")
        Image.fromarray(numbers).save(folder / "mask" / f"face{index:02}.png")
    return folder


def write_separate(folder: Path, count: int) -> Path:
    (folder / "CelebA-HQ-img").mkdir(parents=True)
    for index in range(count):
        rgb, numbers = draw(index)
        Image.fromarray(rgb).save(folder / "CelebA-HQ-img" / f"{index}.png")
        masks = folder / "CelebAMask-HQ-mask-anno" / str(index % 2)
        masks.mkdir(parents=True, exist_ok=True)
        for number in set(np.unique(numbers).tolist()) - {0}:
            mask = np.repeat(np.where(numbers == number, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
            Image.fromarray(mask).save(masks / f"{index:05}_{CLASSES[number]}.png")
    return folder


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    return write_numbered(tmp_path / "numbered", 6)


# -- data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_numbered, write_separate])
def test_both_forms_give_the_same_pictures_and_parts(tmp_path: Path, write: Callable[..., Path]) -> None:
    faces = read_faces(write(tmp_path / "set", 3), SIDE).faces
    assert len(faces) == 3
    for index, face in enumerate(faces):
        rgb, numbers = draw(index)
        assert np.array_equal(face.rgb, rgb)
        for part, mask in zip(PARTS, face.masks(), strict=True):
            assert np.array_equal(mask, numbers == CLASSES.index(part)), part


def test_necklace_pixels_belong_to_no_part_and_not_to_the_background(numbered: Path) -> None:
    masks = read_faces(numbered, SIDE).faces[0].masks()
    assert not masks[:, 53, 30].any()
    assert masks[PARTS.index("background"), 60, 30]


def test_a_palette_of_class_numbers_is_read_as_numbers(numbered: Path) -> None:
    before = read_faces(numbered, SIDE).faces[0].masks()
    path = numbered / "mask" / "face00.png"
    with Image.open(path) as opened:
        coloured = opened.copy()
    coloured.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    coloured.save(path)
    assert np.array_equal(read_faces(numbered, SIDE).faces[0].masks(), before)


def test_smaller_pictures_keep_their_parts_in_place(numbered: Path) -> None:
    masks = read_faces(numbered, SIDE // 2).faces[0].masks()
    assert masks.shape == (18, 32, 32)
    assert masks[PARTS.index("nose")].sum() == 16  # 8 x 8 pixels at half the side
    assert masks[PARTS.index("l_eye"), 10, 22] and not masks[PARTS.index("r_eye"), 10, 22]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def save_jpeg(path: Path) -> None:
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(path, format="JPEG")


def save(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path)


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("mask/face01.png", Path.unlink, r"cannot read .*face01.png: No such file"),
        ("mask/face01.png", cut, r"mask/face01.png: "),
        ("image/face01.png", cut, r"image/face01.png: "),
        ("image/face01.png", lambda path: path.write_bytes(b""), r"image/face01.png: 0 bytes"),
        ("mask/face01.png", save_jpeg, r"no PNG; lossy masks invent classes"),
        (
            "mask/face01.png",
            lambda path: save(path, np.full((SIDE, SIDE), 19, np.uint8)),
            r"class 19 is not in",
        ),
        ("mask/face01.png", lambda path: save(path, np.zeros((SIDE, SIDE, 3), np.uint8)), r"of kind RGB"),
        ("mask/face01.png", lambda path: save(path, np.zeros((SIDE, 80), np.uint8)), r"is 80x64; .* square"),
        ("classes.txt", lambda path: path.write_text("0 background\n1 skin\n"), r"no class for nose, l_eye"),
        ("classes.txt", lambda path: path.write_text("zero background\n"), r"found 'zero background'"),
        ("classes.txt", lambda path: path.write_text("0 skin\n0 nose\n"), r"'0 nose' repeats"),
        ("classes.txt", Path.unlink, r"neither classes.txt nor"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(
    numbered: Path, file: str, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(numbered / file)
    with pytest.raises(DataError, match=said) as caught:
        read_faces(numbered, SIDE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rename_to", "said"),
    [("00000_beard.png", "known part"), ("skin.png", "known part"), ("00009_skin.png", "no masks")],
)
def test_a_misnamed_part_file_is_refused(tmp_path: Path, rename_to: str, said: str) -> None:
    folder = write_separate(tmp_path / "set", 1)
    masks = folder / "CelebAMask-HQ-mask-anno" / "0"
    (masks / "00000_skin.png").rename(masks / rename_to)
    if rename_to == "00009_skin.png":
        for other in masks.glob("00000_*"):
            other.unlink()
    with pytest.raises(DataError, match=said):
        read_faces(folder, SIDE)


def test_the_split_is_four_to_one_and_hangs_on_the_seed_alone(numbered: Path) -> None:
    faces = read_faces(numbered, SIDE)
    learned, held_out = split_names(faces, 0.2, 42)
    assert (len(learned), len(held_out)) == (5, 1)
    assert {one.name for one in learned} | {one.name for one in held_out} == {one.name for one in faces.faces}
    again = split_names(read_faces(numbered, SIDE), 0.2, 42)
    assert [one.name for one in again[1]] == [one.name for one in held_out]
    others = {split_names(faces, 0.2, seed)[1][0].name for seed in range(12)}
    assert len(others) > 1


# -- mirror images ------------------------------------------------------------------------------------


def test_sides_are_eyes_brows_and_ears_but_not_lips_and_earrings() -> None:
    swapped = {PARTS[place]: PARTS[source] for place, source in enumerate(MIRROR_ORDER) if place != source}
    assert swapped == {
        "l_eye": "r_eye",
        "r_eye": "l_eye",
        "l_brow": "r_brow",
        "r_brow": "l_brow",
        "l_ear": "r_ear",
        "r_ear": "l_ear",
    }


def test_in_a_mirror_image_the_left_eye_still_is_at_the_right(numbered: Path) -> None:
    face = read_faces(numbered, SIDE).faces[0]
    rgb, masks = mirrored(face.rgb, face.masks(), swap_sides=True)
    assert np.array_equal(rgb[:, ::-1], face.rgb)

    def column(parts: np.ndarray, part: str) -> float:
        return float(np.nonzero(parts[PARTS.index(part)])[1].mean())

    assert column(face.masks(), "l_eye") > SIDE / 2 > column(face.masks(), "r_eye")
    assert column(masks, "l_eye") > SIDE / 2 > column(masks, "r_eye")
    _, as_is = mirrored(face.rgb, face.masks(), swap_sides=False)
    assert column(as_is, "l_eye") < SIDE / 2
    twice = mirrored(rgb, masks, swap_sides=True)
    assert np.array_equal(twice[0], face.rgb) and np.array_equal(twice[1], face.masks())


def test_pictures_mirrored_without_changing_names_are_found(
    numbered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_faces(numbered, SIDE).crossed == ()
    for kind in ("image", "mask"):
        path = numbered / kind / "face02.png"
        with Image.open(path) as opened:
            mirror = opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirror.save(path)
    assert read_faces(numbered, SIDE).crossed == ("face02",)
    assert "on 1 of 6 pictures, such as face02" in caplog.text


def test_left_is_the_persons_left_in_celebamask(shared_data: Path) -> None:
    faces = read_faces(shared_data / "celebamask", 64)
    # One in ten was mirrored by whoever repacked it: on some the writing behind the face runs backwards.
    assert 0 < len(faces.crossed) < len(faces.faces) / 5


# -- training, scoring, predicting --------------------------------------------------------------------

TINY = ParsingSettings(
    input_px=32, pretrained=False, device="cpu", steps=2, batch=2, val_share=0.34, flips="swapped"
)


@dataclass(frozen=True)
class Trained:
    """A training of two steps on drawn faces, and the folder it was given."""

    folder: Path
    data: Path
    record: ParsingRecord


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("parsing")
    data = write_numbered(root / "numbered", 6)
    return Trained(root / "run", data, train_parsing(TINY, data, root / "run"))


def test_a_training_notes_what_it_did(trained: Trained) -> None:
    record = trained.record
    assert record.facts.steps == 2 and record.facts.items == 4
    assert record.settings.patience == 20 and record.facts.initial_weights == "random"
    assert read_parsing_record(trained.folder) == record
    assert 0 < record.least_val_loss < 1


def test_scores_stand_beside_the_papers_and_cannot_be_edited(trained: Trained, tmp_path: Path) -> None:
    card = score_parsing(trained.folder, trained.data, tmp_path, device="cpu")
    assert (card.items, card.parameters, card.fidelity) == (2 * 18, 17_817_266, "B")
    path = tmp_path / f"{card.stem}.json"
    assert read_card(path) == card
    table = dict(part_table(card))
    assert table["skin"]["iou"][1] == 0.9304 and table["hat"]["f1"][1] == 0.0
    values = json.loads(path.read_text())
    values["metrics"]["miou_dataset"] = 0.99
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"miou_dataset is 0\.99"):
        read_card(path)


def test_learned_pictures_are_not_scored(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was learned from"):
        score_parsing(trained.folder, trained.data, tmp_path, pictures="all", device="cpu")


def test_another_folder_has_nothing_held_out_but_can_be_scored_whole(
    trained: Trained, tmp_path: Path
) -> None:
    other = write_numbered(tmp_path / "other", 8)
    for index in range(6):
        for kind in ("image", "mask"):
            (other / kind / f"face{index:02}.png").unlink()
    with pytest.raises(DataError, match="score all of it"):
        score_parsing(trained.folder, other, tmp_path, device="cpu")
    card = score_parsing(trained.folder, other, tmp_path, pictures="all", device="cpu")
    assert card.items == 2 * 18 and card.split == "all"


def test_written_masks_are_named_like_pictures_and_say_their_classes(
    trained: Trained, tmp_path: Path
) -> None:
    assert predict_folder(trained.folder, trained.data / "image", tmp_path, device="cpu") == 6
    assert read_classes(tmp_path / "classes.txt") == {n: CLASSES[n] for n in range(19) if n != 16}
    with Image.open(tmp_path / "face03.png") as opened:
        assert opened.size == (SIDE, SIDE) and opened.mode == "L"


def test_a_finished_training_is_not_done_again(trained: Trained) -> None:
    written = (trained.folder / "weights.safetensors").stat().st_mtime_ns
    assert train_parsing(TINY, trained.data, trained.folder) == trained.record
    assert (trained.folder / "weights.safetensors").stat().st_mtime_ns == written


def test_a_run_in_two_parts_equals_one_in_one(trained: Trained, tmp_path: Path) -> None:
    train_parsing(TINY.model_copy(update={"steps": 1}), trained.data, tmp_path / "run")
    again = train_parsing(TINY, trained.data, tmp_path / "run")
    assert again.weights_sha256 == trained.record.weights_sha256
    with pytest.raises(ConfigError, match="other settings or data"):
        train_parsing(TINY.model_copy(update={"flips": "as_is"}), trained.data, tmp_path / "run")


def test_a_damaged_checkpoint_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no finished parsing"):
        read_parsing_record(tmp_path)
    for name in ("weights.safetensors", "trained_on.csv", "parsing.json"):
        shutil.copy(trained.folder / name, tmp_path / name)
    cut(tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match="missing or damaged"):
        score_parsing(tmp_path, trained.data, tmp_path / "cards", device="cpu")


def test_too_few_pictures_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        train_parsing(TINY, write_numbered(tmp_path / "set", 1), tmp_path / "run")


def test_written_parts_are_painted_over_each_other_as_celebamask_does() -> None:
    chances = np.full((18, 1, 4), 0.1, dtype=np.float32)
    chances[PARTS.index("skin"), 0, :2] = 0.9
    chances[PARTS.index("nose"), 0, 0] = 0.6  # less sure than the skin below it
    chances[PARTS.index("nose"), 0, 1] = 0.49
    chances[PARTS.index("background"), 0, 2] = 0.9
    assert [CLASSES[number] for number in class_numbers(chances)[0]] == [
        "nose",
        "skin",
        "background",
        "background",
    ]


def test_true_parts_painted_give_the_class_numbers_they_came_from(numbered: Path) -> None:
    face = read_faces(numbered, SIDE).faces[0]
    _, numbers = draw(0)
    numbers[numbers == CLASSES.index("neck_l")] = 0
    assert np.array_equal(class_numbers(face.masks().astype(np.float32)), numbers)
    assert all(CLASSES[number] == name for name, number in CLASS_NUMBERS.items())


@pytest.mark.slow
def test_it_learns_eight_drawn_faces(tmp_path: Path) -> None:
    folder = write_numbered(tmp_path / "set", 10)
    settings = TINY.model_copy(update={"steps": 80, "input_px": SIDE, "batch": 4, "val_share": 0.2})
    train_parsing(settings, folder, tmp_path / "run")
    card = score_parsing(tmp_path / "run", folder, tmp_path / "cards", device="cpu")
    drawn = ("skin", "nose", "l_eye", "r_eye", "background")
    assert {
        part: card.metrics[f"{part}/iou"] for part in drawn if (card.metrics[f"{part}/iou"] or 0) < 0.8
    } == {}
