"""Imagenette: what is trained on, what is tested on, and that no leak is counted as clean. Small, then the real one."""

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import Imagenette

from escrime import EscrimeError
from escrime.data import IMAGENET_INDICES, WNIDS, load, overlap


@pytest.fixture
def tiny(tmp_path, save_noise):
    """Imagenette in small: per class 3 train images (1 of ImageNet's val) and 2 val images (1 of ImageNet's val)."""
    root = tmp_path / "data" / "imagenette2-160"
    for k, wnid in enumerate(WNIDS):
        for row in range(2):
            save_noise(root / "train" / wnid / f"{wnid}_{row}.JPEG", 10 * k + row)
        save_noise(root / "train" / wnid / f"ILSVRC2012_val_{k:08d}.JPEG", 10 * k + 2)
        save_noise(root / "val" / wnid / f"{wnid}_9.JPEG", 10 * k + 3)
        save_noise(root / "val" / wnid / f"ILSVRC2012_val_{k + 50:08d}.JPEG", 10 * k + 4)
    return root


def go(**options):
    return load("imagenette", size=8, **options)


def check(train, test):
    assert (len(train), len(test)) == (20, 30)
    assert not any("ILSVRC2012_val_" in name for name in train.ids)
    assert {name: int(mask.sum()) for name, mask in test.subsets.items()} == {"val": 20, "leak-free": 20}
    for name, val, clean in zip(test.ids, test.subsets["val"], test.subsets["leak-free"], strict=True):
        assert val == name.startswith("val/") and clean == ("/ILSVRC2012_val_" in name)
    assert (np.bincount(test.labels) == 3).all()
    assert all(name.split("/")[1] == test.wnids[label] for name, label in zip(test.ids, test.labels, strict=True))


def test_imagenets_val_images_leave_train_and_are_tested_on(tiny):
    train, test = go(folder=tiny)
    check(train, test)
    assert test.subsets["val"][:20].all(), "val first, so that test[:n] is the standard set"
    assert train.classes[1] == "English springer" and train.classes[-1] == "parachute"


def test_the_folder_above_will_do(tiny):
    assert go(folder=tiny.parent).test.fingerprint == go(folder=tiny).test.fingerprint


def test_class_indices_are_those_of_imagenet():
    from torchvision.models import MobileNet_V2_Weights

    names = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    from escrime.data.imagenette import CLASSES

    assert tuple(names[index] for index in IMAGENET_INDICES) == CLASSES
    assert tuple(sorted(Imagenette._WNID_TO_CLASS)) == WNIDS
    assert tuple(Imagenette._WNID_TO_CLASS[wnid][0] for wnid in WNIDS) == CLASSES


def test_limit_reaches_both_subsets(tiny):
    part = go(folder=tiny).test.limit(10)
    assert len(part) == 10 and part.subsets["val"].all() and part.subsets["leak-free"].all()
    assert (np.bincount(part.labels) == 1).all()


def test_two_imagenettes_in_one_folder_are_ambiguous(tiny):
    shutil.copytree(tiny, tiny.parent / "imagenette2-320")
    with pytest.raises(EscrimeError, match="imagenette2-160, imagenette2-320; say which one"):
        go(folder=tiny.parent)


def test_other_classes_are_not_imagenette(tiny):
    (tiny / "val" / WNIDS[3]).rename(tiny / "val" / "chainsaw")
    with pytest.raises(EscrimeError, match=f"{WNIDS[3]}.*val' lacks.*dataset 'folder'"):
        go(folder=tiny)


def test_a_folder_of_something_else_says_what_is_missing(pets):
    (pets / "val").rename(pets / "test")
    with pytest.raises(EscrimeError, match="holds neither 'train' and 'val' nor an 'imagenette2…' folder"):
        go(folder=pets)


