"""Claim C11 needs more than accuracies: does the pattern of DGSM's perturbation show features of the image?"""

from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ...attacks.dgsm import DGSM
from ...data import ImageSet
from ...data.sampling import evenly
from ...results.statistics import bootstrap

IMAGES = 64  # images behind the measure
PATTERN_EPS = 0.2


def a_few(test: ImageSet, count: int, seed: int, without: int | None = None) -> list[int]:
    """The rows of `count` images, evenly over the classes but for `without`; the first ones may all be of one class."""
    rows = np.flatnonzero(test.labels != (-1 if without is None else without))
    return rows[evenly(count, seed, [test.ids[row] for row in rows], test.labels[rows], test.classes)].tolist()


def pattern_shows_features(network: nn.Module, test: ImageSet, dgsm: DGSM, seed: int, device: torch.device) -> dict | None:
    """C11: rank correlation of |δ| with the image's edges, against the edges of other images.

    δ is the perturbation of `dgsm` at ε = 0.2, |δ| its mean over channels smoothed by 3×3; edges are the gradient magnitude of
    the grey image, smoothed alike. `value` is the mean over images of (own correlation − mean correlation with the
    other images), with a bootstrap 95 % interval; `reference` is the mean own correlation. A pattern that ignores the
    image scores 0.
    """
    rows = a_few(test, IMAGES, seed, without=dgsm.target)
    if len(rows) < 8:
        return None
    images, labels = test.batch(rows, device=device)
    delta = replace(dgsm, eps=PATTERN_EPS)(network, images, labels, seed=seed, ids=[test.ids[i] for i in rows]) - images
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
    low, high = bootstrap(own - others, seed)
    return {
        "measure": "Spearman correlation of |δ| (DGSM, ε = 0.2) with the image's edges, minus that with other images' edges",
        "value": float((own - others).mean()),
        "low": low,
        "high": high,
        "n": n,
        "reference": float(own.mean()),
    }


def _edges(images: Tensor) -> Tensor:
    gray = images.mean(1, keepdim=True)
    dy = torch.nn.functional.pad(gray[:, :, 1:] - gray[:, :, :-1], (0, 0, 0, 1))
    dx = torch.nn.functional.pad(gray[:, :, :, 1:] - gray[:, :, :, :-1], (0, 1))
    return avg_pool2d((dx**2 + dy**2).sqrt(), 3, 1, 1)
