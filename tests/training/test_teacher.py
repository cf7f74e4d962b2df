"""Learning from another network's answers: the loss, whom the teacher sees, what stays as it was, what is refused."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from escrime import PredictionAveraging
from escrime.errors import EscrimeError
from escrime.models.fast.first_call import SAME
from escrime.training import Context, TrainSettings, fit, objective
from escrime.training.teacher import Teacher

SHORT = dict(epochs=2, learning_rate=0.05, batch_size=11)


class Shown(nn.Module):
    """Three answers, linear in the image."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.linspace(-1, 1, 3 * 48, dtype=torch.float64).view(3, 48).sin())

    def forward(self, images):
        return (images - 0.5).flatten(1) @ self.weight.T  # unsure, and of another opinion for each image


def taught(batch, weight, temperature):
    images, labels, ids = batch
    context = Context.of(ids, classes=3)
    context.teacher = Teacher(Shown(), images, 3, weight, temperature)
    context.show(images)
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
    with torch.no_grad():
        assert not torch.allclose(Shown()(mixed).softmax(1), Shown()(images).softmax(1), atol=0.05)
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


IMPOSSIBLE = [{"teacher_weight": 1.1}, {"temperature": 0}, {"temperature": 1e200}, {"teacher_weight": "all"}]


@pytest.mark.parametrize("setting", IMPOSSIBLE, ids=str)
def test_impossible_settings(setting):
    with pytest.raises(EscrimeError, match=next(iter(setting))):
        TrainSettings(**setting)


