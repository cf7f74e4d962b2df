"""--mean and --std: another normalization for a loaded model."""

import pytest
import torch

import escrime
from escrime import EscrimeError, load_model
from escrime.commands.evaluate.request import Request
from escrime.models import save_weights
from escrime.validation import channel_numbers

SOURCE = """
import torch
from torch import nn

def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))

def ask():
    network = module()
    return lambda images: network(torch.from_numpy(images)).detach().numpy()
ask.size = 8
"""


def test_it_replaces_the_one_in_front(tmp_path):
    save_weights(escrime.build("lenet", 3, seed=1, mean=0.5, std=0.5), tmp_path / "w.safetensors", {"size": 8})
    spec, images = f"lenet@{tmp_path / 'w.safetensors'}", torch.rand(3, 3, 8, 8)
    before, after = load_model(spec), load_model(spec, 0.25, (0.5, 0.25, 0.5))
    old, new = before.model, after.model
    assert before.normalization == "mean 0.5, std 0.5, from the file"
    assert after.normalization == "mean 0.25, std 0.5, 0.25, 0.5, from --mean and --std"
    assert type(new.network) is type(old.network) and new.mean.shape == old.mean.shape and not new.training
    expected = old.network((images - 0.25) / torch.tensor([0.5, 0.25, 0.5])[:, None, None])
    assert torch.allclose(new(images), expected, atol=1e-6)


def test_it_goes_in_front_of_what_has_none(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    images = torch.rand(3, 3, 8, 8)
    plain = load_model(f"{tmp_path / 'mine.py'}:module").model
    loaded = load_model(f"{tmp_path / 'mine.py'}:module", 0.5, 0.25)
    model = loaded.model
    assert loaded.normalization == "mean 0.5, std 0.25, from --mean and --std"
    assert torch.allclose(model(images), plain((images - 0.5) / 0.25), atol=1e-6)


def test_a_black_box_gets_it_too():
    from escrime.models.loading.loaded import Loaded
    from escrime.models.loading.normalizing import renormalized

    box = renormalized(Loaded(lambda x: x.mean((2, 3)), "box", answers="scores"), 0.5, 0.5)
    images = torch.rand(3, 3, 8, 8)
    assert box.normalization == "mean 0.5, std 0.5, from --mean and --std"
    assert box.answers == "scores" and torch.allclose(box.model(images), 2 * images.mean((2, 3)) - 1, atol=1e-6)


def test_text_becomes_numbers():
    assert channel_numbers("--mean", "0.485, 0.456,0.406") == (0.485, 0.456, 0.406)
    assert channel_numbers("--std", "1/255") == (1 / 255,) and channel_numbers("--std", None) is None


@pytest.mark.parametrize("text", ["", "grey", "0.5,0.5", "nan", "1/0", "0.5;0.5;0.5", "1e999"])
def test_nonsense_is_named(text):
    with pytest.raises(EscrimeError, match="--mean .* write 0.5 or"):
        channel_numbers("--mean", text)


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [((0.5,), None, "--mean without --std"), ((0.5,), (0.0,), "not positive"), ((123.0,), (58.0,), "0–255")],
)
def test_what_no_normalization_is_is_refused_before_anything_is_read(mean, std, said):
    with pytest.raises(EscrimeError, match=said):
        Request("nowhere.pt2", "nowhere", (0.1,), mean=mean, std=std)
    with pytest.raises(EscrimeError, match=said):
        load_model("nowhere.pt2", mean, std)


def test_a_continued_run_must_share_it():
    assert Request("m", "d", (0.1,), mean=(0.5,), std=(0.5,)).settings()["mean"] == [0.5]
