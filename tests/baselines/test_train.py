"""Training learns, resumes bit for bit, records what it did, and stops at the first broken number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from baselines import train as train_module
from baselines.checkpoint import STATE_FILE, WEIGHTS_FILE, read_record, read_seen, read_tensors
from baselines.data import list_crops
from baselines.metrics import summarise
from baselines.predict import Predictor
from baselines.scoring import score_crops
from baselines.settings import CropSettings, TrainSettings
from baselines.train import train
from dataset_tools.core.errors import ConfigError, DataError, SuiteError, UnknownName
from dataset_tools.core.files import sha256_file
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.progress import silent
from dataset_tools.core.record import Split

SMALL = TrainSettings(
    steps=6,
    batch=2,
    input_px=64,
    learning_rate=1e-3,
    pretrained=False,
    device="cpu",
    checkpoint_every_steps=2,
    val_every_steps=3,
    crop=CropSettings(margin=0.1),
)


class Killed(BaseException):
    """Stands for a kill between two steps."""


def dies_after(steps: int):  # type: ignore[no-untyped-def]
    @contextmanager
    def factory(label: str, total: int | None) -> Iterator[object]:
        class Bar:
            done = 0

            def advance(self, count: int = 1) -> None:
                self.done += count
                if self.done > steps:
                    raise Killed

            def note(self, text: str) -> None:
                return None

        yield Bar()

    return factory


def test_a_killed_and_resumed_training_gives_the_same_bytes(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 5 + [Split.VAL] * 2)
    whole = train(SMALL, manifest, images, tmp_path / "whole")
    before = torch.random.get_rng_state()
    with pytest.raises(Killed):
        train(SMALL, manifest, images, tmp_path / "killed", dies_after(3))
    assert not (tmp_path / "killed" / WEIGHTS_FILE).exists()
    resumed = train(SMALL, manifest, images, tmp_path / "killed")
    assert torch.equal(before, torch.random.get_rng_state())  # training leaves the caller's dice alone
    for name in (WEIGHTS_FILE, "trained_on.csv"):
        assert sha256_file(tmp_path / "whole" / name) == sha256_file(tmp_path / "killed" / name)
    assert resumed.record.history == whole.record.history
    assert resumed.record.steps == 6
    newest = read_tensors(tmp_path / "killed" / STATE_FILE)
    for name, tensor in read_tensors(tmp_path / "whole" / STATE_FILE).items():
        assert torch.equal(tensor, newest[name]), name


def test_three_steps_and_three_more_equal_six(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN] * 3)
    train(SMALL, manifest, images, tmp_path / "six")
    train(SMALL.model_copy(update={"steps": 3}), manifest, images, tmp_path / "parts")
    train(SMALL, manifest, images, tmp_path / "parts")
    assert sha256_file(tmp_path / "six" / WEIGHTS_FILE) == sha256_file(tmp_path / "parts" / WEIGHTS_FILE)


def test_a_damaged_state_falls_back_to_the_one_before(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 3)
    train(SMALL, manifest, images, tmp_path / "whole")
    with pytest.raises(Killed):
        train(SMALL, manifest, images, tmp_path / "cut", dies_after(5))
    state = tmp_path / "cut" / STATE_FILE
    state.write_bytes(state.read_bytes()[:-1000])
    train(SMALL, manifest, images, tmp_path / "cut")
    assert sha256_file(tmp_path / "whole" / WEIGHTS_FILE) == sha256_file(tmp_path / "cut" / WEIGHTS_FILE)


def test_workers_change_nothing(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN] * 3)
    two = SMALL.model_copy(update={"steps": 2})
    alone = train(two, manifest, images, tmp_path / "alone")
    helped = train(two.model_copy(update={"num_workers": 1}), manifest, images, tmp_path / "helped")
    assert alone.record.weights_sha256 == helped.record.weights_sha256


def test_four_pictures_are_learned_by_heart(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.UNASSIGNED] * 4)
    choices = {"steps": 40, "batch": 4, "learning_rate": 4e-3, "augment": False, "split": Split.UNASSIGNED}
    settings = SMALL.model_copy(update={**choices, "checkpoint_every_steps": 40, "val_every_steps": 40})
    result = train(settings, manifest, images, tmp_path / "out")
    predictor = Predictor.load(result.checkpoint_dir, "cpu")
    found = list_crops(manifest.samples(), Split.UNASSIGNED, settings.crop)
    with silent("", None) as quiet:
        scores = score_crops(predictor, found, images, Label.FACE_MASK, quiet)
    assert summarise(scores)["iou"] > 0.95


def test_the_record_says_what_was_trained_on(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest(
        [Split.TRAIN] * 4 + [Split.VAL] + [Split.TEST], unlabelled=[0], synthetic=[1, 2], faceless=[3]
    )
    settings = SMALL.model_copy(update={"steps": 2})
    record = train(settings, manifest, images, tmp_path / "out").record
    assert (record.samples, record.crops, record.synthetic_crops, record.val_crops) == (3, 3, 2, 1)
    assert record.dataset_digest == manifest.canonical_digest()
    assert record.dataset_key == manifest.key
    assert (record.steps, record.initial_weights, record.device) == (2, "random", "cpu")
    assert record.seconds > 0
    assert record.settings.loss == "bce_dice"  # the recipe's, written out
    assert record.best_val_iou is not None
    assert read_record(tmp_path / "out") == record
    seen = read_seen(tmp_path / "out")
    assert sorted(one.split for one in seen) == ["train", "train", "train", "val"]


def test_only_synthetic_or_only_real_samples_can_be_chosen(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 3, synthetic=[2])
    for choice, count in (("synthetic", 1), ("real", 2)):
        settings = SMALL.model_copy(update={"steps": 1, "samples": choice})
        assert train(settings, manifest, images, tmp_path / choice).record.crops == count


def test_three_classes_train_and_save(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN] * 2 + [Split.VAL])
    settings = SMALL.model_copy(update={"steps": 2, "labels": (Label.FACE_MASK, Label.FACE)})
    record = train(settings, manifest, images, tmp_path / "out").record
    assert record.settings.num_classes == 3
    assert record.best_val_iou is not None


def broken_at(calls: set[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the loss NaN at these calls (counted from 1); returns the list of calls made."""
    made: list[int] = []
    honest = train_module.find_loss("bce_dice")

    def loss(output, classes):  # type: ignore[no-untyped-def]
        made.append(len(made) + 1)
        value = honest(output, classes)
        return value * float("nan") if made[-1] in calls else value

    monkeypatch.setattr(train_module, "find_loss", lambda name: loss)
    return made


