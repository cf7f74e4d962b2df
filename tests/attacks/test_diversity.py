"""Diverse inputs (DI-FGSM) by hand: sizes, places, how often, and that what counts is the image itself."""

import pytest
import torch
from torch.nn import functional

from escrime import PGD, EscrimeError
from escrime.attacks.core.diversity import diverse
from escrime.attacks.pgd import DIVERSE
from escrime.randomness import as_keys, derive, fractions


def keys(count):
    return as_keys([("diversity", n) for n in range(count)])


@pytest.mark.parametrize("height, width", [(20, 20), (30, 12)])
def test_a_diverse_input_is_a_bilinear_copy_of_random_size_on_black(height, width):
    images = torch.rand(40, 3, height, width, generator=torch.Generator().manual_seed(0)) + 0.1
    sizes, places = set(), set()
    for image, found, (_, size, top, left) in zip(images, diverse(images, keys(40), 1.0), fractions(keys(40), 4).tolist()):
        shape = [int(0.9 * side) + int(size * (side - int(0.9 * side))) for side in (height, width)]
        small = functional.interpolate(image[None], size=shape, mode="bilinear", align_corners=False)
        above, before = int(top * (height - shape[0] + 1)), int(left * (width - shape[1] + 1))
        around = (before, width - shape[1] - before, above, height - shape[0] - above)
        assert torch.allclose(found, functional.pad(small, around)[0], atol=1e-6)
        sizes.add(tuple(shape))
        places.add((above, before))
    assert len(sizes) >= 2 and len(places) >= 4 and (height, width) not in sizes


def test_it_happens_as_often_as_asked_and_else_nothing_does():
    images = torch.rand(400, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    same = lambda p: (diverse(images, keys(400), p) == images).flatten(1).all(1).float().mean()  # noqa: E731
    assert same(0.0) == 1 and same(1.0) == 0 and same(0.3) == pytest.approx(0.7, abs=0.08)


def test_an_image_is_changed_alike_whatever_others_there_are():
    images = torch.rand(9, 3, 21, 21, generator=torch.Generator().manual_seed(0))
    whole, one = diverse(images, keys(9), 0.7), diverse(images[4:5], keys(9)[4:5], 0.7)
    assert torch.equal(whole[4:5], one)
    assert not torch.equal(whole, diverse(images, derive(keys(9), 1), 0.7)), "another step draws anew"


def test_the_gradient_of_a_step_is_that_at_the_diverse_input(linear, images, labels):
    """One step from the image: its signs are those of the gradient of a linear model behind T."""
    attack = PGD(0.02, steps=1, random_start=False, diversity=1.0, early_stop=False)
    moved = attack(linear, images, labels)
    drawn = as_keys([(0, row, "PGD", 0.02, 0) for row in range(9)])
    x = images.clone().requires_grad_()
    step = derive(drawn, 0)  # of the first query
    copies = diverse(x, derive(derive(step, DIVERSE), 0), 1.0)  # the only draw of each
    (gradient,) = torch.autograd.grad(functional.cross_entropy(linear(copies), labels, reduction="sum"), x)
    wanted = (images + 0.02 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(moved, wanted, atol=1e-6)


def test_what_counts_is_the_image_itself_and_its_pass_is_counted(linear, images, labels):
    """A model that is right about every shrunk copy and wrong about the image: the start is the success that is kept."""

    class Looks(torch.nn.Module):
        def forward(self, x):
            whole = (x[:, 0, 0].sum(1) + x[:, 0, -1].sum(1)) > 0.5  # a copy on black lacks one of its edges at least
            right = torch.nn.functional.one_hot(labels[:1].expand(len(x)), 4).float()
            return torch.where(whole[:, None], 1 - right, right) + 0 * x.flatten(1).sum(1, keepdim=True)

    bright = torch.full((1, 3, 12, 12), 0.5)
    found = PGD(0.1, steps=3, diversity=1.0).sweep(Looks(), bright, labels[:1], [0.1])[0]
    assert found.success.all()
    plain, diversified = (
        PGD(0.02, steps=4, early_stop=False, diversity=p).sweep(linear, images, labels, [0.02])[0] for p in (0.0, 0.5)
    )
    assert (diversified.forwards - plain.forwards >= 5).all(), "one more at each of 5 queries"
    assert torch.equal(diversified.backwards, plain.backwards)


@pytest.mark.parametrize("value", [-0.1, 1.5, "often"])
def test_another_probability_is_refused(value):
    with pytest.raises(EscrimeError, match="diversity"):
        PGD(0.1, diversity=value)
