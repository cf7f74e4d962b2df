"""Two claims need more than accuracies: does DGSM's pattern show image features (C11), is a robust network flatter (C12)?"""

import numpy as np
import torch
from scipy.stats import spearmanr, wilcoxon
from torch.nn.functional import avg_pool2d, cross_entropy

from ..attacks import DGSM, FGSM
from ..models.running import no_trace
from ..randomness import generator

IMAGES = 64  # images behind each measure
PATTERN_EPS = 0.2


def pattern_shows_features(network, test, target: int, spec, seed: int, device) -> dict | None:
    """C11: rank correlation of |δ| with the image's edges, against the edges of other images.

    δ is DGSM's perturbation at ε = 0.2, |δ| its mean over channels smoothed by 3×3; edges are the gradient magnitude of
    the grey image, smoothed alike. `value` is the mean over images of (own correlation − mean correlation with the
    other images), with a bootstrap 95 % interval; `reference` is the mean own correlation. A pattern that ignores the
    image scores 0.
    """
    rows = [i for i in range(len(test)) if test.labels[i] != target][:IMAGES]
    if len(rows) < 8:
        return None
    images, labels = test.batch(rows, device=device)
    attack = DGSM(PATTERN_EPS, target, spec.steps, spec.step_size)
    delta = attack(network, images, labels, seed=seed, ids=[test.ids[i] for i in rows]) - images
    patterns = avg_pool2d(delta.abs().mean(1, keepdim=True), 3, 1, 1).flatten(1).cpu().numpy()
    edges = _edges(images).flatten(1).cpu().numpy()
    # Constant maps (a blank image, a fully saturated pattern) have no ranks.
    keep = (patterns.std(1) > 0) & (edges.std(1) > 0)
    patterns, edges = patterns[keep], edges[keep]
    n = len(patterns)
    if n < 8:
        return None
    table = spearmanr(patterns, edges, axis=1).statistic[:n, n:]
    own, others = np.diag(table), (table.sum(1) - np.diag(table)) / (n - 1)
    low, high = _bootstrap(own - others, seed)
    return {
        "measure": "Spearman correlation of |δ| (DGSM, ε = 0.2) with the image's edges, minus that with other images' edges",
        "value": float((own - others).mean()),
        "low": low,
        "high": high,
        "n": n,
        "reference": float(own.mean()),
    }


def flatness(networks: dict, test, eps: float, seed: int, device) -> dict:
    """C12: how steep and how curved the loss is around test images, for the clean and the adversarially trained network.

    Per image, with δ FGSM's step of size ε: the rise of the loss J(x+δ) − J(x); the gradient norm ‖∇ₓJ(x)‖₁; and the local
    linearity error |J(x+δ) − J(x) − δ·∇ₓJ(x)| (Qin et al. 2019, Adversarial robustness through local linearization, eq. 5,
    at one point). `ratio` is the mean rise of the retrained network over that of the clean one, with a paired bootstrap
    95 % interval; p is Wilcoxon's signed-rank test on the paired rises. The rise decides, because the gradient norm of a
    saturated network is almost 0 at the image and large a little beside it.
    """
    rows = list(range(min(IMAGES, len(test))))
    images, labels = test.batch(rows, device=device)
    rises, found = {}, {}
    for name, network in networks.items():
        rises[name], norm, error = _steepness(network, images, labels, eps)
        measures = {"loss_rise": rises[name], "gradient_norm": norm, "linearity_error": error}
        found[name] = {measure: float(values.mean()) for measure, values in measures.items()}
    result = {**found, "n": len(rows), "eps": eps}
    if len(rises) == 2:
        clean, robust = rises.values()
        low, high = _bootstrap(np.stack([robust, clean], 1), seed, lambda pairs, axis: np.divide(*pairs.mean(axis).T))
        p = float(wilcoxon(robust, clean).pvalue) if (robust != clean).any() else 1.0
        result |= {"ratio": float(robust.mean() / clean.mean()), "low": low, "high": high, "p": p}
    return result


def _steepness(network, images, labels, eps):
    """Rise, gradient norm and linearity error of every image."""
    moved = FGSM(eps)(network, images, labels)

    def loss(x):
        return cross_entropy(network(x), labels, reduction="none")

    with no_trace(network, images.device), torch.enable_grad():
        x = images.detach().requires_grad_(True)
        start = loss(x)
        (gradient,) = torch.autograd.grad(start.sum(), x)
        with torch.no_grad():
            rise = loss(moved) - start
            linear = ((moved - images) * gradient).flatten(1).sum(1)
    values = rise, gradient.flatten(1).abs().sum(1), (rise - linear).abs()
    return tuple(value.detach().cpu().numpy() for value in values)


def _edges(images):
    gray = images.mean(1, keepdim=True)
    dy = torch.nn.functional.pad(gray[:, :, 1:] - gray[:, :, :-1], (0, 0, 0, 1))
    dx = torch.nn.functional.pad(gray[:, :, :, 1:] - gray[:, :, :, :-1], (0, 1))
    return avg_pool2d((dx**2 + dy**2).sqrt(), 3, 1, 1)


def _bootstrap(values, seed: int, statistic=np.mean, repeats: int = 2000):
    """Percentile bootstrap 95 % interval over images."""
    draws = torch.randint(len(values), (repeats, len(values)), generator=generator(seed, "bootstrap")).numpy()
    low, high = np.percentile(statistic(np.asarray(values)[draws], axis=1), [2.5, 97.5])
    return float(low), float(high)
