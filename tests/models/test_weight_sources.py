"""Where pre-trained weights come from: files, URLs, torchvision's cache; and that reading them runs nothing."""

import hashlib
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from escrime.errors import EscrimeError
from escrime.models import build, save_weights


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def as_zip(content, path):
    torch.save(content, path)


def as_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [as_zip, as_legacy, as_pickle])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, write):
    proof = tmp_path / "ran"
    write({"fc.weight": torch.zeros(1), "state_dict": Malicious(proof)}, tmp_path / "w.pt")
    with pytest.raises(EscrimeError, match="w.pt is an unsafe pickle.*nothing was run") as caught:
        build("lenet", 10, weights=tmp_path / "w.pt")
    assert not proof.exists()
    assert "\n" not in str(caught.value)
    # The trap works: an ordinary unpickler falls into it.
    if write is as_pickle:
        pickle.loads((tmp_path / "w.pt").read_bytes())
        assert proof.exists()


def test_a_pickled_module_is_refused_by_name(tmp_path):
    torch.save(build("lenet", 10).network, tmp_path / "w.pth")
    with pytest.raises(EscrimeError, match=r"unsafe pickle: it asks for escrime\.models\.small\.LeNet"):
        build("lenet", 10, weights=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.pt", b"<html>404</html>", "damaged"),
        ("w.pt", b"", "damaged"),
        ("w.safetensors", b"<html>404</html>", "not a complete safetensors file"),
        ("w.h5", b"", "reads .safetensors, .pt and .pth"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EscrimeError, match=said):
        build("lenet", 10, weights=tmp_path / name)


def test_sources_that_do_not_exist(tmp_path):
    with pytest.raises(EscrimeError, match="does not exist; give 'torchvision', a URL"):
        build("lenet", 10, weights=str(tmp_path / "torchvison"))
    with pytest.raises(EscrimeError, match=r"not at an http\(s\) URL"):
        build("lenet", 10, weights="ftp://host/w.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(EscrimeError, match="no named tensors"):
        build("lenet", 10, weights=tmp_path / "list.pt")


def test_a_download_with_the_right_checksum(website, hub, images):
    folder, address, asked = website
    model = build("lenet", 10, seed=3)
    path = save_weights(model, folder / "lenet.safetensors", {})
    url = f"{address}/lenet.safetensors#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
    for _ in range(2):
        assert torch.equal(build("lenet", 10, weights=url)(images), model(images))
    assert asked == ["/lenet.safetensors"], "the second build should read the cache"
    assert len(list(hub.iterdir())) == 1


def test_a_download_with_a_wrong_checksum_is_not_kept(website, hub):
    folder, address, _ = website
    save_weights(build("lenet", 10), folder / "lenet.safetensors", {})
    with pytest.raises(EscrimeError, match="do not have the sha256 00000"):
        build("lenet", 10, weights=f"{address}/lenet.safetensors#sha256={'0' * 64}")
    assert not list(hub.iterdir())


def test_a_stale_cache_is_fetched_again(website, hub, images):
    folder, address, _ = website
    old, new = build("lenet", 10, seed=1), build("lenet", 10, seed=2)
    save_weights(old, folder / "w.safetensors", {})
    build("lenet", 10, weights=f"{address}/w.safetensors")
    path = save_weights(new, folder / "w.safetensors", {})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    again = build("lenet", 10, weights=f"{address}/w.safetensors#sha256={digest}")
    assert torch.equal(again(images), new(images))


def test_a_broken_download_does_not_stay_in_the_cache(website, hub, images):
    folder, address, _ = website
    model = build("lenet", 10, seed=1)
    path = save_weights(model, folder / "w.safetensors", {})
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(EscrimeError, match="not a complete safetensors file"):
        build("lenet", 10, weights=f"{address}/w.safetensors")
    path.write_bytes(whole)
    assert torch.equal(build("lenet", 10, weights=f"{address}/w.safetensors")(images), model(images))


def test_files_of_one_name_from_two_places_are_two_files(website, hub, images):
    folder, address, _ = website
    models = {name: build("lenet", 10, seed=seed) for seed, name in enumerate("ab")}
    for name, model in models.items():
        save_weights(model, folder / name / "w.safetensors", {})
    for name, model in models.items():
        assert torch.equal(build("lenet", 10, weights=f"{address}/{name}/w.safetensors")(images), model(images))


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        ("/none.pth", "cannot be downloaded.*404"),
        ("/w.pth#sha256=12", "64 hexadecimal"),
        ("/w.pth#md5=1", "64 hexadecimal"),
    ],
)
def test_addresses_that_do_not_answer(website, hub, tail, said):
    with pytest.raises(EscrimeError, match=said):
        build("lenet", 10, weights=website[1] + tail)


def test_a_malicious_download_is_refused(website, hub, tmp_path):
    torch.save(Malicious(tmp_path / "ran"), website[0] / "w.pth")
    with pytest.raises(EscrimeError, match="unsafe pickle"):
        build("lenet", 10, weights=f"{website[1]}/w.pth")
    assert not (tmp_path / "ran").exists() and not list(hub.iterdir())


def test_torchvision_weights_are_read_from_its_cache(hub):
    source = build("squeezenet1_1", 1000, seed=5)
    hub.mkdir(parents=True)
    torch.save(source.network.state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    kept = [3, 999, 0]
    model = build("squeezenet1_1", 3, weights="torchvision", head="slice", class_indices=kept)
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(model(images), source(images)[:, kept], atol=1e-6)


def test_torchvision_has_no_weights_for_our_own_networks():
    with pytest.raises(EscrimeError, match="torchvision has no weights for 'lenet'"):
        build("lenet", 10, weights="torchvision")
    with pytest.raises(EscrimeError, match="it has IMAGENET1K_V1, IMAGENET1K_V2. Did you mean"):
        build("resnet50", 10, weights="torchvision:IMAGENET1K_V")


def test_a_malicious_file_in_torchvisions_cache_is_not_run(hub, tmp_path):
    hub.mkdir(parents=True)
    torch.save(Malicious(tmp_path / "ran"), hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(EscrimeError, match="SqueezeNet1_1_Weights.IMAGENET1K_V1 cannot be loaded"):
        build("squeezenet1_1", 3, weights="torchvision")
    assert not (tmp_path / "ran").exists()


def test_half_precision_files_load_as_float32(tmp_path, images):
    model = build("lenet", 10)
    save_file({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = build("lenet", 10, weights=tmp_path / "w.safetensors")
    assert loaded.network.fc.weight.dtype == torch.float32
    assert torch.allclose(loaded(images), model(images), atol=1e-2)
