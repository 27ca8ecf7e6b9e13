from __future__ import annotations

import pytest

from dataset_tools.core.errors import DataError
from dataset_tools.defaults.about import (
    ABOUT_FILE,
    About,
    Measure,
    PictureSource,
    allowed_use,
    read_about,
    write_about,
)
from dataset_tools.defaults.card import model_card


def about(*licences: str, **changes) -> About:
    values = {
        "kind": "proposer",
        "name": "net@0123456789ab",
        "tells": ("face_mask",),
        "weights_file": "weights.safetensors",
        "weights_sha256": "a" * 64,
        "weights_bytes": 6_400_000,
        "start": "random",
        "start_licence": "",
        "sources": tuple(
            PictureSource(name=f"s{index}", origin="", licence=words, photos=10 + index, rendered=20)
            for index, words in enumerate(licences)
        ),
        "recipe": {"train": {"steps": 2}},
        "seed": 7,
        "steps": 2,
        "data": "d",
        "data_digest": "b" * 64,
        "samples": 4,
        "seconds": 1.5,
        "device": "cpu",
        "measures": (),
        "command": "build-dataset defaults train proposer",
        "versions": {"maskset": "0.1.0"},
        "made_of": "c" * 64,
    }
    return About(**values | changes)


@pytest.mark.parametrize(
    ("licences", "said"),
    [
        (["CC0-1.0"], ["bind nobody"]),
        (["MIT"], ["Name the sources whose licence asks for it (MIT)"]),
        (["CC-BY-NC-4.0"], ["No commercial use: of 10 photos (CC-BY-NC-4.0), nor of the weights"]),
        (["CC-BY-SA-4.0"], ["To be shared alike: 10 photos"]),
        (["MIT", "not stated"], ["For 11 photos no licence is known", "(not stated)", "(MIT)"]),
        (["LicenseRef-my-own-words"], ["no licence is known whose words say what is allowed"]),
        (["non-commercial research only"], ["Not to be passed on", "No commercial use"]),
    ],
)
def test_the_stated_licences_decide_what_the_weights_may_be_used_for(licences, said):
    words = " ".join(allowed_use(about(*licences)))
    for part in said:
        assert part in words


def test_free_photos_leave_the_weights_free():
    assert len(allowed_use(about("CC0-1.0", "LicenseRef-public-domain"))) == 1


def test_it_is_read_as_it_was_written_and_damage_is_one_line(tmp_path):
    write_about(tmp_path, about("MIT"))
    assert read_about(tmp_path) == about("MIT")
    (tmp_path / ABOUT_FILE).write_text('{"kind": "proposer"}')
    with pytest.raises(DataError, match="Field required"):
        read_about(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        read_about(tmp_path / "none")


def test_the_card_says_figures_with_their_intervals_and_what_was_not_measured():
    measured = Measure(what="IoU", data="mfsd", digest="d" * 64, items=100, value=0.9123, low=0.9, high=0.92)
    card = model_card(about("MIT", measures=(measured,)))
    assert "| IoU | mfsd | 100 | 0.9123 | 0.9000 to 0.9200 |" in card
    assert "d" * 64 in card
    assert "without `--score-on`" in model_card(about("MIT"))


def test_foreign_words_on_the_card_are_no_markup():
    card = model_card(about("MIT | <b>free</b>"))
    assert "<b>" not in card and "MIT \\| &lt;b&gt;" in card
