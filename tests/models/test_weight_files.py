"""Weights on disk: whole or not at all, exactly the model's, and the metadata beside them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from escrime.errors import EscrimeError
from escrime.models import build, load_weights, read_metadata, save_weights


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_weights_and_metadata_come_back(tmp_path, images):
    model, other = build("wide_resnet_small", 5, seed=1), build("wide_resnet_small", 5, seed=2)
    model.train()(images)  # moves the running statistics, so that buffers count
    metadata = {"epoch": 3, "accuracy": 0.97, "classes": ["a", "é"], "nested": {"none": None}, "text": "12"}
    path = save_weights(model, tmp_path / "new" / "folder" / "w.safetensors", metadata)
    assert not same(model, other)
    assert load_weights(other, path) is other and same(model, other)
    assert torch.equal(model.eval()(images), other(images))
    assert read_metadata(path) == metadata
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_the_same_weights_make_the_same_bytes(tmp_path):
    one = save_weights(build("lenet", 3), tmp_path / "a.safetensors", {"x": 1, "y": 2})
    two = save_weights(build("lenet", 3), tmp_path / "b.safetensors", {"y": 2, "x": 1})
    assert one.read_bytes() == two.read_bytes()


def test_saving_takes_tied_and_channels_last_weights(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 4)).to(memory_format=torch.channels_last)
    model[2].weight = model[1].weight
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 4))
    assert same(load_weights(other, save_weights(model, tmp_path / "w.safetensors", {})), model)


def test_loading_leaves_mode_and_gradients_alone(tmp_path):
    model = build("lenet", 3)
    path = save_weights(model, tmp_path / "w.safetensors", {})
    model.train()
    model.network.fc.requires_grad_(False)
    before = torch.get_rng_state()
    load_weights(model, path)
    assert model.training and model.network.training and not model.network.fc.weight.requires_grad
    assert torch.equal(before, torch.get_rng_state())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = save_weights(build("lenet", 3, seed=1), tmp_path / "w.safetensors", {})
    old = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EscrimeError, match="w.safetensors.*No space left"):
        save_weights(build("lenet", 3, seed=2), path, {})
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_metadata_must_be_json(tmp_path):
    with pytest.raises(EscrimeError, match="JSON"):
        save_weights(nn.Linear(1, 1), tmp_path / "w.safetensors", {"device": torch.device("cpu")})
    assert not list(tmp_path.iterdir())


def test_loading_is_strict_and_names_what_does_not_fit(tmp_path):
    model = nn.Sequential(nn.Linear(4, 2))
    before = model.state_dict()["0.weight"].clone()
    save_file({"0.weight": torch.zeros(2, 3), "0.gain": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(EscrimeError, match="0.bias missing; 0.gain unexpected; 0.weight 2×3 instead of 2×4"):
        load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model[0].weight, before)


def test_nan_weights_are_refused(tmp_path):
    model = build("lenet", 3)
    with torch.no_grad():
        model.network.fc.weight[0, 0] = float("nan")
    path = save_weights(model, tmp_path / "w.safetensors", {})
    with pytest.raises(EscrimeError, match="NaN or infinity in network.fc.weight"):
        load_weights(build("lenet", 3), path)


@pytest.mark.parametrize("kept", [0, 4, 100, -8])
def test_a_damaged_file_is_named(tmp_path, kept):
    path = save_weights(build("lenet", 3), tmp_path / "w.safetensors", {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EscrimeError, match="w.safetensors is not a complete safetensors file"):
        load_weights(build("lenet", 3), path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(EscrimeError, match="nowhere.safetensors does not exist"):
        read_metadata(tmp_path / "nowhere.safetensors")
    with pytest.raises(EscrimeError, match="is a folder"):
        load_weights(nn.Linear(1, 1), tmp_path)


def test_metadata_of_other_writers_is_readable(tmp_path):
    entries = {"format": "pt", "mean": "[0.5, 0.4, 0.3]", "license": "12"}
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", entries)
    assert read_metadata(tmp_path / "w.safetensors") == entries | {"mean": [0.5, 0.4, 0.3]}
    save_file({"w": torch.zeros(1)}, tmp_path / "bare.safetensors")
    assert read_metadata(tmp_path / "bare.safetensors") == {}


def test_infinity_in_a_mask_is_no_divergence(tmp_path):
    class Masked(torch.nn.Linear):
        def __init__(self):
            super().__init__(3, 3)
            self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    path = save_weights(Masked(), tmp_path / "w.safetensors")
    assert torch.equal(load_weights(Masked(), path).mask, Masked().mask)
    spoiled = Masked()
    spoiled.mask[0, 0] = torch.nan
    save_weights(spoiled, path)
    with pytest.raises(EscrimeError, match="NaN or infinity in mask"):
        load_weights(Masked(), path)
