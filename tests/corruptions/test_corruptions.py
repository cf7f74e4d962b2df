"""The nineteen corruptions: what they promise, and the places where the authors' code is followed in its quirks."""

import numpy as np
import pytest
import torch
from PIL import Image

from escrime import EscrimeError
from escrime.corruptions import COMMON, EXTRA, FAMILIES, TABLE, blur, corrupt, digital, fields, filters, keys_of, noise

EVERY = pytest.mark.parametrize("name", [*COMMON, *EXTRA])


def pictures(count=5, channels=3, height=24, width=20, seed=0):
    """Smooth color images in 8 bits."""
    coarse = torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)
    return (large * 255).round() / 255


def test_the_fifteen_and_four_of_the_paper():
    assert len(COMMON) == 15 and len(EXTRA) == 4 and set(COMMON) | set(EXTRA) == set(TABLE)
    assert {entry.family for entry in TABLE.values()} == set(FAMILIES)
    assert all(len(entry.imagenet) == len(entry.cifar) == 5 for entry in TABLE.values())
    assert COMMON[:3] == ("gaussian_noise", "shot_noise", "impulse_noise") and COMMON[-1] == "jpeg_compression"


@EVERY
@pytest.mark.parametrize("shape", [(3, 24, 20), (1, 8, 8), (3, 72, 66)], ids=str)
def test_pictures_of_8_bits_and_more_change_with_severity(name, shape):
    images, channels = pictures(3, *shape), shape[0]
    before, moved = images.clone(), []
    for severity in range(1, 6):
        made = corrupt(images, name, severity)
        assert made.dtype == torch.float32 and made.shape == images.shape and torch.equal(images, before)
        assert torch.equal(made, (made * 255).round() / 255) and made.min() >= 0 and made.max() <= 1
        moved.append(float((made - images).abs().mean()))
    if channels == 3 or name not in ("saturate",):  # gray has no saturation
        assert max(moved) > 0


@EVERY
def test_same_image_same_bits_in_any_batch_and_order(name):
    images, ids = pictures(9, height=40, width=33), [f"photo-{k}" for k in range(9)]
    whole = corrupt(images, name, 3, seed=7, ids=ids)
    for rows in ([0], [8, 2], [5, 4, 3, 2, 1, 0], [7]):
        assert torch.equal(corrupt(images[rows], name, 3, seed=7, ids=[ids[k] for k in rows]), whole[rows])
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(corrupt(strided, name, 3, seed=7, ids=ids), whole)


@EVERY
def test_the_same_at_more_than_one_image_in_the_cache(name, monkeypatch):
    images = pictures(6, height=16, width=16)
    whole = corrupt(images, name, 5)
    monkeypatch.setattr("escrime.corruptions.rendering.AT_ONCE", 2 * images[0].numel())
    assert torch.equal(corrupt(images, name, 5), whole)


DRAWN = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate"}


@EVERY
def test_seed_and_id_decide_what_is_drawn(name):
    image = pictures(1, height=32, width=32).expand(2, -1, -1, -1)
    first = corrupt(image, name, 5, seed=1, ids=["a", "b"])
    other = corrupt(image, name, 5, seed=2, ids=["a", "b"])
    without = name in DRAWN
    assert torch.equal(first[0], first[1]) == without and torch.equal(first[0], other[0]) == without


def test_no_global_generator_is_touched():
    torch.manual_seed(0), np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for name in TABLE:
        corrupt(pictures(1), name, 1)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numpy_before)


def test_small_images_take_the_parameters_for_cifar():
    entry = TABLE["gaussian_noise"]
    assert entry.parameter(5, 64, 32) == 0.10 and entry.parameter(5, 65, 32) == 0.38
    gray = torch.full((1, 3, 32, 32), 0.5)
    assert corrupt(gray, "gaussian_noise", 5).std() == pytest.approx(0.10, rel=0.05)
    large = torch.full((1, 3, 80, 80), 0.5)
    assert corrupt(large, "gaussian_noise", 1).std() == pytest.approx(0.08, rel=0.05)


