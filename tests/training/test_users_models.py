"""What people bring: networks that are written in other ways than ours, and what cannot be trained, said in one sentence."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import escrime
from escrime.errors import EscrimeError
from escrime.training import TrainSettings, fit, objective

QUICK = TrainSettings(epochs=2, batch_size=8, learning_rate=0.1)


class Views(nn.Module):
    """Flattens as most people write it, which channels-last memory does not allow; `where`: in training or always."""

    def __init__(self, where="always"):
        super().__init__()
        self.layer, self.head, self.where = nn.Conv2d(3, 6, 3), nn.Linear(6 * 36, 4), where

    def forward(self, x):
        x = torch.relu(self.layer(x))
        return self.head(x.flatten(1) if self.where == "training" and not self.training else x.view(x.size(0), -1))


class Standardized(nn.Conv2d):
    def forward(self, x):
        mean = self.weight.view(len(self.weight), -1).mean(1).view(-1, 1, 1, 1)
        return self._conv_forward(x, self.weight - mean, self.bias)


class Masked(nn.Module):
    """Infinity in a buffer is no divergence."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))
        self.head = nn.Linear(192, 4)

    def forward(self, x):
        attention = (x @ x.transpose(2, 3) + self.mask).softmax(-1)
        return self.head((attention @ x).flatten(1))


class OwnTrain(nn.Sequential):
    """Its `train` returns nothing, as people write it who freeze a layer there."""

    def train(self, mode=True):
        super().train(mode)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        Views,
        lambda: Views("training"),
        lambda: nn.Sequential(Standardized(3, 6, 3), nn.Flatten(), nn.Linear(216, 4)),
        Masked,
        lambda: OwnTrain(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(216, 4)),
    ],
    ids=["view", "view in training", "standardized weights", "mask", "own train"],
)
def test_it_trains_is_probed_and_attacked(make, channels_last, image_set):
    settings = TrainSettings(epochs=2, batch_size=8, probe_images=8, channels_last=channels_last)
    model, data = make(), image_set()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = fit(model, data, objective("pgd", eps=0.1, steps=2), settings=settings, evaluate_on=data)
    assert result.history.probe_pgd.notna().all()
    assert all(not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    images, labels = data.batch(slice(None))
    assert escrime.PGD(0.1, steps=2)(model, images, labels).shape == images.shape


class Stale(nn.Module):
    """Puts a new tensor in place of its buffer at every step."""

    def __init__(self, persistent=True):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3), persistent=persistent)
        self.head = nn.Linear(192, 4)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def forward(self, x):
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.detach().mean((0, 2, 3))
        return self.head((x - self.mean.view(1, 3, 1, 1)).flatten(1))


def test_a_buffer_that_is_put_in_anew_is_averaged_too(image_set):
    path = []
    model = Stale()
    settings = TrainSettings(epochs=1, batch_size=8, ema=0.5)
    fit(model, image_set(24), settings=settings, on_batch=lambda *_: path.append(model.mean.clone()))
    expected = torch.zeros(3)
    for step, mean in enumerate(path):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * mean
    assert torch.allclose(model.mean, expected, atol=1e-6) and not torch.allclose(model.mean, path[-1], atol=1e-3)


def test_buffers_outside_the_state_dict_survive_a_kill(image_set, tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    whole = fit(Stale(persistent=False), image_set(), settings=QUICK).model
    with pytest.raises(KeyboardInterrupt):
        fit(Stale(persistent=False), image_set(), settings=QUICK, checkpoint=tmp_path, on_epoch=stop)
    resumed = fit(Stale(persistent=False), image_set(), settings=QUICK, checkpoint=tmp_path)
    assert resumed.resumed == 1 and torch.equal(resumed.model.mean, whole.mean)
    assert torch.equal(resumed.model.head.weight, whole.head.weight)


def mnasnet():
    from torchvision.models import mnasnet0_5

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return mnasnet0_5(num_classes=4)


def test_modules_that_count_their_versions_come_back(image_set, tmp_path):
    settings, aim = TrainSettings(epochs=1, batch_size=8, keep="best", probe_images=4), objective("fgsm-mixed", eps=0.01)
    first = fit(mnasnet(), image_set(16, side=32), aim, settings=settings, checkpoint=tmp_path)
    again = fit(mnasnet(), image_set(16, side=32), aim, settings=settings, checkpoint=tmp_path)
    assert again.resumed == 1
    assert all(torch.equal(one, other) for one, other in zip(first.model.parameters(), again.model.parameters()))


def test_memory_formats_are_given_back_layer_by_layer(image_set):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].to(memory_format=torch.channels_last)
    strides = [parameter.stride() for parameter in model.parameters()]
    fit(model, image_set(), settings=QUICK)
    assert [parameter.stride() for parameter in model.parameters()] == strides


def test_a_callback_that_draws_changes_nothing(network, image_set):
    ends = [
        fit(network(), image_set(), settings=QUICK, on_batch=call).model[0].weight.detach()
        for call in (None, lambda *_: torch.rand(3))
    ]
    assert torch.equal(*ends)