class Says(nn.Module):
    """The same answer for every image."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return torch.tensor([self.logits]).repeat(len(images), 1)


def losses(network, image_set, teacher, objective="clean", **settings):
    """Of two epochs; the student is the same each time."""
    found = fit(network(), image_set(), objective, settings=TrainSettings(**SHORT | settings), teacher=teacher)
    return found.history.loss.tolist(), found.warnings


def test_a_student_that_writes_into_its_input_hides_nothing_from_the_teacher(network, image_set):
    class Shifts(nn.Module):
        def __init__(self, inner, copies):
            super().__init__()
            self.inner, self.copies = inner, copies

        def forward(self, images):
            images = images.clone() if self.copies else images
            return self.inner(images.sub_(0.5))

    def loss(copies):
        model = Shifts(network(), copies)
        return fit(model, image_set(), settings=TrainSettings(**SHORT), teacher=network(seed=3)).history.loss.tolist()

    assert loss(copies=False) == loss(copies=True)


def test_an_objective_that_writes_into_the_images_hides_nothing_from_the_teacher(network, image_set):
    def brighter(model, images, labels, context, inplace):
        images = images if inplace else images.clone()
        return context.loss(model, images.add_(0.2).clamp_(0, 1), labels, clean=len(labels))

    found = [losses(network, image_set, network(seed=3), partial(brighter, inplace=way))[0] for way in (True, False)]
    assert found[0] == found[1]


def test_an_objective_may_ask_about_several_images_in_turn(network, image_set):
    """Once for each: asking again about the same ones costs nothing."""

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.calls = network(seed=3), []

        def forward(self, images):
            self.calls.append(images.mean().item())
            return self.network(images)

    images, labels = image_set(8).batch(slice(None))
    context = Context.of([str(n) for n in range(8)], classes=4)
    context.teacher, model = Teacher(teacher := Counts(), images, 4, 1.0, 1.0), network()
    asked = context.teacher.model.calls
    asked.clear()
    found = []
    for shown in (images, images / 2):
        context.show(shown)
        found += [context.loss(model, shown, labels, clean=8).item() for _ in range(2)]
    assert asked == pytest.approx([images.mean().item(), images.mean().item() / 2]) and teacher.calls == []
    assert found[0] != found[2]


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 4)

    def forward(self, images):
        return self.layer(images.view(len(images), -1))


class Stubborn(Views):
    def train(self, mode=True):
        super().train(mode)


@pytest.mark.parametrize("kind", ["views", "scripted", "stubborn"])
def test_networks_that_evaluate_takes_can_teach(network, image_set, kind):
    """Flattening by view, which channels-last memory refuses; TorchScript; train() that returns nothing."""
    teacher = {"views": Views, "scripted": lambda: torch.jit.script(network(seed=3)), "stubborn": Stubborn}[kind]()
    (first, second), warnings = losses(network, image_set, teacher)
    assert np.isfinite([first, second]).all() and warnings == []


@pytest.mark.parametrize(
    "teacher, words",
    [
        (Says(0.0, float("nan"), 0.0, 0.0), "the teacher answers the first training images with NaN"),
        (nn.LazyLinear(4), "the teacher has weights without values"),
        (nn.Linear(3, 4, device="meta"), "the teacher has weights without values"),
    ],
    ids=["nan", "lazy", "meta"],
)
def test_a_teacher_without_answers_is_refused(network, image_set, teacher, words):
    with pytest.raises(EscrimeError, match=words):
        losses(network, image_set, teacher)


def test_a_class_that_the_teacher_excludes_is_no_divergence(network, image_set):
    found, _ = losses(network, image_set, Says(1.0, 0.0, -float("inf"), 0.0))
    assert np.isfinite(found).all()


def test_another_function_with_the_same_weights_is_another_teacher(network, image_set, tmp_path):
    """Another layer, another plain setting, a defense around the same network."""
    settings, teachers = TrainSettings(**SHORT), [network(seed=3), network(seed=3), Says(1.0, 0.0, 0.0, 0.0)]
    teachers[1][2] = nn.Sigmoid()
    teachers += [Says(0.0, 1.0, 0.0, 0.0), PredictionAveraging(network(seed=3), eps_max=0.1, samples=2)]
    fit(network(), image_set(), settings=settings, teacher=teachers[0], checkpoint=tmp_path)
    fit(network(), image_set(), settings=settings, teacher=teachers[2], checkpoint=tmp_path / "says")
    for folder, others in ((tmp_path, teachers[1:]), (tmp_path / "says", [teachers[3]])):
        for other in others:
            with pytest.raises(EscrimeError, match="its teacher is "):
                fit(network(), image_set(), settings=settings, teacher=other, checkpoint=folder)


def test_a_teacher_that_is_not_asked_is_said(network, image_set):
    def alone(model, images, labels, context):
        return nn.functional.cross_entropy(model(images), labels)

    assert "the teacher had no effect" in losses(network, image_set, network(seed=3), alone)[1][0]


def test_what_a_random_or_counting_teacher_says_hangs_on_the_seed_alone(network, image_set, tmp_path):
    class Restless(nn.Module):
        """Noise of torch's generator, and a buffer that moves with every answer."""

        def __init__(self):
            super().__init__()
            self.network = network(seed=3)
            self.register_buffer("asked", torch.zeros(1))

        def forward(self, images):
            self.asked += 0.1
            return self.network(images) * (1 + self.asked) + 0.0005 * torch.randn(len(images), 4)

    def weights(**more):
        model = network()
        result = fit(model, image_set(), settings=TrainSettings(**SHORT), teacher=Restless(), **more)
        return result, list(model.state_dict().values())

    def stop(record):
        raise KeyboardInterrupt

    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, first = weights()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    _, second = weights()
    with pytest.raises(KeyboardInterrupt):
        weights(checkpoint=tmp_path, on_epoch=stop)
    result, third = weights(checkpoint=tmp_path)
    assert result.resumed == 1
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, second, third, strict=True))


def test_whether_a_random_teacher_has_a_faster_copy_hangs_on_the_seed_alone(network, image_set):
    """Its noise is as large as what copies may differ by, so that chance decides."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network(seed=3)

        def forward(self, images):
            logits = self.network(images)
            return logits + SAME / 2.4 * logits.abs().max() * torch.randn_like(logits)

    def weights(number):
        torch.manual_seed(number)
        model = network()
        fit(model, image_set(), settings=TrainSettings(**SHORT | {"epochs": 1}), teacher=Noisy())
        return torch.cat([value.flatten().float() for value in model.state_dict().values()])

    first, *others = (weights(number) for number in range(8))
    assert all(torch.equal(first, other) for other in others)