@pytest.mark.parametrize("photons", [3, 60, 500])
def test_shot_noise_has_poissons_distribution(photons):
    """Every level's table gives each count its probability: the shares of Walker's method, summed up again."""
    from scipy.stats import poisson

    share, other = (table.view(256, photons + 1) for table in noise._aliases(photons))
    for level in (0, 1, 17, 200, 255):
        chance = torch.zeros(photons + 1, dtype=torch.float64).index_add_(0, torch.arange(photons + 1), share[level].double())
        chance.index_add_(0, other[level].long(), 1 - share[level].double())
        wanted = poisson.pmf(np.arange(photons + 1), level / 255 * photons)
        wanted[-1] = poisson.sf(photons - 1, level / 255 * photons)
        assert np.abs(chance.numpy() / (photons + 1) - wanted).max() < 1e-6


def test_shot_noise_keeps_the_mean_and_counts_photons():
    gray = torch.full((1, 3, 80, 80), 102 / 255)
    made = corrupt(gray, "shot_noise", 4)  # 5 photons, 2 of them on average
    assert {round(float(level)) for level in made.unique() * 255} == {0, 51, 102, 153, 204, 255}
    assert made.mean() == pytest.approx(0.4, abs=0.01)


def test_impulse_noise_is_salt_and_pepper():
    gray = torch.full((1, 3, 100, 100), 0.5)
    made = corrupt(gray, "impulse_noise", 5)
    assert (made == 0).float().mean() == pytest.approx(0.135, abs=0.01)
    assert (made == 1).float().mean() == pytest.approx(0.135, abs=0.01)


def visited_one_by_one(image, offset, reach):
    """The authors' double loop, with what its assignment does to a numpy array: a copy."""
    image = image.clone()
    height, width = image.shape[1:]
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            down, right = offset[:, h, w].tolist()
            image[:, h, w] = image[:, h + down, w + right]
    return image


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_finds_every_source_at_once(reach):
    images = torch.arange(2 * 15 * 17.0).view(2, 1, 15, 17)
    offset = torch.randint(-reach, reach, (2, 2, 15, 17), generator=torch.Generator().manual_seed(reach))
    source = blur._sources(offset, reach)
    at_once = images.flatten(2).gather(2, source[:, None]).view_as(images)
    for n in range(2):
        assert torch.equal(at_once[n], visited_one_by_one(images[n], offset[n], reach))


def test_gaussian_is_scipys():
    from scipy.ndimage import gaussian_filter

    images = torch.rand(1, 1, 30, 21)
    for sigma, mode in ((0.7, "nearest"), (6.0, "nearest"), (40.0, "reflect")):
        theirs = gaussian_filter(images[0, 0].double().numpy(), sigma, mode=mode, truncate=3)
        assert np.allclose(filters.gaussian(images, sigma, mode, 3)[0, 0].numpy(), theirs, atol=1e-5)


def test_a_lens_out_of_focus_draws_a_disk():
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1
    drawn = filters.correlate(image, filters.disk(6, 0.5))
    assert drawn.sum() == pytest.approx(1, abs=1e-4) and drawn[0, 20, 17] == pytest.approx(float(drawn.max()), rel=1e-3)
    assert drawn[0, 20, 28].abs() < 1e-6


def test_motion_goes_along_its_line_and_keeps_the_light():
    image = torch.zeros(1, 31, 31)
    image[0, 15, 15] = 1
    level = filters.moved(image, 7, 3.0, 0.0)[0]
    assert level.sum() == pytest.approx(1, abs=1e-5)
    assert level.nonzero()[:, 0].unique().tolist() == [15] and level.nonzero()[:, 1].tolist() == list(range(9, 16))
    assert level[15, 15] == level.max()
    assert filters.moved(image, 7, 3.0, 90.0)[0].nonzero()[:, 1].unique().tolist() == [15]


