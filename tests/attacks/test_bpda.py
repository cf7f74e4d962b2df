"""Straight through: the same outputs, and a gradient near that of the network behind whatever hides it."""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy, is_grad_enabled, nn

from escrime.attacks.adaptive.bpda import StraightThrough
from escrime.attacks.adaptive.surrogate import Surrogate


class Lying(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class LyingApart(torch.autograd.Function):
    """The other way to write one, with `setup_context`."""

    @staticmethod
    def forward(x):
        return x.clamp(0, 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


def no_grad(x):
    with torch.no_grad():
        return torch.round(x * 8) / 8


def in_place(x):
    scaled = x * 8
    scaled.round_()
    return scaled / 8


def thermometer(x):
    return (x[:, None] > torch.linspace(0, 1, 9)[1:].reshape(1, 8, 1, 1, 1)).float().mean(1)


def one_hot(x):
    codes = F.one_hot((x * 7).long(), 8).float()
    return (codes * torch.arange(8.0)).sum(-1) / 7


HIDING = {
    "round": lambda x: torch.round(x * 8) / 8,
    "floor method": lambda x: (x * 8).floor() / 8,
    "round in place": in_place,
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "no_grad": no_grad,
    "uint8": lambda x: (x * 255).to(torch.uint8).float() / 255,
    "bit shift": lambda x: (((x * 255).to(torch.uint8) >> 4) << 4).float() / 255,
    "floor division": lambda x: ((x * 255).long() // 32 * 32).float() / 255,
    "comparisons": thermometer,
    "one-hot codes": one_hot,
    "bucketize": lambda x: torch.bucketize(x, torch.linspace(0, 1, 9)).float() / 8,
    "numpy": lambda x: torch.from_numpy(np.round(x.detach().cpu().numpy() * 8) / 8),
    "false backward": lambda x: Lying.apply(x),
    "false backward, bound early": Lying.apply,
    "false backward with setup_context": LyingApart.apply,
}


class Defended(nn.Module):
    def __init__(self, network, hide):
        super().__init__()
        self.network, self.hide = network, hide

    def forward(self, x):
        return self.network(self.hide(x))


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 4)).eval()


def gradient(model, x):
    x = x.clone().requires_grad_(True)
    logits = model(x)
    (found,) = torch.autograd.grad(logits[:, 0].sum(), x, allow_unused=True) if logits.requires_grad else (None,)
    return logits.detach(), torch.zeros_like(x) if found is None else found


def bounded_in_place(method, *bounds):
    def hide(x):
        x = x.clone()
        getattr(x, method)(*bounds)
        return x

    return hide


BOUNDED = {
    "clamp": lambda x: x.clamp(0, 1),
    "clip": lambda x: torch.clip(x, 0, 1),
    "one bound after the other": lambda x: x.clamp(min=0).clamp_max(1),
    "hardtanh": nn.Hardtanh(0, 1),
    "hardtanh in place": lambda x: F.hardtanh(x.clone(), 0, 1, inplace=True),
    "clamp in place": bounded_in_place("clamp_", 0, 1),
    "clip in place": bounded_in_place("clip_", 0, 1),
    "narrower than the box": lambda x: x.clamp(0.3, 0.7),
}


@pytest.mark.parametrize("hide", BOUNDED.values(), ids=BOUNDED)
def test_pixels_at_a_bound_keep_their_gradient(net, images, hide):
    """A clamp has none at its bounds, where half of these pixels are, nor beyond."""
    images = (2 * images - 0.5).clamp(0, 1)
    model = Defended(net, hide)
    output, found = gradient(StraightThrough(model), images)
    _, true = gradient(net, hide(images).detach())
    assert torch.equal(output, model(images).detach()) and torch.equal(found, true)


def test_a_bound_inside_the_network_is_a_nonlinearity(net, images):
    network = nn.Sequential(net[0], nn.ReLU6(), nn.Hardtanh(0.1, 0.3), *net[2:])
    for plain, through in zip(gradient(network, images), gradient(StraightThrough(network), images), strict=True):
        assert torch.equal(plain, through)


def test_what_is_infinite_before_a_bound_is_answered_as_before(net, images):
    model, images = Defended(net, lambda x: torch.logit(x).clamp(-3, 3)), images.round()
    output, _ = gradient(StraightThrough(model), images)
    assert output.isfinite().all() and torch.equal(output, model(images))


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING)
def test_what_hides_a_gradient_is_gone_around(net, images, hide):
    model = Defended(net, hide)
    _, true = gradient(net, images)
    output, found = gradient(StraightThrough(model), images)
    assert torch.equal(output, model(images).detach()), "the outputs must stay those of the model, to the last bit"
    assert F.cosine_similarity(found.flatten(), true.flatten(), dim=0) > 0.85
    _, naive = gradient(model, images)
    assert F.cosine_similarity(naive.flatten(), true.flatten(), dim=0) < 0.1, "or the case would prove nothing"


