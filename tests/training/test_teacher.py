"""Learning from another network's answers: the loss, whom the teacher sees, what stays as it was, what is refused."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from escrime.errors import EscrimeError
from escrime.training import Context, TrainSettings, fit, objective
from escrime.training.teacher import Teacher

SHORT = dict(epochs=2, learning_rate=0.05, batch_size=11)


class Shown(nn.Module):
    """Three answers by linear pieces of the image; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.linspace(-1, 1, 3 * 48, dtype=torch.float64).view(3, 48).sin())
        self.shown = []

    def forward(self, images):
        self.shown.append(images.clone())
        return 4 * images.flatten(1) @ self.weight.T


def taught(batch, weight, temperature):
    images, labels, ids = batch
    context = Context.of(ids, classes=3)
    context.teacher, context.images = Teacher(Shown(), images, 3, weight, temperature), images
    return context


def kl(teacher, student, t):
    p, q = (torch.softmax(z / t, 1) for z in (teacher, student))
    return (p * (p / q).log()).sum(1)


@pytest.mark.parametrize("name", ["clean", "fgsm-mixed", "pgd"])
def test_the_loss_compares_with_the_answer_for_the_clean_image(name, batch, linear):
    images, labels, _ = batch
    model, weight, t = linear(), 0.3, 1.7
    model.train()
    goal = objective(name) if name == "clean" else objective(name, eps=0.1)
    found = goal(model, images, labels, taught(batch, weight, t))
    seen = model.seen[-1]
    times = len(seen) // len(images)
    with torch.no_grad():
        answers, said = seen.flatten(1) @ model.weight.T, Shown()(images).repeat(times, 1)
        own = torch.nn.functional.cross_entropy(answers, labels.repeat(times), reduction="none")
        expected = ((1 - weight) * own + weight * t**2 * kl(said, answers, t)).mean()
    assert times == (2 if name == "fgsm-mixed" else 1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_mixture_is_shown_to_the_teacher_as_it_is(batch, linear):
    images, labels, _ = batch
    model, context = linear(), taught(batch, 1.0, 1.0)
    model.train()
    found = objective("mixup")(model, images, labels, context)
    mixed = model.seen[-1]
    assert not torch.equal(mixed, images)
    with torch.no_grad():
        expected = kl(Shown()(mixed), mixed.flatten(1) @ model.weight.T, 1.0).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_it_learns_what_the_labels_do_not_say(network, image_set):
    """All labels are 0; the teacher tells bright from dark."""
    data = image_set(60)
    data.labels[:] = 0
    data.images[::2] //= 4

    class Bright(nn.Module):
        def forward(self, images):
            light = 20 * (images.mean((1, 2, 3)) - 0.3)
            return torch.stack([light, -light, *[torch.full_like(light, -9)] * 2], 1)

    def answers(**more):
        model = network()
        fit(model, data, settings=TrainSettings(epochs=15, learning_rate=0.05, batch_size=20, teacher_weight=1.0), **more)
        with torch.no_grad():
            return model(data.batch(slice(None))[0]).argmax(1).numpy()

    assert (answers() == 0).all()
    assert ((answers(teacher=Bright()) == 1) == (np.arange(60) % 2 == 0)).mean() > 0.9


def test_the_teacher_stays_as_it_was(network, image_set):
    teacher = network(seed=3).train()
    teacher[3].eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    fit(network(), image_set(), "clean", settings=TrainSettings(**SHORT), teacher=teacher)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert teacher.training and not teacher[3].training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in teacher.parameters())


def test_a_network_may_be_its_own_teacher(network, image_set):
    """As it was at the start, not as it becomes."""
    runs = []
    for same in (True, False):
        model = network()
        fit(model, image_set(), settings=TrainSettings(**SHORT), teacher=model if same else network())
        runs.append(model.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_stopped_and_continued_it_ends_with_the_same_bits(network, image_set, tmp_path):
    def run(model, **more):
        return fit(model, image_set(), "n-fgsm", settings=TrainSettings(**SHORT), teacher=network(seed=3), **more)

    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    whole, again = network(), network()
    run(whole)
    with pytest.raises(Stop):
        run(network(), checkpoint=tmp_path, on_epoch=stop)
    assert run(again, checkpoint=tmp_path).resumed == 1
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


def test_another_teacher_is_another_run(network, image_set, tmp_path):
    settings = TrainSettings(**SHORT)
    fit(network(), image_set(), settings=settings, teacher=network(seed=3), checkpoint=tmp_path)
    with pytest.raises(EscrimeError, match="teacher is "):
        fit(network(), image_set(), settings=settings, teacher=network(seed=4), checkpoint=tmp_path)
    with pytest.raises(EscrimeError, match="teacher"):
        fit(network(), image_set(), settings=settings, checkpoint=tmp_path)


def test_without_a_teacher_its_settings_are_no_part_of_the_run(network, image_set, tmp_path):
    fit(network(), image_set(), settings=TrainSettings(**SHORT), checkpoint=tmp_path)
    same = TrainSettings(**SHORT, temperature=5.0)
    again = fit(network(), image_set(), settings=same, checkpoint=tmp_path)
    assert again.resumed == SHORT["epochs"] and again.warnings == ["temperature = 5 had no effect: there is no teacher."]


@pytest.mark.parametrize(
    "teacher, words",
    [
        (lambda network: network(classes=5), "answers 2 images with (2, 5), the network to be trained with (2, 4)"),
        (lambda network: nn.Flatten(2), "the teacher answers 2 images with (2, 3, 64)"),
        (lambda network: nn.Linear(7, 4), "the teacher fails on an image of 3 × 8 × 8"),
        (lambda network: lambda images: images, "the teacher is a function"),
    ],
    ids=["classes", "shape", "crash", "callable"],
)
def test_a_teacher_that_cannot_teach_is_refused(network, image_set, teacher, words):
    with pytest.raises(EscrimeError, match=re.escape(words)) as error:
        fit(network(), image_set(), settings=TrainSettings(**SHORT), teacher=teacher(network))
    assert "\n" not in str(error.value)


def test_a_loss_over_part_of_the_batch_is_refused(network, image_set):
    def half(model, images, labels, context):
        return context.loss(model, images[:7], labels[:7], clean=7)

    with pytest.raises(EscrimeError, match="over all 11 images of the batch"):
        fit(network(), image_set(), half, settings=TrainSettings(**SHORT), teacher=network(seed=3))


@pytest.mark.parametrize("setting", [{"teacher_weight": 1.1}, {"temperature": 0}, {"teacher_weight": "all"}], ids=str)
def test_impossible_settings(setting):
    with pytest.raises(EscrimeError, match=next(iter(setting))):
        TrainSettings(**setting)