@pytest.fixture
def archive(tiny, web, monkeypatch):
    """torchvision's address and checksum replaced by a small archive on this machine."""
    folder, address = web
    with tarfile.open(folder / "imagenette2-160.tgz", "w:gz") as tar:
        tar.add(tiny, "imagenette2-160")
    content = (folder / "imagenette2-160.tgz").read_bytes()
    entry = (f"{address}/imagenette2-160.tgz", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(Imagenette, "_ARCHIVES", Imagenette._ARCHIVES | {"160px": entry})
    return folder / "imagenette2-160.tgz"


def test_download_into_the_cache_and_again_without_it(tiny, archive, tmp_path):
    check(*go(download=True, cache=tmp_path / "c"))
    assert [path.name for path in (tmp_path / "c" / "downloads").iterdir()] == ["imagenette2-160"]
    archive.unlink()
    again = go(cache=tmp_path / "c")
    assert again.test.fingerprint == go(folder=tiny).test.fingerprint


def test_download_into_a_folder(archive, tmp_path):
    check(*go(download=True, folder=tmp_path / "mine"))
    archive.unlink()
    check(*go(folder=tmp_path / "mine"))
    check(*go(folder=tmp_path / "mine", download=True))


def test_the_archive_is_large_enough_for_the_size(archive, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("escrime.data.imagenette._download", lambda place, what: asked.append(what) or 1 / 0)
    for size in (160, 161, 320, 321):
        with pytest.raises(ZeroDivisionError):
            load("imagenette", size=size, download=True, cache=tmp_path / "c")
    assert asked == ["160px", "320px", "320px", "full"]


def test_whoever_finishes_a_download_second_uses_the_first_one(tiny, tmp_path):
    from escrime.data.download import download_into

    place = tmp_path / "place"

    def get(staging):
        shutil.copytree(tiny, staging / "imagenette2-160")
        shutil.copytree(tiny, place / "imagenette2-160")  # meanwhile, in another process
        return staging / "imagenette2-160"

    assert download_into(place, "Imagenette", "url", get) == place / "imagenette2-160"
    assert [path.name for path in place.iterdir()] == ["imagenette2-160"]


def gone(path):
    path.unlink()


def changed(path):
    path.write_bytes(path.read_bytes()[:-7])


def not_an_archive(path):
    path.write_bytes(b"hello")


SPOILED = [(gone, "HTTP Error 404"), (changed, "corrupted"), (not_an_archive, "corrupted")]


@pytest.mark.parametrize("spoil, reason", SPOILED)
def test_a_failed_download_is_one_sentence_and_leaves_nothing(archive, tmp_path, spoil, reason):
    spoil(archive)
    with pytest.raises(EscrimeError, match=rf"downloading Imagenette .*127.0.0.1.*{reason}.*--data DIR") as error:
        go(download=True, cache=tmp_path / "c")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "c" / "downloads").iterdir()) == []


def test_no_network_is_one_sentence(tmp_path, monkeypatch):
    entry = ("http://127.0.0.1:9/imagenette2-160.tgz", "0" * 32)  # nothing listens there
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Imagenette, "_ARCHIVES", Imagenette._ARCHIVES | {"160px": entry})
    with pytest.raises(EscrimeError, match=r"downloading Imagenette .*refused.*check the network"):
        go(download=True, cache=tmp_path / "c")


@pytest.mark.slow
@pytest.mark.shared
def test_real_counts(real):
    _, _, (train, test) = real
    assert (len(train), len(test)) == (9_469 - 366, 3_925 + 366)
    assert test.subsets["val"].sum() == 3_925 and test.subsets["leak-free"].sum() == 500
    assert (test.subsets["val"] & test.subsets["leak-free"]).sum() == 134
    assert not any("ILSVRC2012_val_" in name for name in train.ids)
    assert (np.bincount(test.labels[test.subsets["val"]]) > 350).all() and (np.bincount(train.labels) > 800).all()
    assert "val/n01440764/ILSVRC2012_val_00009111.JPEG" in test.ids


@pytest.mark.slow
@pytest.mark.shared
def test_real_pixels_are_those_of_an_independent_reader(real):
    folder, _, (train, test) = real
    for part in (train, test):
        for row in range(0, len(part), len(part) // 20):
            with Image.open(io.BytesIO((folder / part.ids[row]).read_bytes())) as image:
                expected = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
            assert (part.images[row] == expected.transpose(2, 0, 1)).all(), part.ids[row]


@pytest.mark.slow
@pytest.mark.shared
def test_real_gray_images_are_rgb(real):
    folder, _, splits = real
    gray = 0
    for part in splits:
        for row, name in enumerate(part.ids):
            with Image.open(folder / name) as image:
                if image.mode == "L":
                    gray += 1
                    assert (part.images[row, 0] == part.images[row, 1]).all()
                    assert (part.images[row, 0] == part.images[row, 2]).all() and part.images[row].std() > 1
    assert gray == 242


@pytest.mark.slow
@pytest.mark.shared
def test_real_second_load_comes_from_the_cache(real, monkeypatch):
    folder, cache, first = real
    monkeypatch.setattr("escrime.data.files.decode_bytes", lambda *given: pytest.fail("decoded again"))
    second = load("imagenette", folder=folder, size=64, cache=cache)
    for a, b in zip(first, second, strict=True):
        assert a.ids == b.ids and a.fingerprint == b.fingerprint and (a.images == b.images).all()


@pytest.mark.slow
@pytest.mark.shared
def test_real_overlap_and_limit(real):
    _, _, (train, test) = real
    assert overlap(train, test) == ()
    assert len(overlap(test, test.limit(20))) == 20
    part = test.limit(50)
    assert all(mask.sum() == 50 for mask in part.subsets.values())
    assert (np.bincount(part.labels[part.subsets["val"]]) == 5).all()
