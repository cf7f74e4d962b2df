"""CLIP-like models: class names become texts, and the texts the last layer."""

import json

import pytest
import torch

import escrime
from escrime import EscrimeError
from escrime.models import load_model
from escrime.models.loading.zero_shot import check_template

transformers = pytest.importorskip("transformers")

SIZE, WORDS = 32, "a photo of the dog cat bee truck".split()
TOWER = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder as the hub has them: a CLIP of random weights, its words letters and a few whole ones."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [".", ","]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": len(vocabulary) - 1}
    text = TOWER | {"vocab_size": len(vocabulary), "max_position_embeddings": 48} | ends
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config=text, vision_config=TOWER | {"image_size": SIZE, "patch_size": 8}, projection_dim=12
    )
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_mean=[0.4] * 3, image_std=[0.2] * 3
    )
    processor.save_pretrained(folder)
    return folder


def by_hand(folder, images, texts):
    """What transformers itself makes of images and texts."""
    network, tokenizer = (
        transformers.CLIPModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return network(pixel_values=(images - 0.4) / 0.2, **tokens).logits_per_image


def test_logits_are_those_of_the_texts(clip):
    found, images = load_model(f"hf:{clip}", classes=["dog", "bee, insect", "old_truck"]), torch.rand(4, 3, SIZE, SIZE)
    assert found.classes == ("dog", "bee, insect", "old_truck") and found.size == SIZE and found.answers == "gradients"
    texts = ["a photo of a dog.", "a photo of a bee.", "a photo of a old truck."]
    with torch.no_grad():
        assert torch.allclose(found.model(images), by_hand(clip, images, texts), atol=1e-4)
    other = load_model(f"hf:{clip}@the {{}}", classes=["dog", "cat"])
    with torch.no_grad():
        assert torch.allclose(other.model(images), by_hand(clip, images, ["the dog", "the cat"]), atol=1e-4)


def test_it_can_be_attacked_and_its_copy_predicts_the_same(clip):
    model, images = load_model(f"hf:{clip}", classes=WORDS[4:]).model, torch.rand(3, 3, SIZE, SIZE)
    labels = model(images).argmax(1)
    moved = escrime.PGD(0.3, steps=10)(model, images, labels)
    assert (model(moved).argmax(1) != labels).any()


def test_nothing_is_drawn_at_random_for_want_of_names(clip):
    with pytest.raises(EscrimeError, match="has no classes of its own.*--classes FILE"):
        load_model(f"hf:{clip}")


def test_names_come_from_the_folders_where_nothing_else_gives_them(clip, tmp_path):
    for name in ("n02102040", "n03394916"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    found = load_model(f"hf:{clip}", prompted=lambda: escrime.data.class_names(tmp_path))
    assert found.classes == ("English springer", "French horn") and found.model.network.texts.shape == (2, 12)
    assert load_model(f"hf:{clip}", classes=["x", "y"], prompted=lambda: 1 / 0).classes == ("x", "y"), (
        "what was given comes first"
    )


@pytest.mark.parametrize("text", ["a photo", "{} and {}", "a {0}", "{name}"])
def test_a_template_has_one_place_for_the_name(text, clip):
    with pytest.raises(EscrimeError, match="no single {}"):
        check_template(text)
    with pytest.raises(EscrimeError, match="no single {}"):
        load_model(f"hf:{clip}@{text}", classes=["dog"])


def test_classes_of_one_first_name_are_told_apart_by_the_whole(clip):
    found, images = load_model(f"hf:{clip}", classes=["crane, bird", "crane, machine", "bee, x"]), torch.rand(2, 3, SIZE, SIZE)
    texts = ["a photo of a crane, bird.", "a photo of a crane, machine.", "a photo of a bee."]
    with torch.no_grad():
        assert torch.allclose(found.model(images), by_hand(clip, images, texts), atol=1e-4)


@pytest.mark.parametrize(
    ("classes", "template", "sentence"),
    [
        (["dog", "dog"], "", "are one text to the model"),
        (["dog", "cat"], f"@{'photo ' * 20}{{}}", "are one text to the model"),
        (["dog", ", x"], "", "class 1 has no name"),
        (["dog"], "", "at least two"),
    ],
)
def test_classes_that_no_text_can_tell_apart(clip, classes, template, sentence):
    with pytest.raises(EscrimeError, match=sentence):
        load_model(f"hf:{clip}{template}", classes=classes)
