"""Objectives against their formulas, in float64 on a linear model, where gradients are known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from escrime.errors import EscrimeError
from escrime.training import OBJECTIVES, Context, objective
from escrime.training.objectives import Adversarial

EPS = 0.1
HARDENING = [name for name, kind in OBJECTIVES.items() if issubclass(kind, Adversarial)]
ALL = {name: {"eps": EPS} if name in HARDENING else {} for name in OBJECTIVES}


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def logits(model, images):
    return images.flatten(1).numpy() @ model.weight.detach().numpy().T


def cross_entropy(model, images, labels):
    return -log_softmax(logits(model, images))[np.arange(len(labels)), labels.numpy()]


def gradient(model, images, labels):
    """∇_x J of a linear model: Wᵀ(p − onehot)."""
    p = np.exp(log_softmax(logits(model, images)))
    p[np.arange(len(labels)), labels.numpy()] -= 1
    return torch.from_numpy((p @ model.weight.detach().numpy()).reshape(images.shape))


def test_clean_and_label_smoothing(linear, batch):
    images, labels, ids = batch
    model = linear()
    loss = objective("clean")(model, images, labels, Context.of(ids, classes=3))
    assert loss.item() == pytest.approx(cross_entropy(model, images, labels).mean(), rel=1e-12)
    smooth = objective("clean")(model, images, labels, Context.of(ids, classes=3, label_smoothing=0.2))
    everywhere = -log_softmax(logits(model, images)).mean(axis=1)
    expected = (0.8 * cross_entropy(model, images, labels) + 0.2 * everywhere).mean()
    assert smooth.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("eps", [EPS, 0.8])  # 0.8 reaches the borders of the box
def test_fgsm_mixed_is_half_clean_half_fgsm(linear, batch, eps):
    images, labels, ids = batch
    model = linear()
    context = Context.of(ids, classes=3)
    loss = objective("fgsm-mixed", eps=eps)(model, images, labels, context)
    worse = (images + eps * gradient(model, images, labels).sign()).clamp(0, 1)
    halves = cross_entropy(model, images, labels).mean(), cross_entropy(model, worse, labels).mean()
    assert halves[1] > halves[0]
    assert loss.item() == pytest.approx(sum(halves) / 2, rel=1e-12)
    assert len(model.seen) == 1 and torch.equal(model.seen[0], torch.cat([images, worse]))
    accuracies = [(logits(model, x).argmax(axis=1) == labels.numpy()).mean() for x in (images, worse)]
    assert context.tally.accuracies() == pytest.approx(accuracies)


def test_fgsm_directed_steps_towards_another_class(linear, batch):
    images, labels, ids = batch
    model, context = linear(), Context.of(ids, classes=3)
    loss = objective("fgsm-directed", eps=EPS)(model, images, labels, context)
    targets = context.other_classes(labels)
    pulled = images - EPS * gradient(model, images, targets).sign()
    expected = (cross_entropy(model, images, labels).mean() + cross_entropy(model, pulled, labels).mean()) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert cross_entropy(model, pulled, targets).mean() < cross_entropy(model, images, targets).mean()


def test_other_classes_are_never_the_label_and_all_occur():
    ids = [f"id{row}" for row in range(4000)]
    labels = torch.arange(4000) % 10
    others = Context.of(ids, classes=10).other_classes(labels)
    assert (others != labels).all() and 0 <= others.min() and others.max() <= 9
    counts = torch.bincount((others - labels) % 10, minlength=10)
    assert counts[0] == 0 and counts[1:].min() > 350 and counts[1:].max() < 550  # 444 ± 20 each


@pytest.mark.parametrize("step_size, factor", [(None, 1.25), (0.05, 0.5)])
def test_fgsm_rs_starts_at_random_and_stays_in_the_ball(linear, batch, step_size, factor):
    images, labels, ids = batch
    model, context = linear(), Context.of(ids, classes=3)
    loss = objective("fgsm-rs", eps=EPS, step_size=step_size)(model, images, labels, context)
    noise = context.noise("start", images)
    start = images + EPS * noise
    expected = images + (EPS * noise + factor * EPS * gradient(model, start, labels).sign()).clamp(-EPS, EPS)
    assert torch.allclose(model.seen[0], expected, rtol=0, atol=1e-15)
    assert loss.item() == pytest.approx(cross_entropy(model, expected, labels).mean(), rel=1e-12)


def test_n_fgsm_leaves_the_ball_but_not_the_box(linear, batch):
    images, labels, ids = batch
    images = images - 0.25  # near 0, so that the box matters
    model, context = linear(), Context.of(ids, classes=3)
    objective("n-fgsm", eps=EPS)(model, images, labels, context)
    noisy = (images + 2 * EPS * context.noise("start", images)).clamp(0, 1)
    expected = (noisy + EPS * gradient(model, noisy, labels).sign()).clamp(0, 1)
    assert torch.allclose(model.seen[0], expected, rtol=0, atol=1e-15)
    distance = (model.seen[0] - images).abs().max()
    assert EPS < distance <= 3 * EPS + 1e-12 and model.seen[0].min() == 0


def test_pgd_reaches_the_worst_point_of_a_linear_model(linear, batch):
    images, labels, ids = batch
    model = linear(classes=2)
    labels = labels % 2
    loss = objective("pgd", eps=EPS, steps=10)(model, images, labels, Context.of(ids, classes=2))
    worst = images + EPS * gradient(model, images, labels).sign()  # the gradient's sign is the same everywhere
    assert torch.allclose(model.seen[0], worst, rtol=0, atol=1e-15)
    assert loss.item() == pytest.approx(cross_entropy(model, worst, labels).mean(), rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_trades_is_cross_entropy_plus_beta_kl(linear, batch, beta):
    images, labels, ids = batch
    model = linear()
    loss = objective("trades", eps=EPS, beta=beta)(model, images, labels, Context.of(ids, classes=3))
    clean, moved = model.seen[0][:8], model.seen[0][8:]
    assert torch.equal(clean, images) and EPS * 0.99 < (moved - images).abs().max() <= EPS + 1e-15
    p, q = log_softmax(logits(model, images)), log_softmax(logits(model, moved))
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    assert loss.item() == pytest.approx(cross_entropy(model, images, labels).mean() + beta * kl.mean(), rel=1e-12)
    shaken = images + EPS * Context.of(ids, classes=3).noise("other", images).sign()
    r = log_softmax(logits(model, shaken))
    assert kl.mean() > 10 * (np.exp(p) * (p - r)).sum(axis=1).mean()  # searched for, not just random


class WithHeads(nn.Module):
    """GoogLeNet's habit: a tuple with auxiliary logits in training mode, logits alone in evaluation."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(48, 3, dtype=torch.float64) for _ in range(3))

    def forward(self, images):
        main, *others = (head(images.flatten(1)) for head in self.heads)
        return (main, *others) if self.training else main


