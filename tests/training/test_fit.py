"""The loop: known answers for a step, what it leaves behind, what it refuses."""

import random
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from escrime.errors import EscrimeError
from escrime.models import build
from escrime.training import FitResult, TrainSettings, fit, objective
from escrime.training.loader import Loader
from escrime.training.overfitting import probe

FAST = TrainSettings(epochs=2, batch_size=8)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_same_seed_same_weights_other_seed_others(network, image_set):
    torch.manual_seed(11)
    first = weights(fit(network(), image_set(), "n-fgsm", settings=FAST, seed=1).model)
    torch.manual_seed(12)  # dropout must not depend on it
    assert same(first, weights(fit(network(), image_set(), "n-fgsm", settings=FAST, seed=1).model))
    assert not same(first, weights(fit(network(), image_set(), "n-fgsm", settings=FAST, seed=2).model))


def test_convolutions_of_the_same_tensor_run_together(image_set, monkeypatch):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(torch.cat([self.one(x), torch.relu_(self.other(x))], 1).mean((2, 3)))

    found, calls, real = {}, [], nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda self, *given: calls.append(1) or real(self, *given))
    for channels_last in (False, True):
        torch.manual_seed(0)
        calls.clear()
        settings = TrainSettings(epochs=3, batch_size=22, channels_last=channels_last)
        model = fit(Branches(), image_set(), objective("fgsm-mixed", eps=0.1), settings=settings).model
        # One look at the memory format, one at the classes; then crafting and training.
        assert len(calls) == (2 + 2 + 3 * 2 if channels_last else 2 + 3 * 4)
        assert not any("forward" in vars(layer) for layer in model.modules())
        found[channels_last] = weights(model)
    for name, tensor in found[True].items():
        assert torch.allclose(tensor, found[False][name], atol=1e-5)


def test_nothing_global_changes(network, image_set):
    model = network()
    strides = [parameter.stride() for parameter in model.parameters()]
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with torch.no_grad():
        result = fit(model, image_set(), objective("fgsm-rs", eps=0.1), settings=FAST, evaluate_on=image_set(seed=1))
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]
    assert result.model is model and not any(module.training for module in model.modules())
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_every_image_once_per_epoch_in_another_order(network, image_set):
    epochs, done = [], []

    def spy(model, images, labels, context):
        epochs.append((context.draws.epoch, context.rows))
        return objective("clean")(model, images, labels, context)

    settings = TrainSettings(epochs=2, batch_size=7)
    fit(network(), image_set(22), spy, settings=settings, on_batch=lambda *counts: done.append(counts))
    assert [len(rows) for _, rows in epochs] == [6, 6, 5, 5] * 2  # not 7, 7, 7, 1
    orders = [np.concatenate([rows for epoch, rows in epochs if epoch == wanted]) for wanted in (0, 1)]
    assert all(sorted(order) == list(range(22)) for order in orders) and not np.array_equal(*orders)
    assert done == [(step, 8) for step in range(1, 9)]


@pytest.mark.parametrize(
    "values", [{}, {"weight_decay": 0.1}, {"clip_gradient": 0.2}, {"optimizer": "adamw", "weight_decay": 0.2}]
)
def test_one_step_is_the_textbooks(linear, image_set, values):
    data, model = image_set(6, side=4), linear(classes=4, dtype=torch.float32)
    start = model.weight.detach().clone()
    images, labels = data.batch(slice(None))
    probabilities = (images.flatten(1) @ start.T).softmax(dim=1)
    gradient = (probabilities - nn.functional.one_hot(labels, 4)).T @ images.flatten(1) / 6
    decay = values.get("weight_decay", 0)
    if values.get("optimizer") == "adamw":
        expected = start * (1 - 0.5 * decay) - 0.5 * gradient / (gradient.abs() + 1e-8)
    else:
        clipped = gradient * min(1, values.get("clip_gradient", np.inf) / gradient.norm())
        expected = start - 0.5 * (clipped + decay * start)
    fit(model, data, settings=TrainSettings(epochs=1, batch_size=6, learning_rate=0.5, **values))
    assert torch.allclose(model.weight, expected, atol=2e-5) and not torch.allclose(start, expected, atol=1e-3)