def test_a_codec_outside_torch_is_stepped_over(net):
    from io import BytesIO

    from PIL import Image

    def jpeg(x):
        rows = []
        for image in (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
            buffer = BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=75)
            rows.append(torch.from_numpy(np.array(Image.open(buffer))))
        return torch.stack(rows).permute(0, 3, 1, 2).float() / 255

    images = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(2)) * 0.2 + 0.4
    output, found = gradient(StraightThrough(Defended(net, jpeg)), images)
    _, true = gradient(net, images)
    assert torch.equal(output, Defended(net, jpeg)(images).detach())
    assert F.cosine_similarity(found.flatten(), true.flatten(), dim=0) > 0.85


def test_copies_of_the_batch_find_their_images_again(net, images):
    """A defense that averages over copies outside torch: each copy's gradient returns to its own image."""

    class Copies(nn.Module):
        def __init__(self, repeat):
            super().__init__()
            self.network, self.repeat = net, repeat

        def forward(self, x):
            return self.repeat(x)

    whole = Copies(lambda x: net(torch.from_numpy(np.tile(x.detach().numpy(), (3, 1, 1, 1)))).unflatten(0, (3, -1)).sum(0))
    apart = Copies(lambda x: net(torch.from_numpy(np.repeat(x.detach().numpy(), 3, axis=0))).unflatten(0, (-1, 3)).sum(1))
    _, true = gradient(net, images)
    for model in (whole, apart):
        _, found = gradient(StraightThrough(model), images)
        assert torch.allclose(found, 3 * true, atol=1e-5)


def test_an_honest_gradient_stays_as_it_is(net, images):
    output, found = gradient(StraightThrough(net), images)
    plain, true = gradient(net, images)
    assert torch.equal(output, plain) and torch.equal(found, true)


def test_nothing_is_left_behind(net, images):
    forward = Lying.__dict__["forward"]
    gradient(StraightThrough(Defended(net, lambda x: Lying.apply(x.detach()))), images)
    assert Lying.__dict__["forward"] is forward
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_an_error_of_the_model_leaves_nothing_behind_either(net, images):
    def broken(x):
        raise ValueError("mine")

    forward = Lying.__dict__["forward"]
    with pytest.raises(ValueError, match="mine"):
        gradient(StraightThrough(Defended(net, broken)), images)
    assert Lying.__dict__["forward"] is forward and not any(module._forward_pre_hooks for module in net.modules())


def test_chances_that_a_random_layer_divides_by_are_constants(net, images):
    """Each pixel is kept with chance p and divided by it: true on average, but 1/p has a gradient of its own."""

    def pruned(x):
        chance = (x.detach() * 0 + x).clamp(0.01, 1)
        return net(x * (torch.full_like(x, 0.5) < chance).float() / chance)

    class Pruned(nn.Module):
        def forward(self, x):
            return pruned(x)

    _, found = gradient(StraightThrough(Pruned()), images)
    kept = (images > 0.5).float() / images.clamp(0.01, 1)
    _, true = gradient(net, images * kept)
    assert F.cosine_similarity((found * (images > 0.5)).flatten(), (true * kept).flatten(), dim=0) > 0.7


class Around(nn.Module):
    """A network that `run` calls as it likes."""

    def __init__(self, network, run):
        super().__init__()
        self.network, self.run = network, run

    def forward(self, x):
        return self.run(self.network, x)