def test_brightness_and_saturation_are_those_of_hsv():
    import colorsys

    images = pictures(1, height=6, width=6)
    images[0, :, 0, 0] = 0.0
    images[0, :, 0, 1] = 0.6  # gray, whose hue counts as red
    for name, change in (
        ("brightness", lambda h, s, v: (h, s, min(v + 0.3, 1))),
        ("saturate", lambda h, s, v: (h, min(2.5 * s + 0.2, 1), v)),
    ):
        made = corrupt(images, name, 5)[0].flatten(1).T.tolist()
        for before, after in zip(images[0].flatten(1).T.tolist(), made, strict=True):
            wanted = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*before)))
            assert max(abs(a - b) for a, b in zip(wanted, after, strict=True)) <= 1.01 / 255


def test_contrast_keeps_the_mean():
    images = pictures(2)
    made = corrupt(images, "contrast", 5)
    assert torch.allclose(made.mean((2, 3)), images.mean((2, 3)), atol=1 / 255)
    assert torch.allclose(made.std((2, 3)), images.std((2, 3)) * 0.15, atol=1 / 255)


def test_jpeg_is_a_real_file(tmp_path):
    image = pictures(1, height=80, width=80)
    array = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "a.jpg", quality=7)
    made = corrupt(image, "jpeg_compression", 5)[0] * 255
    assert np.array_equal(made.round().byte().permute(1, 2, 0).numpy(), np.array(Image.open(tmp_path / "a.jpg")))


def test_the_affine_map_brings_the_moved_points_back():
    moves = np.array([[[3.0, -1.0], [0.5, 2.0], [-2.0, 1.0]]])
    affine = digital._affine_maps(moves, 30, 40)[0]
    before = np.array([20, 15]) + 10 * np.array([[1, 1], [1, -1], [-1, -1]])
    for point, move in zip(before, moves[0], strict=True):
        assert np.allclose(affine @ [*(point + move), 1], point)


def test_plasma_spans_0_to_1_and_is_rougher_with_less_decay():
    smooth, rough = (fields.plasma(keys_of("fog", 0, [1, 2]), 64, 64, decay) for decay in (3.0, 1.4))
    assert smooth.flatten(1).amin(1).tolist() == [0, 0] and smooth.flatten(1).amax(1).tolist() == [1, 1]
    assert rough.diff(dim=2).abs().mean() > 2 * smooth.diff(dim=2).abs().mean()


def test_frost_takes_a_folder_of_photographs(tmp_path):
    images = torch.zeros(3, 3, 80, 90)
    Image.new("RGB", (60, 50), (100, 150, 200)).save(tmp_path / "one.png")  # smaller than the images
    made = corrupt(images, "frost", 5, frost=tmp_path) * 255
    assert made.amax((0, 2, 3)).round().tolist() == made.amin((0, 2, 3)).round().tolist() == [75, 112, 150]
    assert not torch.equal(corrupt(images, "frost", 5) * 255, made)
    with pytest.raises(EscrimeError, match="holds no .png"):
        corrupt(images, "frost", 5, frost=tmp_path / "none")
    with pytest.raises(EscrimeError, match="a folder for the corruption frost, not for fog"):
        corrupt(images, "fog", 5, frost=tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: corrupt(x, "fogg", 1), "corruption 'fogg' is unknown.*'fog'"),
        (lambda x: corrupt(x, "fog", 6), "severity = 6 is beyond the five"),
        (lambda x: corrupt(x, "fog", 0), "severity = 0"),
        (lambda x: corrupt(x, "fog", 2.5), "severity = 2.5"),
        (lambda x: corrupt(x[:, :2], "fog", 1), "2 channels"),
        (lambda x: corrupt(x * 255, "fog", 1), "images"),
        (lambda x: corrupt(x, "fog", 1, ids=["a"]), "ids name 1 images, but 5"),
        (lambda x: corrupt(x, "fog", 1, seed=-1), "seed"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(EscrimeError, match=message):
        call(pictures())


def test_no_images_give_none():
    assert corrupt(torch.zeros(0, 3, 8, 8), "fog", 1).shape == (0, 3, 8, 8)
