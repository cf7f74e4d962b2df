"""Straight through: the same answers, and a gradient near that of the network behind whatever hides it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from escrime.attacks.straight_through import StraightThrough


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
    said, found = gradient(StraightThrough(model), images)
    _, true = gradient(net, hide(images).detach())
    assert torch.equal(said, model(images).detach()) and torch.equal(found, true)


def test_a_bound_inside_the_network_is_a_nonlinearity(net, images):
    network = nn.Sequential(net[0], nn.ReLU6(), nn.Hardtanh(0.1, 0.3), *net[2:])
    for plain, through in zip(gradient(network, images), gradient(StraightThrough(network), images), strict=True):
        assert torch.equal(plain, through)


def test_what_is_infinite_before_a_bound_is_answered_as_before(net, images):
    model, images = Defended(net, lambda x: torch.logit(x).clamp(-3, 3)), images.round()
    said, _ = gradient(StraightThrough(model), images)
    assert said.isfinite().all() and torch.equal(said, model(images))


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING)
def test_what_hides_a_gradient_is_gone_around(net, images, hide):
    model = Defended(net, hide)
    _, true = gradient(net, images)
    said, found = gradient(StraightThrough(model), images)
    assert torch.equal(said, model(images).detach()), "the answers must stay those of the model, to the last bit"
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
    said, found = gradient(StraightThrough(Defended(net, jpeg)), images)
    _, true = gradient(net, images)
    assert torch.equal(said, Defended(net, jpeg)(images).detach())
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
    said, found = gradient(StraightThrough(net), images)
    plain, true = gradient(net, images)
    assert torch.equal(said, plain) and torch.equal(found, true)


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