def followed(net, images, run) -> float:
    """The cosine between the gradient through `run` and that of the network; the logits must be those of a plain call."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # as under an attack
    model = Around(net, run)
    with torch.no_grad():
        plain = model(images.clone())
    output, found = gradient(StraightThrough(model), images)
    assert torch.equal(output, plain), "the logits must stay those of the model, to the last bit"
    return float(F.cosine_similarity(found.flatten(), gradient(net, images)[1].flatten(), dim=0))


def enabled_and_asked(net, x):
    with torch.enable_grad():
        return net(1 - x) if x.requires_grad or (x * 1).requires_grad else net(x)


def asked_under_no_grad(net, x):
    with torch.no_grad():
        return net(1 - x) if x.requires_grad else net(x)


def asked_by_hook(net, x):
    try:
        x.register_hook(lambda gradient: -gradient)
    except RuntimeError:
        return net(x)
    return net(x) if not x.requires_grad else net(1 - x)


DECOYS = {
    "is_grad_enabled": lambda net, x: net(1 - x) if torch.is_grad_enabled() else net(x),
    "is_grad_enabled, bound early": lambda net, x: net(1 - x) if is_grad_enabled() else net(x),
    "requires_grad": lambda net, x: net(1 - x) if x.requires_grad else net(x),
    "grad_fn": lambda net, x: net(1 - x) if (x * 1).grad_fn is not None else net(x),
    "is_leaf": lambda net, x: net(x) if (x * 1).is_leaf else net(1 - x),
    "gradients switched on to ask": enabled_and_asked,
    "gradients switched off to ask": asked_under_no_grad,
    "a hook that turns the gradient": asked_by_hook,
    "logits": lambda net, x: net(x) if not net(x).requires_grad else net(1 - x),
}


@pytest.mark.parametrize("run", DECOYS.values(), ids=DECOYS)
def test_the_model_cannot_tell_that_somebody_differentiates(net, images, run):
    assert followed(net, images, run) > 0.99
    _, naive = gradient(Around(net, run), images)
    assert F.cosine_similarity(naive.flatten(), gradient(net, images)[1].flatten(), dim=0) < 0.9, "or it would prove nothing"


def test_what_it_marks_itself_is_as_it_expects(net, images):
    """A model may ask about its own leaves, and what it makes of them with gradients on."""

    def run(net, x):
        assert not torch.is_grad_enabled() and not x.requires_grad
        own = x.detach().clone().requires_grad_()
        assert own.requires_grad and own.is_leaf and own.grad_fn is None and not x.requires_grad
        with torch.enable_grad():
            assert torch.is_grad_enabled() and (own * 2).requires_grad and (own * 2).grad_fn is not None
            with torch.no_grad():
                assert not torch.is_grad_enabled() and not (x * 2).requires_grad
            assert torch.is_grad_enabled()
        own.requires_grad_(False)
        assert not own.requires_grad and not torch.is_grad_enabled()
        assert nn.Parameter(torch.zeros(2)).requires_grad
        return net(x)

    assert followed(net, images, run) > 0.99


def by_grad(net, x):
    y = x.detach().clone().requires_grad_(True)
    for _ in range(3):
        (slope,) = torch.autograd.grad(net(y).logsumexp(1).sum(), y)
        y = (y - 0.01 * slope.sign()).detach().requires_grad_(True)
    return net(y)


def by_backward(net, x):
    y = x.detach().clone()
    for _ in range(3):
        y.requires_grad_()
        net(y).logsumexp(1).sum().backward()
        y = (y - 0.01 * y.grad.sign()).detach()
    return net(y)


def by_setter(net, x):
    y = x.detach().clone()
    y.requires_grad = True
    net(y).logsumexp(1).sum().backward()
    y = (y - 0.01 * y.grad.sign()).detach()
    y.requires_grad = False
    return net(y)


def in_place_steps(net, x):
    y = x.detach().clone().requires_grad_()
    for _ in range(3):
        net(y).logsumexp(1).sum().backward()
        with torch.no_grad():
            y -= 0.01 * y.grad.sign()
            y.grad.zero_()
    return net(y.detach())


def by_data(net, x):
    y = x.detach().clone().requires_grad_()
    for _ in range(3):
        y.grad = None
        net(y).logsumexp(1).sum().backward()
        y.data -= 0.01 * y.grad.sign()
    return net(y.detach())


def optimized(start, made):
    def purify(net, x):
        moved = start(x)
        optimizer = torch.optim.Adam([moved], lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            net(made(x, moved)).logsumexp(1).sum().backward()
            optimizer.step()
        return net(made(x, moved).detach())

    return purify


def by_functional_grad(net, x):
    return net(x - 0.01 * torch.func.grad(lambda y: net(y).logsumexp(1).sum())(x).sign())


PURIFYING = {
    "autograd.grad": by_grad,
    "backward": by_backward,
    "the attribute requires_grad": by_setter,
    "in-place steps": in_place_steps,
    "data": by_data,
    "an optimizer of the difference": optimized(lambda x: torch.zeros_like(x, requires_grad=True), lambda x, d: x.detach() + d),
    "an optimizer of the image": optimized(lambda x: x.detach().clone().requires_grad_(), lambda x, y: y),
    "an optimizer of a parameter": optimized(lambda x: nn.Parameter(x.detach().clone()), lambda x, y: y),
    "torch.func": by_functional_grad,
}


@pytest.mark.parametrize("purify", PURIFYING.values(), ids=PURIFYING)
def test_purification_takes_its_gradients_and_is_gone_through(net, images, purify):
    def run(net, x):
        with torch.enable_grad():
            return purify(net, x)

    assert followed(net, images, run) > 0.9
    assert all(parameter.grad is None for parameter in net.parameters())


class Staircase(torch.autograd.Function):
    """Rounds forward, and has no gradient, neither by its own backward nor by that of its forward code."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x * 8) / 8

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