@pytest.mark.parametrize("batch", [256, 7])
def test_history(linear, image_set, monkeypatch, batch):
    monkeypatch.setattr(probe, "network_batch", lambda images: batch)  # of the images that are looked at after an epoch
    data = image_set(20, side=4)
    model, records = linear(classes=4, dtype=torch.float32), []
    images, labels = data.batch(slice(None))
    clean = (model.eval()(images).argmax(dim=1) == labels).float().mean().item()
    loss = nn.functional.cross_entropy(model(images), labels).item()
    x = images.clone().requires_grad_()
    gradient = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels), x)[0]
    fooled = (model((images + 0.01 * gradient.sign()).clamp(0, 1)).argmax(dim=1) == labels).float().mean().item()
    assert 0 < fooled < clean
    still = TrainSettings(epochs=2, batch_size=6, learning_rate=1e-30, schedule="cosine")
    mixed = objective("fgsm-mixed", eps=0.01)
    result = fit(model, data, mixed, settings=still, on_epoch=records.append, evaluate_on=data)
    assert isinstance(result, FitResult) and result.resumed == 0 and result.checkpoint is None
    table = result.history
    assert table.epoch.tolist() == [1, 2] and pd.DataFrame(records).equals(table)
    for row in table.itertuples():
        assert row.accuracy == row.test_accuracy == pytest.approx(clean)
        assert row.adversarial_accuracy == row.test_fgsm_accuracy == pytest.approx(fooled)
        assert row.loss > loss and row.test_eps == 0.01
        assert row.images_per_second == pytest.approx(20 / row.seconds)
    assert 0 < table.learning_rate[1] < table.learning_rate[0] < 1e-30
    plain = fit(model, data, settings=still)
    assert plain.history.loss.tolist() == pytest.approx([loss, loss], rel=1e-5)
    assert "test_accuracy" not in plain.history and plain.history.adversarial_accuracy.isna().all()


def test_moving_average(network, image_set):
    model, path = network(), []
    data, settings = image_set(24), TrainSettings(epochs=2, batch_size=8, learning_rate=0.1, ema=0.5)
    expected = model[0].weight.detach().clone()
    tests = []
    fit(
        model, data, settings=settings, evaluate_on=image_set(30, seed=1), on_epoch=tests.append,
        on_batch=lambda *_: path.append(model[0].weight.detach().clone()),
    )  # fmt: skip
    for step, weight in enumerate(path):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(model[0].weight, expected, atol=1e-6)
    assert not torch.allclose(model[0].weight, path[-1], atol=1e-4)
    images, labels = image_set(30, seed=1).batch(slice(None))
    accuracy = (model(images).argmax(dim=1) == labels).float().mean().item()
    assert tests[-1]["test_accuracy"] == pytest.approx(accuracy)  # what is evaluated is what is returned


@pytest.mark.parametrize("ema", [None, 0.9])
def test_looking_at_the_model_does_not_change_it(network, image_set, ema):
    settings = TrainSettings(epochs=3, batch_size=8, learning_rate=0.1, ema=ema)
    plain = weights(fit(network(), image_set(), settings=settings).model)
    look = dict(evaluate_on=image_set(9, seed=1), on_epoch=lambda record: torch.rand(3))
    watched = fit(network(), image_set(), settings=settings, **look)
    assert same(plain, weights(watched.model))


def test_frozen_batchnorm_and_frozen_parameters_stay(network, image_set):
    model = network()
    model[4].requires_grad_(False)
    before = weights(model)
    fit(model, image_set(), settings=TrainSettings(epochs=1, batch_size=8, freeze_batchnorm=True))
    for name, tensor in model.state_dict().items():
        moved = not torch.equal(tensor, before[name])
        assert moved == ("running" not in name and "tracked" not in name and not name.startswith("4."))


def test_batchnorm_is_updated_once_per_step(network, image_set):
    model = network()
    fit(model, image_set(22), objective("pgd", steps=3), settings=TrainSettings(epochs=3, batch_size=8))
    assert model[1].num_batches_tracked == 9


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_are_exactly_those_of_the_set(image_set, channels_last):
    data, rows = image_set(), np.array([5, 0, 5, 21])
    loader = Loader(data, torch.device("cpu"))
    loader.layout = torch.channels_last if channels_last else torch.contiguous_format
    pixels, labels = loader.pixels(rows)
    images = loader.floats(pixels)
    assert torch.equal(images, data.batch(rows)[0]) and torch.equal(labels, data.batch(rows)[1])
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_augmented_training_differs(network, image_set):
    results = [
        weights(fit(network(), image_set(), settings=TrainSettings(epochs=1, augment=augment)).model)
        for augment in ("none", "flip", "flip+crop")
    ]
    assert not same(results[0], results[1]) and not same(results[1], results[2])


