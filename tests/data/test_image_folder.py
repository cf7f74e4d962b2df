"""Folders of images: the layouts that work, and one clear sentence for each that does not."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from escrime import EscrimeError
from escrime.commands.shared.folder import about_images
from escrime.data import load, load_to_judge


def go(folder, **options):
    return load("folder", folder=folder, size=8, **options)


def test_train_and_val(pets):
    train, test = go(pets)
    assert train.classes == test.classes == ("cat", "dog")
    assert train.ids == tuple(f"train/{kind}/{row}.png" for kind in ("cat", "dog") for row in range(3))
    assert test.ids == tuple(f"val/{kind}/{row}.png" for kind in ("cat", "dog") for row in range(2))
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.labels.tolist() == [0, 0, 1, 1]
    assert train.images.shape == (6, 3, 8, 8) and train.subsets == {} and train.wnids is None


@pytest.mark.parametrize("name", ["test", "valid", "validation", "Testing", "eval", "dev", "holdout", "test_set"])
def test_other_names_of_the_test_part(pets, name):
    (pets / "val").rename(pets / name)
    assert go(pets).test.ids[0] == load_to_judge(pets, 8).ids[0] == f"{name}/cat/0.png"


def test_training_and_testing_are_parts_and_no_classes(pets):
    """As many collections name them; a model would be trained to tell them apart, without a word."""
    (pets / "train").rename(pets / "Training")
    (pets / "val").rename(pets / "Testing")
    train, test = go(pets)
    assert train.classes == test.classes == load_to_judge(pets, 8).classes == ("cat", "dog")
    assert train.ids[0] == "Training/cat/0.png" and test.ids == load_to_judge(pets, 8).ids


def test_test_comes_before_val_but_only_with_classes(pets, save_noise):
    save_noise(pets / "test" / "unlabeled.png", 50)
    assert go(pets).test.ids[0].startswith("val/")
    for kind in ("cat", "dog"):
        save_noise(pets / "test" / kind / "x.png", 51)
    assert go(pets).test.ids == ("test/cat/x.png", "test/dog/x.png")


def test_one_split_alone_decodes_nothing_of_the_other(pets):
    (pets / "train" / "cat" / "0.png").write_bytes(b"")
    train, test = go(pets, split="test")
    assert len(train) == 0 and train.classes == ("cat", "dog") and len(test) == 4
    with pytest.raises(EscrimeError, match="cat/0.png"):
        go(pets, split="train")


def test_classes_only_are_split_in_proportion(tmp_path, save_noise):
    sizes = {"ant": 10, "bee": 25, "cow": 3}
    for seed, (kind, row) in enumerate((kind, row) for kind, n in sizes.items() for row in range(n)):
        save_noise(tmp_path / "d" / kind / f"{row:02d}.jpg", seed)
    train, test = go(tmp_path / "d")
    assert np.bincount(test.labels).tolist() == [2, 5, 1] and np.bincount(train.labels).tolist() == [8, 20, 2]
    assert not set(train.ids) & set(test.ids) and "ant/00.jpg" in train.ids + test.ids
    assert go(tmp_path / "d").test.ids == test.ids
    assert test.ids != tuple(sorted(train.ids + test.ids))[-8:], "drawn, not simply the last ones"


def test_the_split_does_not_depend_on_the_other_files(tmp_path, save_noise):
    for row in range(50):
        for kind in "ab":
            save_noise(tmp_path / "d" / kind / f"{row:02d}.png", 7)
    before = set(go(tmp_path / "d").test.ids)
    (tmp_path / "d" / "a" / "00.png").unlink()
    after = set(go(tmp_path / "d").test.ids)
    assert len(before ^ after) <= 3


def test_train_alone_is_split(pets):
    shutil.rmtree(pets / "val")
    train, test = go(pets)
    assert len(test) == 2 and len(train) == 4 and all(name.startswith("train/") for name in test.ids)


def test_train_may_be_a_class(tmp_path, save_noise):
    for seed, (kind, row) in enumerate((kind, row) for kind in ("bus", "train") for row in range(4)):
        save_noise(tmp_path / "d" / kind / f"{row}.png", seed)
    assert go(tmp_path / "d").train.classes == ("bus", "train")


def test_nested_folders_capital_extensions_and_hidden_files(pets, save_noise):
    save_noise(pets / "train" / "cat" / "more" / "a.JPG", 90)
    (pets / "train" / "cat" / "._0.png").write_bytes(b"a Mac was here")
    (pets / "train" / "cat" / "notes.txt").write_text("not an image, and not meant as one")
    (pets / ".git").mkdir()
    assert [name for name in go(pets).train.ids if "cat" in name][-1] == "train/cat/more/a.JPG"
    assert len(go(pets).train) == 7


def test_names_that_are_not_ascii(pets, save_noise):
    save_noise(pets / "train" / "cat" / "été 猫.png", 91)
    assert "train/cat/été 猫.png" in go(pets).train.ids


def test_wordnet_folders_carry_their_ids(tmp_path, save_noise):
    for seed, (kind, row) in enumerate((kind, row) for kind in ("n02102040", "n01440764") for row in range(3)):
        save_noise(tmp_path / "d" / kind / f"{row}.png", seed)
    test = go(tmp_path / "d").test
    assert test.wnids == ("n01440764", "n02102040") and test.classes == ("tench", "English springer")
    for seed in range(3):
        save_noise(tmp_path / "d" / "n99999999" / f"{seed}.png", 20 + seed)
    assert go(tmp_path / "d").test.classes == ("n01440764", "n02102040", "n99999999"), "not all are ImageNet's"


def empty_class(root, save_noise):
    (root / "val" / "dog" / "0.png").unlink()
    (root / "val" / "dog" / "1.png").unlink()


def other_classes(root, save_noise):
    (root / "val" / "dog").rename(root / "val" / "doge")


def extra_class(root, save_noise):
    save_noise(root / "val" / "emu" / "0.png", 1)


def no_classes_in_val(root, save_noise):
    shutil.rmtree(root / "val")
    save_noise(root / "val" / "0.png", 1)


def no_train(root, save_noise):
    shutil.rmtree(root / "train")


def flat(root, save_noise):
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")
    save_noise(root / "0.png", 1)


def nothing(root, save_noise):
    shutil.rmtree(root)
    root.mkdir()


def single(root, save_noise):
    shutil.rmtree(root / "val")
    for row in (1, 2):
        (root / "train" / "cat" / f"{row}.png").unlink()


UNSUITABLE = {
    "missing": (lambda root, _: shutil.rmtree(root), "pets' does not exist.*--data"),
    "empty": (nothing, "pets' is empty"),
    "without class folders": (flat, "holds no class folders; expected DIR/train/CLASS"),
    "val without class folders": (no_classes_in_val, "val' holds no class folders"),
    "a class without images": (empty_class, r"val/dog' holds no images \(.jpg"),
    "a class in train only": (other_classes, "train' has the class 'dog', which .*val' lacks.* Did you mean 'doge'"),
    "a class in val only": (extra_class, "val' has the class 'emu', which .*train' lacks"),
    "no train": (no_train, "has 'val' but no 'train'"),
    "a class too small to split": (single, r"class 'cat' has 1 image\(s\), too few to split"),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_unsuitable_folders_are_one_clear_sentence(pets, save_noise, kind):
    spoil, message = UNSUITABLE[kind]
    spoil(pets, save_noise)
    with pytest.raises(EscrimeError, match=message):
        go(pets)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "images.tar").write_bytes(b"x")
    with pytest.raises(EscrimeError, match="images.tar' is a file.*unpack"):
        go(tmp_path / "images.tar")


def test_unreadable_images_are_counted_and_named(pets):
    (pets / "train" / "cat" / "1.png").write_bytes(b"")
    (pets / "val" / "dog" / "0.png").write_bytes(b"<html>")
    for _ in range(2):  # decoded, then from the cache
        with pytest.raises(EscrimeError, match=r"^2 of 10 images in .*'train/cat/1.png'.*empty.*'val/dog/0.png'.*skip"):
            go(pets)


def test_unreadable_images_are_skipped_only_when_asked(pets):
    (pets / "train" / "cat" / "1.png").write_bytes(b"")
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 10 images .*left out: 'train/cat/1.png'"):
            splits = go(pets, on_error="skip")
        assert splits.train.ids == ("train/cat/0.png", "train/cat/2.png", *(f"train/dog/{row}.png" for row in range(3)))
        assert splits.train.labels.tolist() == [0, 0, 1, 1, 1] and len(splits.train.images) == 5
        left_out = splits.train.left_out
        assert list(left_out) == ["train/cat/1.png"] and "empty" in left_out["train/cat/1.png"]
    (pets / "train" / "cat" / "1.png").unlink()
    clean = go(pets, on_error="skip")
    assert clean.train.left_out == {} and clean.train.fingerprint == splits.train.fingerprint
    assert (clean.train.images == splits.train.images).all()


def test_a_class_that_is_wholly_unreadable_is_an_error_even_when_skipping(pets):
    for row in range(2):
        (pets / "val" / "dog" / f"{row}.png").write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(EscrimeError, match="no image of the class 'dog'"):
        go(pets, on_error="skip")


def test_dangling_links_are_unreadable_images(pets):
    (pets / "train" / "cat" / "9.png").symlink_to(pets / "gone.png")
    with pytest.raises(EscrimeError, match="1 of 11 .*'train/cat/9.png' cannot be opened: No such file"):
        go(pets)


def test_a_link_to_a_folder_above_ends(pets):
    (pets / "train" / "cat" / "loop").symlink_to(pets / "train")
    with pytest.warns(UserWarning, match="links to folders are not followed"):
        assert len(go(pets).train) == 6


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may read everything")
def test_without_permission(pets):
    secret = pets / "train" / "cat"
    secret.chmod(0)
    try:
        with pytest.raises(EscrimeError, match="cat' cannot be read .*permissions"):
            go(pets)
    finally:
        secret.chmod(0o755)


def test_a_folder_the_system_refuses_is_named(pets, monkeypatch):
    """The same as above, also where the tests run as root."""
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("escrime.data.listing.os.scandir", refuse)
    with pytest.raises(EscrimeError, match=r"cat' cannot be read \(Permission denied\); check its permissions"):
        go(pets)


def test_an_image_the_system_refuses_is_unreadable_until_it_may_be_read(pets, monkeypatch):
    opened = os.open

    def refuse(path, *how):
        if str(path).endswith("2.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(EscrimeError, match=r"2 of 10 .*cat/2.png' cannot be opened: Permission denied"):
            go(pets)
    assert len(go(pets).train) == 6


def test_the_test_part_without_train_is_the_one_with_classes(pets, save_noise):
    shutil.rmtree(pets / "train")
    save_noise(pets / "test" / "unlabeled.png", 50)
    found = load_to_judge(pets, 8)
    assert found.classes == ("cat", "dog") and len(found) == 4
    with pytest.raises(EscrimeError, match="has 'val' but no 'train'"):
        go(pets)


def test_parts_in_capitals_are_no_classes(pets):
    for name in ("train", "val"):
        (pets / name).rename(pets / name.title())
    train, test = go(pets)
    assert train.classes == ("cat", "dog") and (len(train), len(test)) == (6, 4)
    assert load_to_judge(pets, 8).ids == test.ids
    shutil.rmtree(pets / "Train")
    assert load_to_judge(pets, 8).classes == ("cat", "dog")


@pytest.mark.parametrize("place", ["", "train/cat", "train/cat/0.png", "train/cat/more", "train/cat/phone.heic"])
def test_a_name_that_is_not_utf8_is_refused(place, pets, save_noise):
    bad = (pets / place).with_name(os.fsdecode(b"caf\xe9") + Path(place).suffix)
    try:
        if (pets / place).exists():
            (pets / place).rename(bad)
        elif bad.suffix:
            bad.write_bytes(b"")
        else:
            bad.mkdir()
    except OSError:
        pytest.skip("this file system knows UTF-8 only")
    with pytest.raises(EscrimeError, match=r"caf\\xe9(.png|.heic)?' is not UTF-8.*rename it"):
        go(pets if place else bad)


def test_training_images_may_be_larger_there_too(pets):
    found = load("folder", folder=pets, size=16, train_size=20)
    assert found.train.images.shape[2:] == (20, 20) and found.test.images.shape[2:] == (16, 16)


def test_pictures_that_are_not_looked_at_are_named(pets, tmp_path):
    (pets / "train" / "cat" / "phone.HEIC").write_bytes(b"heic")
    (pets / "val" / "dog" / "more").symlink_to(tmp_path, target_is_directory=True)
    (pets / "val" / "dog" / "notes.txt").write_text("no picture")
    with pytest.warns(UserWarning, match=r"2 beside the images .* are left out \(train/cat/phone.HEIC: .heic is a format"):
        found = load("folder", folder=pets, size=16)
    assert list(found.train.left_out) == ["train/cat/phone.HEIC"] and list(found.test.left_out) == ["val/dog/more"]
    some = found.test.limit(2)
    assert some.left_out == found.test.left_out
    told = about_images(some, found.train)["left_out"]
    assert list(told) == ["val/dog/more", "train/cat/phone.HEIC"] and "not followed" in told["val/dog/more"]
    assert "left_out" not in about_images(load("digits").test)
