"""Draws and augmentation per image: what an image becomes depends on the image, the seed and the epoch only."""

import numpy as np
import pytest
import torch

from escrime.data import ImageSet
from escrime.errors import EscrimeError
from escrime.training import TrainSettings
from escrime.training.augment import ASPECTS, augment, crop, parse_augment, resized_crop
from escrime.training.loader import Loader
from escrime.training.noise import EpochNoise, image_keys

IDS = [f"image/{row}" for row in range(400)]


def draws(seed=0, epoch=0, ids=IDS):
    return EpochNoise(image_keys(seed, ids), epoch)


def everything(images, rows, names="flip+crop+resized-crop", **key):
    source = draws(**key)
    settings = TrainSettings(augment=names, crop_padding=0.25)
    return augment(images[rows], lambda purpose: source.fractions(purpose, rows), settings)


def test_independent_of_the_batch():
    images = torch.randint(0, 256, (400, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = everything(images, np.arange(400))
    rows = np.array([7, 3, 399, 0, 3])
    assert torch.equal(everything(images, rows), whole[rows])
    assert whole.dtype == torch.uint8 and whole.shape == images.shape
    other_order = [IDS[row] for row in reversed(range(400))]
    flip = TrainSettings(augment="flip")
    flipped = augment(images, lambda p: draws(ids=other_order).fractions(p, np.arange(400)[::-1]), flip)
    assert torch.equal(flipped, augment(images, lambda p: draws().fractions(p, np.arange(400)), flip))
    for key in ({"seed": 1}, {"epoch": 1}):
        assert (everything(images, np.arange(400), **key) != whole).flatten(1).any(dim=1).float().mean() > 0.8


def test_flip_mirrors_about_half():
    images = torch.arange(400 * 3 * 2 * 4).view(400, 3, 2, 4)
    out = augment(images, lambda purpose: draws().fractions(purpose, np.arange(400)), TrainSettings(augment="flip"))
    mirrored = (out == images.flip(3)).flatten(1).all(dim=1)
    kept = (out == images).flatten(1).all(dim=1)
    assert (mirrored ^ kept).all() and 150 < mirrored.sum() < 250


def test_crop_is_a_window_of_the_reflected_image():
    images = torch.randint(0, 256, (50, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    rng = np.random.default_rng(0)
    down, across = rng.random(50), rng.random(50)
    out = crop(images, down, across, 0.25)
    for n in range(50):
        tall, wide = round(0.25 * 6), round(0.25 * 8)
        padded = np.pad(images[n].numpy(), ((0, 0), (tall, tall), (wide, wide)), mode="reflect")
        top, left = int(down[n] * (2 * tall + 1)), int(across[n] * (2 * wide + 1))
        assert np.array_equal(out[n].numpy(), padded[:, top : top + 6, left : left + 8])
    assert torch.equal(crop(images, down, across, 0.0), images)
    assert crop(images[:, :, :1], np.zeros(50), across, 0.5).shape == (50, 3, 1, 8)


def test_a_resized_crop_shows_the_window_it_drew():
    """On ramps of brightness, what is shown says where the window lay."""
    side, count = 64, 200
    ramp = torch.arange(side).mul(4).add(2).to(torch.uint8)
    images = torch.stack(
        [ramp.expand(side, side), ramp[:, None].expand(side, side), torch.zeros(side, side, dtype=torch.uint8)]
    )
    rng = np.random.default_rng(0)
    parts = [rng.random(count) for _ in range(4)]
    out = resized_crop(images.expand(count, -1, -1, -1), *parts, 0.35, images.shape[-1]).float()
    assert out.shape == (count, 3, side, side) and (out[:, 2] == 0).all()
    lines = out[:, 0, side // 2], out[:, 1, :, side // 2]
    spans = [(line[:, -9] - line[:, 8]) / 4 / (side - 17) for line in lines]  # of the image's side, away from the borders
    starts = [line[:, 8] / 256 - span * 8.5 / side for line, span in zip(lines, spans)]
    width, height = spans
    area, aspect = width * height, width / height
    assert ((area > 0.28) & (area < 1.03)).all() and area.min() < 0.45 and area.max() > 0.85
    assert (aspect > ASPECTS[0] - 0.05).all() and (aspect < ASPECTS[1] + 0.05).all()
    for start, span in zip(starts, spans):
        assert (start > -0.03).all() and (start + span < 1.03).all()  # a window lies inside the image
    whole = resized_crop(images[None], np.ones(1), np.full(1, 0.5), np.zeros(1), np.zeros(1), 0.35, images.shape[-1])
    assert torch.equal(whole[0], images), "all of the area at aspect 1 is the image itself"


def test_crops_of_another_size():
    """Larger images are cut to `crop_size`; whole ones are resized so where no crop is drawn."""
    ramp = torch.arange(64).mul(4).add(2).to(torch.uint8).expand(5, 3, 64, 64)
    fractions = np.ones(5), np.full(5, 0.5), np.zeros(5), np.zeros(5)
    half = resized_crop(ramp, *fractions, 0.35, 32)
    assert half.shape == (5, 3, 32, 32) and (half[0, 0, 0].int() - (torch.arange(32) * 8 + 4)).abs().max() <= 1
    settings = TrainSettings(augment="flip+resized-crop", crop_size=32)
    assert augment(ramp, lambda purpose: draws().fractions(purpose, np.arange(5)), settings).shape == (5, 3, 32, 32)
    data = ImageSet("ramps", ramp.numpy().copy(), np.zeros(5, int), tuple("abcde"), ("ramp",))
    whole, labels = Loader(data, torch.device("cpu"), side=32).images(np.arange(5))
    assert whole.shape == (5, 3, 32, 32) and (whole[0, 0, 0, 2:-2] * 255 - half[0, 0, 0, 2:-2]).abs().max() <= 1
    with pytest.raises(EscrimeError, match='crop_size = 32, .* "resized-crop"; set augment'):
        TrainSettings(augment="flip", crop_size=32)


def test_draws_are_uniform_and_unrelated():
    first, second = (draws().fractions(purpose, np.arange(400)) for purpose in ("a", "b"))
    assert 0 <= first.min() and first.max() < 1 and abs(first.mean() - 0.5) < 0.05
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15
    assert abs(np.corrcoef(first, draws(epoch=1).fractions("a", np.arange(400)))[0, 1]) < 0.15


def test_noise_per_image_in_any_batch_and_memory_format():
    like = torch.empty(5, 3, 8, 8)
    noise = draws().noise("start", np.arange(5), like)
    rows = np.array([4, 0])
    last = like[:2].contiguous(memory_format=torch.channels_last)
    again = draws().noise("start", rows, last)
    assert torch.equal(again, noise[rows]) and again.is_contiguous(memory_format=torch.channels_last)
    assert noise.min() >= -1 and noise.max() <= 1 and abs(noise.mean()) < 0.1 and abs(noise.std() - 3**-0.5) < 0.05
    assert not torch.equal(noise, draws(epoch=1).noise("start", np.arange(5), like))
    assert not torch.equal(noise, draws(seed=1).noise("start", np.arange(5), like))
    assert not torch.equal(noise[0], noise[1])


def test_names_are_checked():
    assert parse_augment("none") == () and parse_augment("flip + crop + resized-crop") == ("resized-crop", "crop", "flip")
    with pytest.raises(EscrimeError, match="Did you mean 'flip'"):
        parse_augment("flpi")