@pytest.mark.parametrize("name, settings", ALL.items())
def test_auxiliary_heads_count_three_tenths(batch, name, settings):
    images, labels, ids = batch
    model = WithHeads()
    whole = objective(name, **settings)(model, images, labels, Context.of(ids, classes=3))
    whole.backward()
    gradients = [head.bias.grad.clone() for head in model.heads]
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    if name == "clean":
        parts = [nn.functional.cross_entropy(head(images.flatten(1)), labels).item() for head in model.heads]
        assert whole.item() == pytest.approx(parts[0] + 0.3 * (parts[1] + parts[2]), rel=1e-12)


@pytest.mark.parametrize("name, settings", ALL.items())
def test_batchnorm_sees_each_batch_once_and_crafting_leaves_no_trace(network, name, settings):
    model = network()
    model.train()
    model[5].eval()  # a BatchNorm somebody froze
    modes = [module.training for module in model.modules()]
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % 4
    given = []
    model.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]) if module.training else None)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    random = torch.get_rng_state()
    context = Context.of([f"id{row}" for row in range(6)], classes=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.random.fork_rng(devices=[]):
        objective(name, **settings)(model, images, labels, context)
    assert len(given) == 1
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert model[1].num_batches_tracked == 1 and model[5].num_batches_tracked == 0
    mean = torch.nn.functional.conv2d(given[0], before["0.weight"], before["0.bias"], padding=1).mean(dim=(0, 2, 3))
    assert torch.allclose(model[1].running_mean, 0.1 * mean, atol=1e-6)
    assert torch.equal(model[5].running_mean, before["5.running_mean"])
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert all(parameter.grad is None for parameter in list(model.parameters())[1:])


@pytest.mark.parametrize("name", HARDENING)
def test_an_example_depends_on_its_own_image_only(network, name):
    model = network().double().train()
    images = torch.rand(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, ids = torch.arange(6) % 4, [f"id{row}" for row in range(6)]
    with torch.no_grad():
        model.eval()(images)

    def crafted(rows):
        seen = []
        keep = lambda module, inputs: seen.append(inputs[0]) if module.training else None  # noqa: E731
        handle = model.register_forward_pre_hook(keep)
        context = Context.of([ids[row] for row in rows], classes=4, epoch=3)
        objective(name, eps=EPS, eps_distribution="uniform")(model.train(), images[rows], labels[rows], context)
        handle.remove()
        return seen[0][-len(rows) :]

    for module in model.modules():  # keep the running statistics as they are between the two calls
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    together, alone = crafted([4, 1, 5, 2]), torch.cat([crafted([row, row])[:1] for row in (4, 1, 5, 2)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)


def test_uniform_eps_is_drawn_per_image_and_scales_the_step(linear, batch):
    images, labels, ids = batch
    sizes = {}
    for name in ("fgsm-mixed", "n-fgsm"):
        model, context = linear(), Context.of(ids, classes=3)
        step = {"step_size": EPS / 2} if name == "n-fgsm" else {}
        objective(name, eps=EPS, eps_distribution="uniform", **step)(model, images, labels, context)
        sizes[name] = model.seen[0][-8:] - images
    drawn = EPS * context.fractions("eps", images)
    assert drawn.std() > 0.1 * EPS and drawn.max() < EPS
    assert torch.allclose(sizes["fgsm-mixed"].abs().amax(dim=(1, 2, 3)), drawn, rtol=1e-9)
    rest = (sizes["n-fgsm"] - 2 * drawn.view(-1, 1, 1, 1) * context.noise("start", images)).abs()
    assert torch.allclose(rest, (drawn / 2).view(-1, 1, 1, 1).expand_as(rest), rtol=1e-9)


def test_eps_as_text_and_zero(linear, batch):
    images, labels, ids = batch
    assert objective("pgd", eps="8/255").eps == 8 / 255
    clean = objective("clean")(linear(), images, labels, Context.of(ids, classes=3)).item()
    for name in HARDENING:
        loss = objective(name, eps=0)(linear(), images, labels, Context.of(ids, classes=3)).item()
        assert loss == pytest.approx(clean, rel=1e-9)


def test_each_objective_says_what_it_is():
    for name, kind in OBJECTIVES.items():
        assert kind.name == name and len(kind.source) > 10 and kind.__doc__


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: objective("fgsm-mixd"), "Did you mean 'fgsm-mixed'"),
        (lambda: objective("pgd", step=3), "Did you mean 'steps'"),
        (lambda: objective("clean", eps=0.1), "no setting 'eps'"),
        (lambda: objective("pgd", eps=8), "8/255"),
        (lambda: objective("pgd", steps=0), "steps = 0"),
        (lambda: objective("trades", beta=float("nan")), "beta = nan"),
        (lambda: objective("fgsm-rs", eps_distribution="unifrom"), "Did you mean 'uniform'"),
        (lambda: objective(3), "not a name"),
        (lambda: OBJECTIVES["pgd"](0.1), "by name"),
    ],
)
def test_bad_settings_are_one_sentence(call, words):
    with pytest.raises(EscrimeError, match=words):
        call()