def test_gradients_in_inference_mode(network, image_set):
    """`fit` needs them, whatever mode it is called in."""
    expected = fit(network(), image_set(), settings=QUICK).model[0].weight
    model = network()
    with torch.inference_mode():
        fit(model, image_set(), settings=QUICK)
    assert torch.equal(model[0].weight, expected)


def returns(loss):
    return lambda model, images, labels, context: loss(context.loss(model, images, labels, clean=len(images)))


def made_in_inference_mode():
    with torch.inference_mode():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"calls": 3}


class Small:
    """Something with the attributes of a set of images, its pixels already divided by 255."""

    def __init__(self, data):
        self.images, self.labels, self.ids = np.float32(data.images) / 255, data.labels, data.ids


CASES = {
    "floats": (lambda data: dict(data=Small(data)), "training data is a Small; give an ImageSet"),
    "gray": (lambda data: dict(model=nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())), "fails on the first image"),
    "lazy": (lambda data: dict(model=nn.Sequential(nn.Flatten(), nn.LazyLinear(4))), "call it once on a batch"),
    "state": (lambda data: dict(model=nn.Sequential(nn.Flatten(), WithExtraState(192, 4))), "_extra_state' .* is no tensor"),
    "inference": (lambda data: dict(model=made_in_inference_mode()), "made under torch.inference_mode"),
    "a vector": (lambda data: dict(objective=returns(lambda loss: loss[None])), r"returned a tensor of shape \(1,\)"),
    "a float": (lambda data: dict(objective=returns(lambda loss: float(loss.detach()))), "returned a float"),
    "detached": (lambda data: dict(objective=returns(lambda loss: loss.detach())), "a number without gradient"),
    "one image": (lambda data: dict(settings=TrainSettings(batch_size=1), flat=True), "one image leaves BatchNorm"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_trained_is_said_at_once(case, network, image_set, tmp_path):
    change, words = CASES[case]
    given = dict(model=network(), data=image_set(), objective="clean", settings=QUICK) | change(image_set())
    if given.pop("flat", False):
        given["model"] = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 4))
    epochs = []
    with pytest.raises(EscrimeError, match=words) as error:
        fit(**given, on_epoch=epochs.append)
    assert "\n" not in str(error.value) and epochs == []


@pytest.mark.parametrize(
    "test, words",
    [
        (dict(classes=5), "images of evaluate_on contain class 4, but the model has 4 classes"),
        (dict(side=12), "fails on the first image of the images of evaluate_on"),
    ],
)
def test_unusable_test_images_are_said_before_training(test, words, network, image_set):
    epochs = []
    with pytest.raises(EscrimeError, match=words):
        fit(network(), image_set(), settings=QUICK, evaluate_on=image_set(**test), on_epoch=epochs.append)
    assert epochs == []


def test_a_checkpoint_folder_that_cannot_be_is_said_before_training(network, image_set, tmp_path):
    (tmp_path / "file").write_text("mine")
    steps = []
    with pytest.raises(EscrimeError, match="cannot be written .*another checkpoint folder"):
        fit(network(), image_set(), settings=QUICK, checkpoint=tmp_path / "file", on_batch=lambda *_: steps.append(1))
    assert steps == [] and (tmp_path / "file").read_text() == "mine"


def test_a_second_fit_in_the_same_folder_is_refused(network, image_set, tmp_path):
    def second(done, total):
        fit(network(), image_set(), settings=QUICK, checkpoint=tmp_path, seed=1)

    with pytest.raises(EscrimeError, match="another escrime run is working in .*another checkpoint folder"):
        fit(network(), image_set(), settings=QUICK, checkpoint=tmp_path, on_batch=second)


def test_a_batch_that_does_not_fit_names_the_remedy(network, image_set, tmp_path):
    def greedy(model, images, labels, context):
        if context.draws.epoch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return objective("clean")(model, images, labels, context)

    with pytest.raises(EscrimeError, match="8 images does not fit into memory; set a smaller batch_size .*after epoch 1"):
        fit(network(), image_set(), greedy, settings=QUICK, checkpoint=tmp_path)


def test_keeping_the_best_of_what_is_not_probed_is_said(network, image_set):
    settings = TrainSettings(epochs=1, keep="best", probe_images=8)
    (warning,) = fit(network(), image_set(), "clean", settings=settings).warnings
    assert "no effect" in warning


@pytest.mark.parametrize("settings", [dict(schedule=[1]), dict(milestones=None), dict(optimizer=None)], ids=str)
def test_settings_of_another_type_are_one_sentence(settings):
    with pytest.raises(EscrimeError, match=next(iter(settings))):
        TrainSettings(**settings)


def test_seeds_that_torch_cannot_take_are_refused():
    with pytest.raises(EscrimeError, match="seed = 1000000000000000000000000"):
        escrime.build("lenet", 10, seed=10**24)
