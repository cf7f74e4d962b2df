"""Images and labels as people have them reach every entry in one form, under names that stay the same."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

import escrime
from escrime.data.given import Given, as_image_set, read, read_images
from escrime.errors import EscrimeError

N = 6


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (N, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def images(pixels):
    return pixels.float() / 255


@pytest.fixture
def labels():
    return torch.arange(N) % 3


@pytest.fixture
def pictures(pixels):
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pixels]


class Pairs(Dataset):
    """As torchvision's: a picture and its class by number."""

    classes = ["cat", "dog", "owl"]

    def __init__(self, pictures, labels):
        self.rows = list(zip(pictures, labels.tolist(), strict=True))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


class Table(Pairs):
    """As those of Hugging Face: rows with names, classes behind a feature."""

    classes = None
    features = {"image": None, "label": type("ClassLabel", (), {"names": ["cat", "dog", "owl"]})()}

    def __getitem__(self, row):
        return dict(zip(("image", "label"), self.rows[row], strict=True))

    def __iter__(self):
        return iter([self[row] for row in range(len(self))])


FORMS = {
    "arrays": lambda images, labels, pictures: (images.numpy(), labels.numpy()),
    "double arrays and a list": lambda images, labels, pictures: (images.double().numpy(), labels.tolist()),
    "pictures": lambda images, labels, pictures: (pictures, labels.tolist()),
    "a list of pairs": lambda images, labels, pictures: list(zip(pictures, labels, strict=True)),
    "two pairs": lambda images, labels, pictures: tuple(zip(images[:2], labels[:2].tolist(), strict=True)),
    "tensors in a dataset": lambda images, labels, pictures: TensorDataset(images, labels),
    "pictures in a dataset": lambda images, labels, pictures: Pairs(pictures, labels),
    "a table": lambda images, labels, pictures: Table(pictures, labels),
    "rows of a table": lambda images, labels, pictures: list(Table(pictures, labels)),
    "a loader": lambda images, labels, pictures: DataLoader(TensorDataset(images, labels), batch_size=4),
    "a loader of rows": lambda images, labels, pictures: DataLoader(
        [{"pixel_values": x, "labels": y} for x, y in zip(images, labels, strict=True)], batch_size=4
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_images_under_the_same_names(form, images, labels, pictures):
    found = read(FORMS[form](images, labels, pictures))
    n = len(found)
    assert torch.equal(found.images, images[:n]) and found.images.dtype == torch.float32
    assert torch.equal(found.labels, labels[:n]) and found.ids == tuple(range(n)) and n == (2 if form == "two pairs" else N)


def test_classes_are_named_where_the_data_names_them(images, labels, pictures):
    for data in (Pairs(pictures, labels), Table(pictures, labels), DataLoader(Pairs(pictures, labels), collate_fn=list)):
        if not isinstance(data, DataLoader):
            assert read(data).classes == ("cat", "dog", "owl") == as_image_set(data).classes
    assert read((images, labels)).classes is None and as_image_set((images, labels)).classes == ("0", "1", "2")


def test_where_the_order_may_change_the_pixels_are_the_name(images, labels):
    shuffled = [read(DataLoader(TensorDataset(images, labels), batch_size=4, shuffle=True)) for _ in range(2)]
    batches = BatchSampler(RandomSampler(range(N)), 4, drop_last=False)
    shuffled += [
        read(DataLoader(TensorDataset(images, labels), batch_sampler=order)) for order in (batches, [[5, 0], [1, 4, 2, 3]])
    ]
    shuffled.append(read((image, label) for image, label in zip(images, labels, strict=True)))
    by_name = [dict(zip(found.ids, found.images, strict=True)) for found in shuffled]
    assert all(set(names) == set(by_name[0]) and len(names) == N for names in by_name)
    assert all(torch.equal(names[name], by_name[0][name]) for names in by_name for name in names)
    twice = read(iter([(images[0], 1), (images[0], 1)]))
    assert len(set(twice.ids)) == 2, "equal images are still two"


def test_what_an_attack_makes_does_not_depend_on_the_form(images, labels, pictures):
    model, attack = escrime.build("lenet", classes=3, seed=0), escrime.PGD(0.1, steps=2)
    expected = attack(model, images, labels)
    assert torch.equal(attack(model, pictures, labels.tolist()), expected)
    assert torch.equal(attack(model, Table(pictures, labels)), expected)
    assert torch.equal(attack.sweep(model, images.numpy(), labels.numpy(), [0.1])[0].adversarial, expected)
    found = [
        escrime.evaluate(model, data, attack, checks=False).records.drop(columns="subsets")
        for data in ((images, labels), Pairs(pictures, labels))
    ]
    assert found[0].equals(found[1])


def test_an_image_set_and_what_was_read_stay_what_they_are(images, labels):
    given = read((images, labels))
    made = as_image_set(given)
    assert read(given) is given and read(made) is made and isinstance(given, Given)
    assert torch.equal(made.batch(slice(None))[0], images), "whole levels survive the rounding to 8 bits"


def test_gray_pictures_among_colored_ones_are_colored(pictures):
    gray = pictures[0].convert("L")
    assert read_images([gray, gray]).shape == (2, 1, 8, 8) and read_images([gray, pictures[1]]).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images, labels: (images.permute(0, 2, 3, 1), labels), r"\(N, H, W, C\).* give images.permute\(0, 3, 1, 2\)"),
        (lambda images, labels: (images.numpy().transpose(0, 2, 3, 1), labels), r"images.transpose\(0, 3, 1, 2\)"),
        (lambda images, labels: ((255 * images).byte().numpy(), labels), "uint8 in 0–255; divide by 255"),
        (lambda images, labels: ((255 * images).byte().permute(0, 2, 3, 1), labels), r"permute\(0, 3, 1, 2\) / 255"),
        (lambda images, labels: [(images[0], 0), (images[1, :, :4], 1)], "different shapes, such as .* resize"),
        (lambda images, labels: [(images[0], 0.5), (images[1], 1)], "label of data is '0.5'; labels are class indices"),
        (
            lambda images, labels: [{"photo": images[0], "label": 1}],
            "row of data has 'photo', 'label'; name its picture 'image'",
        ),
        (lambda images, labels: TensorDataset(images), "row of data is a tuple of 1"),
        (lambda images, labels: [], "is a list of 0"),
        (lambda images, labels: iter([]), "holds no image"),
        (lambda images, labels: "photos", "is a str; give an ImageSet"),
        (lambda images, labels: 3, "is a int; give an ImageSet"),
        (lambda images, labels: (["cat.jpg"], [0]), "an image is a str"),
        (lambda images, labels: [(Image.new("F", (4, 4)), 0)], "mode 'F', which is not of 8 bits"),
    ],
)
def test_anything_else_is_one_sentence_with_its_remedy(change, said, images, labels):
    with pytest.raises(EscrimeError, match=said):
        read(change(images, labels))
    if isinstance(change(images, labels), tuple):
        with pytest.raises(EscrimeError, match=said):
            escrime.FGSM(0.1)(lambda x: x.mean((2, 3)), *change(images, labels))


def test_labels_of_numpy_are_classes_too(images):
    assert read([(images[0], np.int64(2)), (images[1], torch.tensor(1))]).labels.tolist() == [2, 1]
