"""SAM 2 of a few thousand random weights, saved and loaded as a real one: what goes in and comes out."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from annotation.backend.prompts import Click, Prompts
from annotation.prelabel import sam
from annotation.prelabel.sam import Sam2Proposer
from dataset_tools.core.errors import ConfigError, DataError, WeightsUnavailable
from dataset_tools.core.files import sha256_file
from dataset_tools.core.labels import Label

SIDE = 64
BOX = (40.0, 20.0, 100.0, 100.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 2, 2],
        global_attention_blocks=[3],
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    prompts = transformers.Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE, mask_input_channels=4)
    decoder = transformers.Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
    )
    torch.manual_seed(0)
    config = transformers.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    made = tmp_path_factory.mktemp("models") / "sam2-tiny"
    transformers.Sam2Model(config).save_pretrained(made)
    square = {"height": SIDE, "width": SIDE}
    image_processor = transformers.Sam2ImageProcessor(size=square, mask_size={"height": 16, "width": 16})
    transformers.Sam2Processor(image_processor).save_pretrained(made)
    return made


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 255, (120, 150, 3)).astype(np.uint8)


@pytest.fixture
def looks(folder, monkeypatch):
    """Counts how often the picture's own, long look is taken."""
    loaded = sam._load(folder.resolve(), sha256_file(folder / "model.safetensors")[:12], "cpu")
    counted = []
    forward = loaded.model.vision_encoder.forward
    monkeypatch.setattr(
        loaded.model.vision_encoder, "forward", lambda *a, **k: counted.append(1) or forward(*a, **k)
    )
    return counted


def test_it_proposes_a_mask_for_every_face_and_label_with_one_look(folder, rgb, looks):
    proposer = pickle.loads(pickle.dumps(Sam2Proposer(folder, (Label.FACE_MASK, Label.FACE), "cpu")))
    assert proposer.name == "sam2-tiny"
    assert proposer.version == sha256_file(folder / "model.safetensors")[:12]
    none, found = proposer.propose([rgb, rgb], [[], [BOX, (0.0, 0.0, 30.0, 30.0)]])
    assert none == []
    assert [(one.label, one.face) for one in found] == [
        (Label.FACE_MASK, 0),
        (Label.FACE, 0),
        (Label.FACE_MASK, 1),
        (Label.FACE, 1),
    ]
    for one in found:
        assert one.probability.shape == (120, 150)
        assert one.probability.dtype == np.float32
        assert 0 <= one.probability.min() <= one.probability.max() <= 1
    assert not np.array_equal(found[0].probability, found[2].probability)
    assert len(looks) == 1


def test_many_prompts_on_one_picture_take_one_look(folder, rgb, looks):
    encoding = Sam2Proposer(folder, device="cpu").encode(rgb, [])
    assert encoding.nbytes == 4 * (4 * 16 * 16 + 8 * 8 * 8 + 32 * 4 * 4)
    asked = [
        Prompts(Label.OCCLUDER, (Click(60, 70),)),
        Prompts(Label.FACE_MASK, (Click(60, 70), Click(10, 10, False))),
        Prompts(Label.FACE_MASK, (), BOX),
        Prompts(Label.FACE, (Click(60, 70),), BOX),
    ]
    for prompts in asked:
        answer = encoding.segment(prompts)
        assert answer.mask.shape == (120, 150)
        assert answer.mask.dtype == np.bool_
        assert 0 <= answer.score <= 1
        assert np.array_equal(answer.mask, encoding.segment(prompts).mask)
    assert len(looks) == 1
    assert not encoding.segment(Prompts(Label.FACE, (Click(60, 70, False),))).mask.any()


def test_prompts_from_the_embeddings_are_those_of_the_whole_model(folder, rgb):
    import torch
    from transformers import Sam2Model, Sam2Processor

    model, processor = Sam2Model.from_pretrained(folder).eval(), Sam2Processor.from_pretrained(folder)
    inputs = processor(
        images=rgb,
        input_points=[[[[70.5, 60.5], [10.5, 10.5]]]],
        input_labels=[[[1, 0]]],
        return_tensors="pt",
    )
    with torch.inference_mode():
        found = model(**inputs, multimask_output=False)
    (expected,) = processor.post_process_masks(found.pred_masks, inputs["original_sizes"])
    encoding = Sam2Proposer(folder, device="cpu").encode(rgb, [])
    answer = encoding.segment(Prompts(Label.FACE_MASK, (Click(60, 70), Click(10, 10, False))))
    assert np.array_equal(answer.mask, expected[0, 0].numpy())


def test_without_transformers_one_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'maskset\[sam\]'") as caught:
        Sam2Proposer(folder)
    assert "\n" not in str(caught.value)


def test_only_whole_safetensors_models_are_loaded(folder, tmp_path, rgb):
    from safetensors.torch import load_file, save_file

    with pytest.raises(DataError, match=r"model\.safetensors is missing"):
        Sam2Proposer(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["no_memory_embedding"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="1 tensors are missing, no_memory_embedding first"):
        Sam2Proposer(tmp_path, device="cpu").encode(rgb, [])
    (tmp_path / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(DataError, match="holds no SAM 2 model"):
        Sam2Proposer(tmp_path, device="cpu").encode(rgb, [])


def test_a_hub_that_is_away_and_labels_it_cannot_look_for_are_one_line(folder, monkeypatch):
    def away(*args, **more):
        raise OSError("away\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", away)
    with pytest.raises(WeightsUnavailable, match=r"cannot get facebook/sam2 .*\(away\); name a folder"):
        Sam2Proposer("facebook/sam2")
    with pytest.raises(ConfigError, match="not for strap"):
        Sam2Proposer(folder, (Label.STRAP,))
