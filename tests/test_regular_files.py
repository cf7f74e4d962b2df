"""Files of others: regular ones of a bounded size, and nothing else is waited for or read."""

import os
import socket

import pytest
import torch
from PIL import Image

from escrime import EscrimeError, build, load_model
from escrime.commands.attack.photos import attack_photos
from escrime.commands.run.files import read_experiment
from escrime.data import load
from escrime.models import save_weights
from escrime.regular_files import check_regular, is_regular, open_regular, read_regular

pytestmark = pytest.mark.timeout(60)


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def itself(path):
    path.symlink_to(path.name)


def sparse(path):
    path.touch()
    os.truncate(path, 100 * 2**30)


def folder(path):
    path.mkdir()


def listening(path):
    with socket.socket(socket.AF_UNIX) as place:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        place.bind(path.name)
        os.chdir(here)


KINDS = {
    pipe: "it is a pipe, not a regular file",
    endless: "it is a device, not a regular file",
    itself: "Too many levels of symbolic links",
    sparse: "it has 107,374,182,400 bytes, more than the [0-9,]+ that are read here",
    folder: "it is a folder, not a regular file",
    listening: "it is a socket, not a regular file",
}


@pytest.fixture(params=KINDS, ids=lambda make: make.__name__)
def odd(request):
    """(make(path), what is said of it)."""
    return request.param, KINDS[request.param]


def test_only_regular_files_are_opened(odd, tmp_path):
    make, said = odd
    make(tmp_path / "x")
    for call in (read_regular, open_regular, check_regular):
        with pytest.raises(OSError, match=said):
            call(tmp_path / "x", 10**6)
    (tmp_path / "y").write_bytes(b"12345")
    (tmp_path / "z").symlink_to("y")
    assert read_regular(tmp_path / "z", 5) == b"12345" and is_regular(tmp_path / "z")
    with pytest.raises(OSError, match="it has 5 bytes, more than the 4"):
        read_regular(tmp_path / "y", 4)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("ESCRIME_CACHE", str(tmp_path / "cache"))
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for row in range(2):
            Image.new("RGB", (8, 8), (row, 90, 200)).save(tmp_path / "photos" / name / f"{row}.png")
    return tmp_path / "photos"


def test_a_folder_with_such_a_picture_ends(odd, photos):
    make, said = odd
    make(photos / "a" / "odd.png")
    if make is folder:  # of pictures: an empty one
        return
    with pytest.raises(EscrimeError, match=said):
        load("folder", folder=photos, size=8)
    with pytest.warns(UserWarning, match="1 of .* cannot be read and are left out"):
        train, test = load("folder", folder=photos, size=8, on_error="skip")
    assert len(train) + len(test) == 4


def test_links_to_folders_that_hold_the_folder_end(photos):
    (photos / "a" / "up").symlink_to("..")
    (photos / "self").symlink_to("self")
    with pytest.warns(UserWarning, match="links to folders are not followed"):
        assert sum(map(len, load("folder", folder=photos, size=8))) == 4
    for target in (".", "..", "/"):
        (photos / "c").symlink_to(target)
        with pytest.raises(EscrimeError, match="c' is a link to a folder that holds .* remove the link"):
            load("folder", folder=photos, size=8)
        (photos / "c").unlink()
    elsewhere = photos.parent / "elsewhere"
    (photos / "b").rename(elsewhere)
    (photos / "b").symlink_to(elsewhere)  # a class may lie elsewhere
    (photos.parent / "named").symlink_to(photos)  # and the folder be named by a link
    with pytest.warns(UserWarning, match="not followed"):
        assert sum(map(len, load("folder", folder=photos.parent / "named", size=8))) == 4


def test_folders_without_end(photos):
    here = os.getcwd()
    os.chdir(photos / "a")
    for _ in range(120):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    with pytest.warns(UserWarning, match="more than 50 folders deep"):
        assert sum(map(len, load("folder", folder=photos, size=8))) == 4


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights(odd, suffix, tmp_path):
    make, said = odd
    make(tmp_path / f"w.{suffix}")
    with pytest.raises(EscrimeError, match=f"weights file .* ({said}|is a folder)"):
        load_model(f"lenet@{tmp_path / f'w.{suffix}'}")


@pytest.mark.parametrize("name", ["m.onnx", "m.pt2", "m.py:load"])
def test_models(odd, name, tmp_path):
    make, said = odd
    make(tmp_path / name.partition(":")[0])
    with pytest.raises(EscrimeError, match=f"model file .*cannot be read: {said}"):
        load_model(str(tmp_path / name), trust=True)


@pytest.mark.parametrize("source", ["hf", "timm:local-dir"])
def test_models_in_a_folder(odd, source, tmp_path):
    pytest.importorskip("transformers" if source == "hf" else "timm")
    make, said = odd
    (tmp_path / "model").mkdir()
    make(tmp_path / "model" / "config.json")
    with pytest.raises(EscrimeError, match="cannot" if make is folder else said):
        load_model(f"{source}:{tmp_path / 'model'}")


def test_experiments(odd, tmp_path):
    make, said = odd
    make(tmp_path / "x.toml")
    with pytest.raises(EscrimeError, match=f"experiment file .* cannot be read: {said}"):
        read_experiment(str(tmp_path / "x.toml"))


def test_photos(odd, tmp_path):
    make, said = odd
    save_weights(build("lenet", 3, seed=0), tmp_path / "w.safetensors", {"size": 8})
    make(tmp_path / "odd.png")
    with pytest.raises(EscrimeError, match="holds no images" if make is folder else said):
        list(attack_photos([tmp_path / "odd.png"], f"lenet@{tmp_path / 'w.safetensors'}", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_compressed_weights_file_is_not_unpacked(tmp_path):
    import zipfile

    torch.save(build("lenet", 3, seed=0).state_dict(), tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as old, zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    assert load_model(f"lenet@{tmp_path / 'w.pt'}").model
    with pytest.raises(EscrimeError, match="c.pt is compressed"):
        load_model(f"lenet@{tmp_path / 'c.pt'}")


@pytest.mark.parametrize(
    "make",
    [
        lambda w: w.to_sparse() if w.dim() == 2 else w,
        lambda w: w.to(torch.float8_e4m3fn),
        lambda w: w.to(torch.complex64),
        lambda w: w.to("meta"),
    ],
)
def test_tensors_of_another_kind_are_one_sentence(make, tmp_path):
    torch.save({name: make(tensor) for name, tensor in build("lenet", 3, seed=0).state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(EscrimeError, match="as a tensor of another kind|damaged"):
        load_model(f"lenet@{tmp_path / 'w.pt'}")