def test_bfloat16_trains(network, image_set):
    model, types = network(), set()
    handle = model[0].register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    settings = TrainSettings(epochs=1, batch_size=8, precision="bfloat16")
    result = fit(model, image_set(), objective("trades", steps=2), settings=settings)
    handle.remove()
    assert torch.bfloat16 in types and np.isfinite(result.history.loss[0])
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_googlenets_auxiliary_heads_learn(image_set):
    model = build("googlenet", 4, seed=0)
    before = weights(model)
    data = image_set(4, side=32)
    fit(model, data, objective("fgsm-mixed"), settings=TrainSettings(epochs=1, batch_size=4))
    for head in ("network.fc", "network.aux1.fc2", "network.aux2.fc2"):
        assert not torch.equal(model.state_dict()[f"{head}.weight"], before[f"{head}.weight"])
    assert model(data.batch(slice(None))[0]).shape == (4, 4)


def poisoned(at, how):
    """The clean objective, but step `at` (from 1) goes wrong: in the loss, or only in its gradient."""
    calls = []

    def objective_(model, images, labels, context):
        calls.append(1)
        loss = objective("clean")(model, images, labels, context)
        if len(calls) != at:
            return loss
        nothing = (next(model.parameters()) * 0).sum()
        return loss * float("nan") if how == "loss" else loss + nothing.sqrt()  # d√u/du is infinite at 0

    return objective_


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_divergence_stops_with_what_one_needs_to_know(network, image_set, tmp_path, how):
    settings = TrainSettings(epochs=3, batch_size=8, learning_rate=0.03)  # 3 steps per epoch; 6 is the second's last
    with pytest.raises(EscrimeError) as error:
        fit(network(), image_set(22), poisoned(6, how), settings=settings, checkpoint=tmp_path)
    text = str(error.value)
    assert "step 3 of epoch 2" in text and "0.03" in text and f"{tmp_path / 'last.safetensors'} after epoch 1" in text
    again = fit(network(), image_set(22), poisoned(0, how), settings=settings, checkpoint=tmp_path)
    assert again.resumed == 1 and all(tensor.isfinite().all() for tensor in again.model.state_dict().values())


def test_divergence_is_noticed_within_fifty_steps(network, image_set):
    steps = []
    with pytest.raises(EscrimeError, match="step 3 of epoch 1 .*no checkpoint"):
        fit(
            network(), image_set(120), poisoned(3, "loss"), on_batch=lambda done, total: steps.append(done),
            settings=TrainSettings(epochs=1, batch_size=1, freeze_batchnorm=True),
        )  # fmt: skip
    assert len(steps) < 60


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(data=[1, 2]), "images are a int"),
        (dict(model=lambda x: x), "model is a function"),
        (dict(objective="fgsm"), "objective 'fgsm' is unknown"),
        (dict(objective=3), "objective 3"),
        (dict(settings={"epochs": 1}), "settings are a dict"),
        (dict(seed="0"), "seed = '0'"),
        (dict(device="gpu"), "device 'gpu' cannot be used"),
        (dict(model=nn.Flatten()), "no parameter to train"),
        (dict(model=nn.Conv2d(3, 4, 3)), r"returns \(1, 4, 6, 6\)"),
        (dict(model=nn.Sequential(nn.Flatten(), nn.Linear(192, 3))), "class 3, but the model has 3 classes"),
        (dict(evaluate_on="digits"), "evaluate_on is a str"),
        (dict(evaluate_eps=2), "2/255"),
    ],
)
def test_bad_input_is_one_sentence(network, image_set, change, words):
    arguments = {"model": network(), "data": image_set(), "objective": "clean", "settings": FAST} | change
    with pytest.raises(EscrimeError, match=words):
        fit(arguments.pop("model"), arguments.pop("data"), **arguments)


def test_no_images(network, image_set):
    with pytest.raises(EscrimeError, match="no image"):
        fit(network(), image_set().select([]), settings=FAST)


def test_a_constant_learning_rate_never_changes(network, image_set):
    rates = fit(network(), image_set(), settings=TrainSettings(epochs=3)).history.learning_rate
    assert all(first == second == 0.01 for first, second in pairwise(rates))
