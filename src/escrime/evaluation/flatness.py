"""Is the loss of one network flatter than that of another, around images and around weights? Numbers and surfaces."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import wilcoxon
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ..attacks.core.gradients import input_gradient
from ..attacks.fgsm import FGSM
from ..models.fast.prepare import prepare
from ..models.running import Batches, no_trace
from ..randomness import as_keys, generator, uniform_noise
from ..results.statistics import bootstrap

ASCENT, RANDOM = 0.02, 0.5  # lengths of a weight perturbation, along the gradient and at random, in norms of each filter
DIRECTIONS = 8  # random weight perturbations averaged over
AXIS = tuple(np.linspace(-2, 2, 13).round(6).tolist())  # of a surface, in units of ε, of ASCENT and of RANDOM
IN_SURFACE = 32  # images whose loss is averaged at each point of a surface
MEASURES = {
    "loss_rise": "J(x+δ) − J(x), δ FGSM's step of size ε",
    "gradient_norm": "‖∇ₓJ(x)‖₁",
    "linearity_error": "|J(x+δ) − J(x) − δ·∇ₓJ(x)|",
    "weight_rise": "J(w+d) − J(w), mean over random d of half of each filter's norm",
    "weight_ascent": "J(w+d) − J(w), d along the gradient, of a fiftieth of each filter's norm",
}


def flatness(networks: dict[str, nn.Module], images: Tensor, labels: Tensor, ids: Sequence, eps: float, seed: int) -> dict:
    """How steep the loss is for each of `networks`, the first being the one compared with. images (N, C, H, W) with their
    labels (N,) and ids.

    Returns JSON values. `measures`: per measure (see MEASURES) and network the mean over images with a bootstrap 95 %
    interval, and for the others `ratio` to the first network's mean with a paired bootstrap interval (None where the first
    network's own interval reaches 0) and `p` of Wilcoxon's signed-rank test on the images' values, not yet corrected for the
    number of measures and networks. `surfaces`: at the points
    of `axis`, the mean loss around the images (rows: FGSM's direction, columns: a random sign direction, both in units of
    ε) and around the weights (rows: along the gradient in units of ASCENT, columns: a random direction in units of RANDOM).
    Directions among the weights are scaled to each filter's norm, and biases and normalization stay, so that rescaling a
    layer changes nothing.
    Sources: local linearity, Qin et al. (2019), Adversarial robustness through local linearization, equation 5, at one
    point; surfaces and filter normalization, Li et al. (2018), Visualizing the loss landscape of neural nets, section 4.
    """
    # Folding multiplies a filter and its direction by the same factor: every direction moves the loss as it did.
    networks = {name: prepare(network) for name, network in networks.items()}
    values = {name: _measure(network, images, labels, eps, seed) for name, network in networks.items()}
    first = next(iter(networks))
    measures: dict[str, dict[str, dict]] = {}
    for measure in MEASURES:
        base = values[first][measure]
        measures[measure] = {}
        for name in networks:
            own = values[name][measure]
            low, high = bootstrap(own, seed)
            row = {"mean": float(own.mean()), "low": low, "high": high}
            measures[measure][name] = row if name == first else row | _compared(own, base, seed)
    few = images[:IN_SURFACE], labels[:IN_SURFACE]
    keys = as_keys([(seed, i, "surface") for i in ids[:IN_SURFACE]])
    surfaces: dict[str, dict] = {"images": {}, "weights": {}}
    for name, network in networks.items():
        with no_trace(network, images.device):
            surfaces["images"][name] = _around_images(network, *few, eps, keys)
            surfaces["weights"][name] = _around_weights(network, *few, seed)
    return {
        "n": len(images),
        "eps": eps,
        "ascent": ASCENT,
        "random": RANDOM,
        "measures": measures,
        "surfaces": surfaces | {"axis": list(AXIS), "n": len(few[0])},
    }


def _compared(own: np.ndarray, base: np.ndarray, seed: int) -> dict:
    """Mean over mean with its paired interval, where the first network's is surely above 0, and the paired test."""
    found: dict[str, float | None] = {"ratio": None, "ratio_low": None, "ratio_high": None}
    if bootstrap(base, seed)[0] > 0:
        low, high = bootstrap(np.stack([own, base], 1), seed, lambda pairs, axis: np.divide(*pairs.mean(axis).T))
        found = {"ratio": float(own.mean() / base.mean()), "ratio_low": low, "ratio_high": high}
    return found | {"p": float(wilcoxon(own, base).pvalue) if (own != base).any() else 1.0}