def test_a_loss_that_is_no_number_three_times_stops_and_names_the_samples(
    make_manifest, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_manifest([Split.TRAIN] * 2)
    made = broken_at({3, 4, 5}, monkeypatch)
    ids = sorted(sample.id for sample in manifest.samples())
    with pytest.raises(SuiteError, match=f"step 3: loss nan.*{ids[0]}, {ids[1]}"):
        train(SMALL, manifest, images, tmp_path / "out")
    assert len(made) == 5
    assert not (tmp_path / "out" / WEIGHTS_FILE).exists()
    for tensor in read_tensors(tmp_path / "out" / STATE_FILE).values():
        assert torch.isfinite(tensor.float()).all()


def test_one_broken_step_goes_back_to_the_last_state_with_a_tenth_of_the_rate(
    make_manifest, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_manifest([Split.TRAIN] * 2)
    made = broken_at({4}, monkeypatch)  # states are kept after steps 2, 3, 4, 6: call 4 is step 4
    record = train(SMALL, manifest, images, tmp_path / "out").record
    assert record.rollbacks == 1 and record.steps == 6
    assert len(made) == 7  # step 4 was tried twice
    for tensor in read_tensors(tmp_path / "out" / WEIGHTS_FILE).values():
        assert torch.isfinite(tensor.float()).all()


def test_when_memory_runs_out_batches_go_in_parts_and_the_record_says_so(
    make_manifest, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_manifest([Split.TRAIN] * 4)
    honest = train_module.find_loss("bce")
    sizes: list[int] = []

    def greedy(output, classes):  # type: ignore[no-untyped-def]
        sizes.append(len(classes))
        if len(classes) > 1:
            raise torch.OutOfMemoryError("no more")
        return honest(output, classes)

    monkeypatch.setattr(train_module, "find_loss", lambda name: greedy)
    settings = SMALL.model_copy(update={"batch": 4, "steps": 1, "loss": "bce"})
    record = train(settings, manifest, images, tmp_path / "out").record
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert record.micro_batches == 4
    monkeypatch.setattr(
        train_module, "find_loss", lambda name: lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("x"))
    )
    with pytest.raises(SuiteError, match="out of memory on cpu with a batch of 4 in 4 parts"):
        train(settings, manifest, images, tmp_path / "never")


def test_a_batch_is_cut_with_all_its_columns() -> None:
    from baselines.loop import _parts

    batch = {"index": torch.arange(5), "names": ["a", "b", "c", "d", "e"]}
    cut = list(_parts(batch, 2))
    assert [one["index"].tolist() for one in cut] == [[0, 1, 2], [3, 4]]
    assert [one["names"] for one in cut] == [["a", "b", "c"], ["d", "e"]]


def test_another_training_in_the_same_folder_is_refused(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 2)
    settings = SMALL.model_copy(update={"steps": 1})
    first = train(settings, manifest, images, tmp_path / "out")
    again = train(settings, manifest, images, tmp_path / "out")
    assert again.record == first.record and again.crops_per_second == 0
    with pytest.raises(ConfigError, match="holds a training with other settings"):
        train(settings.model_copy(update={"seed": 1}), manifest, images, tmp_path / "out")


def test_training_stops_when_validation_no_longer_improves(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 2 + [Split.VAL])
    stuck = SMALL.model_copy(
        update={"steps": 20, "val_every_steps": 1, "patience": 2, "learning_rate": 1e-12}
    )
    record = train(stuck, manifest, images, tmp_path / "out").record
    assert record.steps < 20
    assert record.best_step == record.steps - 2


def test_wrong_requests_are_one_line_errors(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TEST])
    out = tmp_path / "out"
    with pytest.raises(UnknownName, match="did you mean unet_r50"):
        train(SMALL.model_copy(update={"baseline": "unet_r5"}), manifest, images, out)
    with pytest.raises(UnknownName, match="unknown loss"):
        train(SMALL.model_copy(update={"loss": "hinge"}), manifest, images, out)
    with pytest.raises(DataError, match="no labelled sample to learn from"):
        train(SMALL, manifest, images, out)
    with pytest.raises(ConfigError, match="device 'abacus'"):
        train(SMALL.model_copy(update={"device": "abacus"}), manifest, images, out)


def test_a_missing_picture_names_its_sample(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN])
    (sample,) = manifest.samples()
    images.path(sample.image).unlink()
    with pytest.raises(DataError, match=f"sample {sample.id}.*not in the workspace"):
        train(SMALL, manifest, images, tmp_path / "out")


