"""Which normalization a model was given, and whether another one is clearly better."""

import pytest
import torch
from torch import nn
from torchvision.transforms import Normalize

import escrime
from escrime.data import labels_for, load_to_judge
from escrime.evaluation.checks.batch import BatchEffect
from escrime.evaluation.checks.feeding import identity, measured, normalizing, numbers, replaced, swapped, usual
from escrime.evaluation.checks.inputs import input_findings
from escrime.evaluation.checks.normalization import Scores, _clear, gain
from escrime.evaluation.images import Source
from escrime.models import load_model
from escrime.models.architectures import IMAGENET_MEAN as MEAN
from escrime.models.architectures import IMAGENET_STD as STD

HALF = normalizing([0.5] * 3, [0.5] * 3)
ALONE = BatchEffect(0, 0, "", 0.0, "")


class Behind(nn.Module):
    """A network behind any change of its images."""

    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images):
        return self.network(self.change(images))


def noisy(share: float, count: int = 400):
    """Images, labels and a linear network on pixels in [−1, 1] that is right on about `share` of them."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 4, 4, generator=generator)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(10, 48, generator=generator))
        network[1].bias.copy_(1.5 * torch.randn(10, generator=generator))
        labels = network(HALF(images)).argmax(1)
    other = torch.randint(10, (count,), generator=generator)
    return images, torch.where(torch.rand(count, generator=generator) < share, labels, other), network.eval()


def found(model, images, labels, count=64):
    more = lambda n: (images[:n], labels[:n])  # noqa: E731
    findings = input_findings(model, images[:count], labels[:count], False, more=more)
    return {finding.id: finding for finding in findings}["input-range"]


CONV = nn.Conv2d(3, 4, 3, stride=2, padding=1)
mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
GIVEN = {
    "escrime": (escrime.Normalized(CONV, MEAN, STD), normalizing(MEAN, STD)),
    "torchvision": (nn.Sequential(Normalize(MEAN, STD), CONV), normalizing(MEAN, STD)),
    "in forward": (Behind(CONV, lambda x: (x - mean) / std), normalizing(MEAN, STD)),
    "resized": (Behind(CONV, lambda x: nn.functional.interpolate(x, size=9) * 2 - 1), HALF),
    "flat": (Behind(nn.Linear(192, 2), lambda x: (2 * x - 1).flatten(1)), HALF),
    "BGR": (Behind(CONV, lambda x: x.flip(1) * 2 - 1), swapped(HALF)),
    "none": (CONV, identity(3)),
    "twice": (escrime.Normalized(escrime.Normalized(CONV, 0.5, 0.5), 0.5, 0.5), HALF.after(HALF)),
}


@pytest.mark.parametrize("way", GIVEN)
def test_what_reaches_the_weights_is_measured(way):
    model, known = GIVEN[way]
    assert measured(model.eval(), torch.rand(2, 3, 8, 8)).like(known)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("change", [lambda x: x**2, lambda x: x - x.mean(1, keepdim=True), lambda x: x + torch.rand_like(x)])
def test_what_is_no_normalization_is_not_called_one(change):
    assert measured(Behind(CONV, change).eval(), torch.rand(2, 3, 8, 8)) is None
    assert measured(lambda x: CONV(x), torch.rand(2, 3, 8, 8)) is None


@pytest.mark.parametrize(
    "wrap", [lambda net: escrime.Normalized(net, MEAN, STD), lambda net: nn.Sequential(Normalize(MEAN, STD), net)]
)
def test_a_normalization_that_costs_a_part_of_the_accuracy_is_an_alarm(wrap):
    """The wrong normalization is far above chance, and the right one is no ten points of 64 images better in every draw."""
    images, labels, network = noisy(0.6)
    finding = found(wrap(network).eval(), images, labels)
    assert finding.severity == "alarm" and "fed with mean 0.485,0.456,0.406, std 0.229,0.224,0.225" in finding.message
    right = finding.evidence["right"]
    assert finding.evidence["images"] == 256 and right["as they are"] > 64 and "mean 0.5, std 0.5" in finding.message
    honest = found(escrime.Normalized(network, 0.5, 0.5), images, labels)
    assert honest.severity == "passed" and "fed with mean 0.5, std 0.5" in honest.message


def test_the_remedy_is_the_command_line_and_the_code_and_it_helps():
    images, labels, network = noisy(0.6)
    model = escrime.Normalized(network, MEAN, STD)
    finding = found(model, images, labels)
    assert "--mean 0.5 --std 0.5" in finding.remedy and "mean=0.5, std=0.5" in finding.remedy
    new = replaced(model, normalizing(MEAN, STD).inverse().after(HALF))
    mended = escrime.Normalized(network, new.mean, new.std)
    assert torch.allclose(mended(images), network(HALF(images)), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("count", [3, 20, 64])
def test_no_false_alarm_however_good_the_model_and_however_few_the_images(share, count):
    images, labels, network = noisy(share)
    for model in (escrime.Normalized(network, 0.5, 0.5).eval(), lambda x: network(HALF(x))):
        assert found(model, images, labels, count).severity == "passed"
        gray = images.mean(1, keepdim=True).expand_as(images) * 0.1 + 0.45
        assert found(model, gray, labels, count).severity == "passed"


def test_numbers_are_as_the_command_line_takes_them():
    from escrime.validation import channel_numbers

    for values in ((0.5, 0.5, 0.5), MEAN, (1 / 255,) * 3, (0.0, 0.0, 1e-9)):
        assert channel_numbers("--mean", numbers(values)) == pytest.approx(values[: len(numbers(values).split(","))], abs=1e-4)
    assert set(usual(1)) == {"pixels in [0, 1]", "pixels in [−1, 1]", "pixels in 0–255"}


@pytest.mark.parametrize("seen", [True, False])
def test_images_of_low_contrast_are_told_from_a_wrong_normalization(seen):
    """A network that wants bright on dark is helped by every feed that spreads the values; its normalization is right."""
    images, labels, network = noisy(0.9)
    model = escrime.Normalized(network, 0.5, 0.5).eval()
    asked = model if seen else lambda x: model(x)
    dim = images * 0.3 + 0.35
    finding = found(asked, dim, labels)
    assert finding.severity != "alarm" and (not seen or "low contrast" in finding.message)
    # Full contrast that another normalization hides is another thing, and so are pixels that were scaled twice.
    wrong = escrime.Normalized(network, 0.35, 1 / 0.3).eval()
    assert found(wrong if seen else lambda x: wrong(x), images, labels).severity == "alarm"
    assert found(network if seen else lambda x: network(x), images / 255, labels).severity != "note"


def test_the_published_case_is_found_by_the_likelihood_where_accuracy_alone_leaves_it_open():
    """Ten points of 200 images, as MobileNetV2 loses with ImageNet's mean and std: McNemar's p does not stand up to nine ways
    and two looks, the likelihood of the labels does."""
    generator = torch.Generator().manual_seed(3)
    now = Scores(torch.rand(200, generator=generator).numpy() < 0.3, torch.randn(200, generator=generator).numpy() - 3)
    right = now.right.copy()
    right[(~now.right).nonzero()[0][:24]], right[now.right.nonzero()[0][:8]] = True, False
    other = Scores(right, now.likelihood + 0.5 + torch.randn(200, generator=generator).numpy())
    better = gain(other, now)
    assert 18 * better.accuracy > 0.001 and 18 * better.likelihood < 0.001
    assert _clear(better, 18 * better.accuracy, 18 * better.likelihood)
    assert not _clear(gain(now, other), 18 * better.accuracy, 18 * better.likelihood)


@pytest.mark.parametrize("classes", [1, 10])
def test_what_an_earlier_look_found_is_not_asked_again(classes):
    images, labels, network = noisy(0.6)
    asked = [0]

    def model(x):
        asked[0] += len(x)
        return network(HALF(x))[:, :classes]

    known = input_findings(model, images[:64], labels[:64] % classes, False, blind=True, batch=ALONE)
    first, asked[0] = asked[0], 0
    fed = [finding for finding in known if finding.id == "input-range"]
    again = input_findings(model, images[:64], labels[:64] % classes, False, blind=True, batch=ALONE, fed=fed)
    assert [finding.id for finding in again] == [finding.id for finding in known] and again == known
    assert asked[0] == 64 and first <= 25 * 64
    assert classes == 1 or first > 64


@pytest.mark.shared
@pytest.mark.slow
def test_real_weights_with_the_default_normalization_on_real_photos(imagenette_folder, shared, tmp_path):
    """MobileNetV2 whose weights want 0.5 and 0.5: by default the architecture's, ImageNet's."""
    for folder in (imagenette_folder / "val").iterdir():
        (tmp_path / "val" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:20]:  # the others would only be decoded
            (tmp_path / "val" / folder.name / photo.name).symlink_to(photo)
    images = load_to_judge(str(tmp_path / "val"), 112)
    assert len(images) == 200
    weights = f"mobilenet_v2@{shared / 'models' / 'mobilenet_v2-imagenet1k.safetensors'}"
    severities = []
    for how in ((), (0.5, 0.5)):
        loaded = load_model(weights, *how)
        source = Source(labels_for(images, 1000, loaded.classes, loaded.wnids, weights), torch.device("cpu"))
        few = source.few(64, 0)
        with torch.no_grad():
            every = input_findings(loaded.model, few.pixels, few.labels, False, batch=ALONE, more=source.few_pairs(0))
        finding = {finding.id: finding for finding in every}["input-range"]
        severities.append(finding.severity)
        if not how:
            assert "fed with mean 0.485,0.456,0.406" in finding.message and "--mean 0.5 --std 0.5" in finding.remedy
    assert severities == ["alarm", "passed"]