def _losses(network: nn.Module, images: Tensor, labels: Tensor, weights: dict | None = None) -> Tensor:
    """J of every image (N,), with other weights than its own where they are given."""

    def part(rows: slice) -> Tensor:
        x = images[rows].clone()  # a model may write into what it is given
        logits = network(x) if weights is None else functional_call(network, weights, (x,))
        return cross_entropy(logits, labels[rows], reduction="none")

    return torch.cat(Batches.of(images).map(part, len(images)))


def _measure(network: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int) -> dict[str, np.ndarray]:
    """Every measure of every image."""
    moved = FGSM(eps)(network, images, labels)
    with no_trace(network, images.device):
        gradient, weights = _input_gradient(network, images, labels), _filters(network)
        with torch.no_grad():
            start = _losses(network, images, labels)
            rise = _losses(network, moved, labels) - start
            linear = ((moved - images) * gradient).flatten(1).sum(1)
            random = [
                _losses(network, images, labels, _shifted(weights, RANDOM, _random(network, seed, draw))) - start
                for draw in range(DIRECTIONS)
            ]
        along = _gradient(network, images, labels)
        with torch.no_grad():
            ascent = _losses(network, images, labels, _shifted(weights, ASCENT, along)) - start
    found = rise, gradient.flatten(1).abs().sum(1), (rise - linear).abs(), torch.stack(random).mean(0), ascent
    return {name: value.detach().double().cpu().numpy() for name, value in zip(MEASURES, found, strict=True)}


def _input_gradient(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    def part(rows: slice) -> Tensor:
        return input_gradient(network, images[rows], lambda logits: cross_entropy(logits, labels[rows], reduction="sum"))

    return torch.cat(Batches.of(images).map(part, len(images)))


def _around_images(network: nn.Module, images: Tensor, labels: Tensor, eps: float, keys: Tensor) -> list[list[float]]:
    """Mean loss over the images, each moved in its own plane and kept in [0, 1]."""
    steep = _input_gradient(network, images, labels).sign()
    signs = uniform_noise(images, 1, keys)[0].sign()
    with torch.no_grad():
        return [
            [float(_losses(network, (images + eps * (a * steep + b * signs)).clamp(0, 1), labels).mean()) for b in AXIS]
            for a in AXIS
        ]


def _around_weights(network: nn.Module, images: Tensor, labels: Tensor, seed: int) -> list[list[float]]:
    along, random, weights = _gradient(network, images, labels), _random(network, seed, "surface"), _filters(network)
    surface = []
    with torch.no_grad():
        for a in AXIS:
            row = _shifted(weights, ASCENT * a, along)
            losses = (_losses(network, images, labels, _shifted(row, RANDOM * b, random)) for b in AXIS)
            surface.append([float(loss.mean()) for loss in losses])
    return surface


def _filters(network: nn.Module) -> dict[str, Tensor]:
    """The weights that a direction moves: those with more than one dimension."""
    return {name: weight.detach() for name, weight in network.named_parameters() if weight.dim() > 1}


def _scaled(direction: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each filter of the direction as long as the network's own."""
    scaled = {}
    for name, weight in weights.items():
        step = direction[name].flatten(1)
        length = weight.flatten(1).norm(dim=1, keepdim=True) / step.norm(dim=1, keepdim=True).clamp_min(1e-12)
        scaled[name] = (step * length).view_as(weight)
    return scaled


def _random(network: nn.Module, seed: int, draw: object) -> dict[str, Tensor]:
    """A Gaussian direction, the same for networks of the same architecture."""
    weights = _filters(network)
    drawn = {
        name: torch.randn(weight.shape, generator=generator(seed, "weights", draw, name)).to(weight)
        for name, weight in weights.items()
    }
    return _scaled(drawn, weights)


@torch.enable_grad()
def _gradient(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The direction in which the mean loss rises fastest, computed on copies of the weights."""
    weights = {name: weight.clone().requires_grad_(True) for name, weight in _filters(network).items()}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def part(rows: slice) -> Tensor:
        loss = cross_entropy(functional_call(network, weights, (images[rows].clone(),)), labels[rows], reduction="sum")
        found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, found, strict=True):
            if gradient is not None:  # auxiliary heads take no part in a prediction
                total[name] += gradient
        return loss.detach()[None]

    Batches.of(images).map(part, len(images))
    return _scaled(total, {name: weight.detach() for name, weight in weights.items()})


def _shifted(weights: dict[str, Tensor], size: float, direction: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.add(direction[name], alpha=size) for name, weight in weights.items()}