START = SMALL.model_copy(update={"steps": 2, "seed": 5})


def test_a_successor_starts_from_the_weights_of_a_checkpoint_and_says_so(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 3 + [Split.VAL], name="first")
    first = train(START, manifest, images, tmp_path / "first")
    manifest = make_manifest([Split.UNASSIGNED] * 2, name="second", first_seed=7)
    changes = {"learning_rate": 1e-12, "steps": 1, "split": Split.UNASSIGNED}
    slow = SMALL.model_copy(update={**changes, "start_from": first.checkpoint_dir})
    record = train(slow, manifest, images, tmp_path / "second").record
    assert record.initial_weights == f"unet_effnet_lite0@{first.record.version}"
    assert record.initial_weights_sha256 == first.record.weights_sha256
    before = read_tensors(tmp_path / "first" / WEIGHTS_FILE)
    for name, tensor in read_tensors(tmp_path / "second" / WEIGHTS_FILE).items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-8)
    # No folder of this machine is kept, only the digest; and what the start has seen counts as seen.
    assert (record.settings.start_from, record.settings.start_sha256) == (None, first.record.weights_sha256)
    assert str(tmp_path) not in (tmp_path / "second" / "training.json").read_text()
    assert sorted(one.split for one in read_seen(tmp_path / "second")) == ["unassigned"] * 5 + ["val"]
    # A finished successor is found again.
    assert train(slow, manifest, images, tmp_path / "second").record == record


def test_a_killed_successor_resumes_bit_for_bit(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN] * 4 + [Split.VAL])
    start = train(START, manifest, images, tmp_path / "start").checkpoint_dir
    settings = SMALL.model_copy(update={"start_from": start})
    train(settings, manifest, images, tmp_path / "whole")
    with pytest.raises(Killed):
        train(settings, manifest, images, tmp_path / "killed", dies_after(3))
    train(settings, manifest, images, tmp_path / "killed")
    train(SMALL, manifest, images, tmp_path / "random")
    digests = [sha256_file(tmp_path / name / WEIGHTS_FILE) for name in ("whole", "killed", "random")]
    assert digests[0] == digests[1] != digests[2]
    # The state belongs to this start: without it, or with another one, it is not gone on with.
    with pytest.raises(ConfigError, match="other settings or data"):
        train(SMALL.model_copy(update={"seed": 1}), manifest, images, tmp_path / "killed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (Label.FACE_MASK, Label.FACE)}, "labels there: face_mask; wanted: face_mask, face"),
        ({"baseline": "eunet_r34"}, "baseline there: unet_effnet_lite0; wanted: eunet_r34"),
        ({"options": {"decoder": 1}}, "options there: {}; wanted: {'decoder': 1}"),
        ({"start_sha256": "0" * 64}, "not those of start_sha256"),
        ({"start_from": None, "start_sha256": "0" * 64}, "names no checkpoint"),
        ({"baseline": "misa_edge"}, "misa_edge cannot start from a checkpoint"),
    ],
)
def test_a_start_of_another_kind_is_refused(
    change: dict[str, object], message: str, trained, make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    settings = SMALL.model_copy(update={"start_from": trained.checkpoint, **change})
    with pytest.raises(ConfigError, match=message):
        train(settings, make_manifest([Split.TRAIN]), images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
