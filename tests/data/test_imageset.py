"""What an ImageSet promises: batches in [0, 1], choices per image id, a fingerprint of the content."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from escrime import EscrimeError
from escrime.data import ImageSet, overlap


def make(count=60, classes=3, seed=0, **changes) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    names = tuple(f"class {k}" for k in range(classes))
    given = {"labels": np.arange(count) % classes, "ids": tuple(f"img/{i}" for i in range(count)), "classes": names}
    return ImageSet(name="noise", images=images, **(given | changes))


def shuffled(images: ImageSet, seed=1) -> ImageSet:
    return images.select(np.random.default_rng(seed).permutation(len(images)))


def counts(images: ImageSet) -> list[int]:
    return np.bincount(images.labels, minlength=len(images.classes)).tolist()


def test_batch_divides_by_255_exactly():
    levels = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(levels.reshape(1, 1, 16, 16), (2, 3, 16, 16))
    whole = ImageSet("levels", images, np.array([1, 0]), ("a", "b"), ("x", "y"))
    pixels, labels = whole.batch([1, 0])
    assert pixels.dtype == torch.float32 and labels.dtype == torch.int64
    assert labels.tolist() == [0, 1]
    assert pixels.min() == 0 and pixels.max() == 1
    expected = np.array([np.float32(level / 255) for level in range(256)])
    assert (pixels[0, 0].flatten().numpy() == expected).all()


def test_batch_is_a_copy_of_read_only_images():
    whole = make()
    whole.images.flags.writeable = False
    pixels, labels = whole.batch(slice(0, 5))
    labels += 1
    assert whole.labels[0] == 0
    assert (pixels.numpy() == whole.images[:5].astype(np.float32) / np.float32(255)).all()


@pytest.mark.parametrize("indices", [[3, 1], np.array([3, 1]), torch.tensor([3, 1])])
def test_batch_and_select_agree(indices):
    whole = make()
    assert whole.select(indices).ids == ("img/3", "img/1")
    assert torch.equal(whole.batch(indices)[0], whole.select(indices).batch(slice(None))[0])


@pytest.mark.parametrize("size", [1, 7, 60, 100])
def test_batches_cover_the_set_once_in_order(size):
    whole = make()
    parts = list(whole.batches(size))
    assert sum((whole.ids[rows] for rows, _, _ in parts), ()) == whole.ids
    assert torch.equal(torch.cat([images for _, images, _ in parts]), whole.batch(slice(None))[0])
    assert torch.equal(torch.cat([labels for _, _, labels in parts]), torch.from_numpy(whole.labels))


def test_select_takes_everything_along():
    whole = make(subsets={"odd": np.arange(60) % 2 == 1}, wnids=("n1", "n2", "n3"))
    part = whole.select(np.arange(60) >= 57)
    assert part.ids == ("img/57", "img/58", "img/59") and part.labels.tolist() == [0, 1, 2]
    assert (part.images == whole.images[57:]).all()
    assert part.subsets["odd"].tolist() == [True, False, True] and part.wnids == whole.wnids
    assert len(whole.select([])) == 0
    with pytest.raises(EscrimeError, match="60 of 'noise'"):
        whole.select([60])


@pytest.mark.parametrize("n, expected", [(1, 1), (3, 3), (30, 30), (59, 59), (60, 60), (1000, 60)])
def test_limit_takes_as_many_of_each_class(n, expected):
    part = make().limit(n, seed=0)
    assert len(part) == expected
    assert max(counts(part)) - min(counts(part)) <= 1


def test_limit_gives_what_a_small_class_lacks_to_the_others():
    labels = np.array([0] * 2 + [1] * 58)
    assert counts(make(classes=2, labels=labels).limit(20)) == [2, 18]


def test_limit_does_not_know_the_order_of_the_set():
    whole = make()
    first, second = whole.limit(20, seed=4), shuffled(whole).limit(20, seed=4)
    assert set(first.ids) == set(second.ids)
    assert first.fingerprint == second.fingerprint


def test_limit_depends_on_the_seed_and_grows_by_adding():
    whole = make()
    assert set(whole.limit(20, seed=1).ids) != set(whole.limit(20, seed=2).ids)
    assert set(whole.limit(10, seed=1).ids) < set(whole.limit(11, seed=1).ids) < set(whole.limit(40, seed=1).ids)


def test_limit_changes_little_when_images_are_added():
    small, large = make(count=60), make(count=66)
    kept = set(small.limit(30).ids) & set(large.limit(30).ids)
    assert len(kept) >= 24  # six new images can displace at most six


def test_limit_is_not_simply_the_first_images():
    whole = make(count=600)
    assert max(int(name[4:]) for name in whole.limit(30).ids) > 300


def two_ways(count=300):
    """Every image counts as "val" but the last 60; 100 to 299 count as "leak-free"."""
    rows = np.arange(count)
    return make(count=count, subsets={"val": rows < 240, "leak-free": rows >= 100})


@pytest.mark.parametrize("n", [3, 30, 150, 230, 500])
@pytest.mark.parametrize("share", [True, False])
def test_limit_keeps_to_n_of_every_subset(n, share):
    part = two_ways().limit(n, seed=0, share=share)
    for name, total in (("val", 240), ("leak-free", 200)):
        assert part.subsets[name].sum() == min(n, total)
        sample = part.select(part.subsets[name])
        assert max(counts(sample)) - min(counts(sample)) <= 1
        assert set(sample.ids) <= set(two_ways().select(two_ways().subsets[name]).ids)
    assert (part.subsets["val"] | part.subsets["leak-free"]).all()


def test_sharing_limit_prefers_images_of_several_subsets():
    part = two_ways().limit(30, seed=0)
    assert len(part) == 30 and (part.subsets["val"] & part.subsets["leak-free"]).all()
    assert len(two_ways().limit(170, seed=0)) < 230  # 140 images serve both


def test_unshared_limit_samples_each_subset_as_it_is():
    part = two_ways().limit(120, seed=0, share=False)
    inside = np.array([100 <= int(name[4:]) < 240 for name in part.ids])
    share = inside[part.subsets["val"]].mean()
    assert abs(share - 140 / 240) < 0.15


@pytest.mark.parametrize("n", [0, -5, 2.5, True, "10", None])
def test_limit_refuses_what_is_no_count(n):
    with pytest.raises(EscrimeError, match="limit"):
        make().limit(n)


def test_fingerprint_is_of_the_content_not_the_order():
    whole = make()
    assert whole.fingerprint == make().fingerprint == shuffled(whole).fingerprint
    pixels = whole.images.copy()
    pixels[7, 0, 0, 0] ^= 1
    others = [
        replace(whole, images=pixels, fingerprint=""),
        replace(whole, labels=whole.labels[::-1].copy(), fingerprint=""),
        replace(whole, ids=(*whole.ids[:-1], "img/new"), fingerprint=""),
        replace(whole, classes=("a", "b", "c"), fingerprint=""),
        whole.select(range(59)),
    ]
    assert len({whole.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"ids": ("same",) * 60}, "same id twice"),
        ({"ids": ("a", "b")}, "2 ids"),
        ({"labels": np.arange(60)}, "class 59"),
        ({"labels": np.full(60, -1)}, "class -1"),
        ({"labels": np.zeros(60)}, "float64"),
        ({"labels": np.zeros((60, 1), dtype=int)}, r"shape \(60, 1\); give one class index per image"),
        ({"ids": tuple(range(60))}, r"the id 0, a int; ids are names, so give str\(id\)"),
        ({"wnids": ("n00000001",)}, "1 WordNet ids; give one for each class"),
        ({"subsets": {"val": np.ones(3, dtype=bool)}}, "'val' has 3"),
    ],
)
def test_inconsistent_sets_are_refused(changes, message):
    with pytest.raises(EscrimeError, match=message):
        make(**changes)


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(EscrimeError, match="the class 'b' twice"):
        replace(make(), classes=("a", "b", "b"))


def test_wrong_pixels_are_refused():
    for images in (np.zeros((2, 3, 4, 4), dtype=np.float32), np.zeros((2, 4, 4, 3), dtype=np.uint8)):
        with pytest.raises(EscrimeError, match="uint8"):
            ImageSet("x", images, np.zeros(2, dtype=np.int64), ("a", "b"), ("only",))
    with pytest.raises(EscrimeError, match="are a Tensor; give a numpy array"):
        ImageSet("x", torch.zeros(2, 3, 4, 4, dtype=torch.uint8), np.zeros(2, dtype=np.int64), ("a", "b"), ("only",))


def test_overlap_names_the_test_images_that_train_holds():
    train, test = make(count=30, seed=1), make(count=40, seed=2)
    assert overlap(train, test) == ()
    pixels = test.images.copy()
    pixels[[5, 33]] = train.images[[20, 0]]
    assert overlap(train, replace(test, images=pixels, fingerprint="")) == ("img/5", "img/33")


def test_overlap_refuses_sets_of_different_sizes():
    with pytest.raises(EscrimeError, match="same size"):
        overlap(make(), ImageSet("big", np.zeros((1, 3, 5, 5), np.uint8), np.zeros(1, np.int64), ("a",), ("x",)))