class Outside(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.round(x.detach().numpy() * 8) / 8)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Kernel(torch.autograd.Function):
    """Code that torch cannot follow (a kernel in C), with the right backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.factor = 2.0
        return torch.frombuffer(bytearray((2 * x.detach()).contiguous().numpy().tobytes()), dtype=torch.float32).view(x.shape)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient


WITHIN = {"rounding": Staircase.apply, "numpy": Outside.apply, "a kernel of its own": Kernel.apply}


@pytest.mark.parametrize("function", WITHIN.values(), ids=WITHIN)
def test_functions_in_the_midst_of_the_network_are_gone_through(net, images, function):
    """Where no picture is left that a gap could be bridged with."""
    factor = 2 if function == Kernel.apply else 1
    run = lambda net, x: net[3](function(net[2](net[1](net[0](x)))) / factor)  # noqa: E731
    assert followed(net, images, run) > 0.95


OUTSIDE = {
    "early": lambda net, x: net(from_numpy(np.round(x.detach().numpy() * 8) / 8)),
    "channels last": lambda net, x: net(
        torch.from_numpy(np.round(x.permute(0, 2, 3, 1).numpy() * 8).transpose(0, 3, 1, 2).copy() / 8)
    ),
    "flat": lambda net, x: net(torch.from_numpy(x.detach().numpy().reshape(len(x), -1).round(1)).reshape(x.shape)),
    "double": lambda net, x: net(torch.from_numpy(x.detach().double().numpy().round(1)).float()),
    "one by one": lambda net, x: net(torch.stack([torch.from_numpy(image.numpy().round(1)) for image in x])),
    "lists": lambda net, x: net(torch.tensor(x.tolist()).mul(8).round() / 8),
    "inside the network": lambda net, x: net[3](torch.from_numpy(net[2](net[1](net[0](x))).detach().numpy().round(1))),
    "brightness": lambda net, x: net(x - x.mean(1, keepdim=True) + torch.from_numpy(x.mean(1, keepdim=True).numpy().round(1))),
}


@pytest.mark.parametrize("run", OUTSIDE.values(), ids=OUTSIDE)
def test_the_way_through_numpy_is_followed(net, images, run):
    assert followed(net, images, run) > 0.9


def test_inference_mode_inside_is_nothing(net, images):
    def run(net, x):
        with torch.inference_mode():
            return net(x * 1)

    assert followed(net, images, lambda net, x: run(net, x).clone()) > 0.99


def test_an_infinity_before_a_step_is_predicted_as_before(net, images):
    run = lambda net, x: net(torch.sign(torch.logit(x)))  # noqa: E731
    followed(net, images.round(), run)


def test_hooks_on_gradients_rest_and_are_put_back(net, images):
    """Of tensors and of layers, before their gradient and after."""
    turned = [
        net[0].register_full_backward_hook(lambda layer, inward, outward: tuple(-g if g is not None else g for g in inward)),
        net[3].register_full_backward_pre_hook(lambda layer, outward: (torch.zeros_like(outward[0]),)),
    ]
    hooked = [dict(layer._backward_hooks) for layer in net], [dict(layer._backward_pre_hooks) for layer in net]
    _, silent = gradient(net, images)
    output, found = gradient(StraightThrough(Around(net, lambda net, x: net(x))), images)
    assert hooked == ([dict(layer._backward_hooks) for layer in net], [dict(layer._backward_pre_hooks) for layer in net])
    for hook in turned:
        hook.remove()
    plain, true = gradient(net, images)
    assert silent.abs().sum() == 0 and torch.equal(output, plain) and torch.equal(found, true)


def half_detached(x):
    return torch.cat([x[:, :, :2].detach(), x[:, :, 2:]], 2)


def test_whole_steps_over_what_carries_a_part(net, images):
    """A part of the gradient from C, which nobody knows of, and a decoy that only whole gets around."""

    def partial(x):
        hidden = torch.frombuffer(bytearray(x.detach().numpy().tobytes()), dtype=torch.float32).view(x.shape)
        return torch.cat([hidden[:, :, :3], x[:, :, 3:]], 2)

    model, true = Defended(net, partial), gradient(net, images)[1]
    _, part = gradient(StraightThrough(model), images)
    output, found = gradient(StraightThrough(model, whole=True), images)
    assert torch.equal(output, model(images).detach()) and torch.allclose(found, true)
    assert part[:, :, :3].abs().sum() == 0 and torch.allclose(part[:, :, 3:], true[:, :, 3:])


@pytest.mark.parametrize(
    "flat", [torch.tanh, torch.sigmoid, lambda z: z.softmax(1), lambda z: z.clamp(-1, 1), lambda z: z.clone().tanh_()]
)
def test_unsaturated_functions_keep_a_slope(net, images, flat):
    model = Around(net, lambda net, x: flat(1e7 * net(x)))
    assert gradient(model, images)[1].abs().sum() == 0
    output, found = gradient(StraightThrough(model, unsaturated=True), images)
    assert torch.equal(output, model(images).detach())
    assert F.cosine_similarity(found.flatten(), gradient(net, images)[1].flatten(), dim=0) > 0.9


class Raising(Exception):
    pass


def state():
    return (
        torch.is_grad_enabled,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.from_numpy,
        torch._C._InferenceMode,
        globals()["is_grad_enabled"],
        globals()["from_numpy"],
        *(cls.__dict__["forward"] for cls in (Lying, LyingApart, Staircase)),
        LyingApart.__dict__["setup_context"],
        str(torch.random.get_rng_state().tolist()),
        str(np.random.get_state()),
        str(random.getstate()),
    )


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("enabled", [torch.enable_grad, nullcontext])
def test_everything_is_put_back_also_when_the_model_raises(net, images, raises, whole, enabled):
    net[0].register_full_backward_hook(lambda *_: None)
    net.register_buffer("count", torch.zeros(()))

    def run(net, x):
        torch.set_grad_enabled(False)
        with torch.inference_mode(), torch.no_grad():
            z = net(Staircase.apply(torch.from_numpy(x.detach().numpy().copy())))
            if raises:
                raise Raising
            return z.clone()

    def shape():
        hooks = [(len(m._forward_pre_hooks), len(m._backward_hooks), len(m._backward_pre_hooks)) for m in net.modules()]
        return hooks, [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()], float(net.count)

    before, form, context = state(), shape(), pytest.raises(Raising) if raises else nullcontext()
    with enabled(), context:
        StraightThrough(Around(net, run), whole=whole)(images.clone().requires_grad_())
    assert state() == before and shape() == form
    assert all(parameter.grad is None for parameter in net.parameters())


def test_one_inside_another_goes_through_as_one(net, images):
    model = Defended(net, lambda x: torch.round(x * 8) / 8)
    once, twice = (gradient(m, images) for m in (StraightThrough(model), StraightThrough(StraightThrough(model))))
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert is_grad_enabled is torch.is_grad_enabled and torch.is_grad_enabled()


def test_what_is_found_does_not_hang_on_the_batch(net, images):
    for run in (by_grad, OUTSIDE["one by one"], lambda net, x: net(half_detached(x))):
        model = StraightThrough(Around(net, lambda net, x, run=run: run(net, x)))
        with torch.enable_grad():
            whole = gradient(model, images)
            single = [gradient(model, images[row : row + 1]) for row in range(len(images))]
        for number in range(2):
            assert torch.allclose(whole[number], torch.cat([one[number] for one in single]), atol=1e-5)


def test_without_a_gradient_wanted_the_model_is_asked_as_it_is(net, images):
    seen = []

    def run(net, x):
        seen.append((torch.is_grad_enabled(), x.requires_grad))
        return net(x)

    model = StraightThrough(Around(net, run))
    with torch.no_grad():
        model(images)
    model(images)
    assert seen == [(False, False), (True, False)]


class Touchy:
    """As a frozen dataclass that holds a table: it can neither be hashed nor compared."""

    def __hash__(self):
        raise TypeError("unhashable type: 'DataFrame'")

    def __eq__(self, other):
        raise ValueError("the truth value is ambiguous")


RESULT = Touchy()  # what somebody keeps in the file of a model


class BesideIt(torch.nn.Module):
    def forward(self, x):
        return (x.flatten(1)[:, :2] * 15).round() / 15


def test_what_lies_beside_a_model_is_neither_hashed_nor_compared():
    x = torch.rand(2, 1, 2, 2, requires_grad=True)
    Surrogate(BesideIt(), through=True)(x).sum().backward()
    assert x.grad.abs().sum() > 0
