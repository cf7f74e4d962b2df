"""CIFAR-10 through torchvision, with small files in its own format and a server on this machine."""

import hashlib
import os
import pickle
import tarfile

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from escrime import EscrimeError
from escrime.data import load, read_image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """cifar-10-batches-py with 2 × 20 train and 10 test images, and torchvision's checksums for it."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(count):
        return {"data": draw.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": [k % 10 for k in range(count)]}

    monkeypatch.setattr(CIFAR10, "train_list", [write(f"data_batch_{k}", batch(20)) for k in (1, 2)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch(10))])
    meta = write("batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return folder


def test_pixels_labels_and_names(batches):
    train, test = load("cifar10", folder=batches.parent)
    assert train.images.shape == (40, 3, 32, 32) and test.images.shape == (10, 3, 32, 32)
    stored = pickle.loads((batches / "test_batch").read_bytes())
    assert (test.images.reshape(10, 3072) == stored["data"]).all()  # stored as channels first, like ours
    assert test.labels.tolist() == stored["labels"] and list(test.classes) == CLASSES
    assert test.ids[3] == "cifar10/test/00003" and train.ids[-1] == "cifar10/train/00039"
    assert test.subsets == {} and test.wnids is None


def test_the_batches_folder_itself_will_do(batches):
    assert len(load("cifar10", folder=batches).test) == 10


def test_other_sizes_are_resized_like_files_and_cached(batches, tmp_path, monkeypatch):
    from PIL import Image

    calls = []
    options = {"folder": batches, "size": 20, "cache": tmp_path / "c", "progress": lambda *call: calls.append(call)}
    train, test = load("cifar10", **options)
    assert train.images.shape == (40, 3, 20, 20) and calls[-1] == (50, 50) and len(calls) == 50
    original = load("cifar10", folder=batches).test
    Image.fromarray(original.images[4].transpose(1, 2, 0)).save(tmp_path / "a.png")
    assert (test.images[4] == read_image(tmp_path / "a.png", 20)).all()
    monkeypatch.setattr("escrime.data.cifar10.to_square", lambda *given: pytest.fail("resized again"))
    again = load("cifar10", **options)
    assert (again.train.images == train.images).all() and again.train.fingerprint == train.fingerprint


def test_one_split_alone(batches):
    alone = load("cifar10", folder=batches, split="test", size=20)
    assert len(alone.train) == 0 and alone.train.images.shape[1:] == (3, 20, 20) and len(alone.test) == 10


def test_a_changed_pickle_is_never_opened(batches, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (batches / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(EscrimeError, match="cifar-10-batches-py' are missing or damaged.*--data DIR"):
        load("cifar10", folder=batches)
    assert not (tmp_path / "executed").exists()


def test_a_folder_without_it_is_named(pets):
    with pytest.raises(EscrimeError, match="pets' holds no 'cifar-10-batches-py'"):
        load("cifar10", folder=pets)


def test_download(batches, web, tmp_path, monkeypatch):
    folder, address = web
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(batches, "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5((folder / "cifar-10-python.tar.gz").read_bytes()).hexdigest())
    first = load("cifar10", download=True, cache=tmp_path / "c")
    assert len(first.train) == 40
    (folder / "cifar-10-python.tar.gz").unlink()
    assert load("cifar10", cache=tmp_path / "c").test.fingerprint == first.test.fingerprint
    with pytest.raises(EscrimeError, match="downloading CIFAR-10 .*HTTP Error 404"):
        load("cifar10", download=True, cache=tmp_path / "other")


@pytest.mark.timeout(20)
def test_a_pipe_or_a_device_among_the_files_is_not_read(batches):
    for number, place in ((1, lambda path: os.mkfifo(path)), (2, lambda path: path.symlink_to("/dev/zero"))):
        path = batches / f"data_batch_{number}"
        kept = path.read_bytes()
        path.unlink()
        place(path)
        with pytest.raises(EscrimeError, match="not a regular file"):
            load("cifar10", folder=batches)
        path.unlink()
        path.write_bytes(kept)
