"""What uniform noise proves: the radius within which no perturbation at all changes the majority vote.

Sources: Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized smoothing (the procedure);
Yang et al. (2020), Randomized smoothing of all shapes and sizes (uniform noise and l1).

Why. Let P(x) be the probability that the model predicts class c on x + uniform noise on [-ε, ε]^d, a cube of side 2ε. The cubes
around x and x + δ share the fraction O = Π(1 − |δᵢ|/2ε) of their volume, and at worst every point that is lost is a c and every
point that is gained is none: P(x + δ) ≥ P(x) − (1 − O). Class c keeps the majority while that exceeds 1/2.
  l1:    O ≥ 1 − ‖δ‖₁/2ε (a product of numbers in [0, 1] is at least 1 minus what they lack), so ‖δ‖₁ < 2ε (P − 1/2).
  l_inf: O is least with every |δᵢ| = r, where O = (1 − r/2ε)^d, so r < 2ε (1 − (3/2 − P)^(1/d)).
The l1 radius does not depend on d. The l_inf radius falls like 1/d: on images of ordinary size it is nothing.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, log2
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import beta, binomtest
from torch import Tensor, nn

from ..budgets import eps_text, epsilon
from ..checks import check_images, check_labels
from ..defenses import MajorityVote
from ..errors import EscrimeError, not_finite
from ..models.adapted import in_its_precision
from ..models.running import Batches, check_logits, no_trace, passes_per_image
from ..randomness import as_keys, derive, row_keys, uniform_noise
from ..results.statistics import wilson
from ..validation import check_real, check_whole

ABSTAIN = -1
LARGEST = {"l1": inf, "linf": 1.0}  # radius of the norms that the certificate is for
BLOCK = 16  # draws of one image that share a key: part of what is drawn, so not a setting


@dataclass(frozen=True)
class Certificate:
    """What `certify` proves: within which radius no perturbation changes the vote over all noise, which a MajorityVote of a few
    copies only estimates.

    Args:
        table: one row per image: `image` (its id), `prediction` (−1: abstains), `p_lower` (lower confidence bound on the
            probability of the class tried, also where it abstains), `l1_radius` and `linf_radius` (0 where it abstains; no
            perturbation shorter than that changes the prediction), and, if labels were given, `label` and `correct`.
        eps_max: the radius of the noise, as a fraction of the color range.
        samples: noise draws behind each bound.
        selection: noise draws that picked each class.
        confidence: of each image's certificate alone.
        dimension: numbers in one image, C·H·W.
    """

    table: pd.DataFrame
    eps_max: float
    samples: int
    selection: int
    confidence: float
    dimension: int

    def summary(self, radii: float | str | Sequence[float | str], norm: str = "l1", interval: float = 0.95) -> pd.DataFrame:
        """Certified accuracy: the share of images that are predicted correctly at every perturbation with ‖δ‖ ≤ radius.

        Args:
            radii: one or several, as fractions of the color range or such as "8/255".
            norm: "l1" or "linf".
            interval: the confidence of the intervals.

        Returns:
            A table of radius, accuracy, n, low, high, the last two of the Wilson interval.

        Raises:
            EscrimeError: for a radius that is no distance, another norm, or a certificate without labels.
        """
        if norm not in LARGEST:
            raise EscrimeError(f"norm {norm!r} has no certificate here; use {' or '.join(map(repr, LARGEST))}.")
        if "correct" not in self.table:
            raise EscrimeError("certified accuracy needs the labels; give them to certify.")
        right, reach = self.table["correct"].to_numpy(), self.table[f"{norm}_radius"].to_numpy()
        rows, n = [], len(right)
        for radius in np.atleast_1d(np.asarray(radii)).tolist():
            radius = epsilon(radius, LARGEST[norm]) if isinstance(radius, str) else radius
            if not radius >= 0:
                raise EscrimeError(f"radius = {radius!r} is no distance; give numbers ≥ 0.")
            count = int((right & (reach > radius)).sum())
            rows.append((radius, count / n, n, *wilson(count, n, interval)))
        return pd.DataFrame(rows, columns=["radius", "accuracy", "n", "low", "high"])

    def sentence(self) -> str:
        """What the certificate is worth, in numbers, and what it is not."""
        kept = self.table["prediction"] != ABSTAIN
        counted = (
            f"Of {len(kept)} images, {int(kept.sum())} have a certified prediction (each at {self.confidence:.4g} confidence)"
        )
        if not kept.any():
            return counted + "."
        l1, linf = (float(self.table.loc[kept, f"{norm}_radius"].median()) for norm in LARGEST)
        best = float(self.table["linf_radius"].max())
        if 255 * best < 1:
            worth = f"at most {255 * best:.2g}/255, less than one gray level: as a certificate, nothing"
        else:
            worth = f"at most {255 * best:.2g}/255"
        return (
            f"{counted}; their median radius is {l1:.3g} in l1 (the sum of all changes to {self.dimension:,} numbers, "
            f"each from 0 to 1), and in l_inf {255 * linf:.2g}/255, {worth}."
        )


def certify(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps_max: float | str | None = None,
    samples: int = 1000,
    selection: int = 100,
    confidence: float = 0.999,
    seed: int = 0,
    ids: Iterable[Hashable] | None = None,
) -> Certificate:
    """Certify the majority vote of `model` under uniform noise of radius `eps_max` (Cohen et al., 2019, CERTIFY).

    `selection` draws pick a class, `samples` fresh ones bound its probability from below (Clopper–Pearson, one-sided); a
    bound of at most 1/2 abstains. The radius in l1 is 2·eps_max·(p − 1/2), and in l_inf 2·eps_max·(1 − (1.5 − p)^(1/d)).

    In l_inf this proves nothing at image size: 0.0007/255 for p = 0.999, eps_max = 0.3 and 3×224×224. For the paper's
    attacker, in l_inf, attacks remain the measure.

    The proof is in real numbers: float32 rounding is outside it (Voráček and Hein, 2022, Sound randomized smoothing).

    Args:
        model: the undefended classifier, or a MajorityVote, whose network and eps_max are then taken.
        images: (N, C, H, W) in [0, 1].
        labels: (N,), for certified accuracy.
        eps_max: the radius of the noise, a fraction of the color range or such as "8/255".
        samples: noise draws that bound the probability of the class.
        selection: noise draws that pick it.
        confidence: of each image's certificate alone, so among n images up to (1 − confidence)·n are expected to be wrong.
        seed: with the ids the key of the noise, whatever the batch or order.
        ids: (N,) of the images, by default their positions.

    Returns:
        The radii of every image.

    Raises:
        EscrimeError: for input outside the contract, and for so few samples that nothing could be certified.
    """
    images, model, eps_max = _checked(model, images, eps_max)
    samples, selection = check_whole("samples", samples, of="draws"), check_whole("selection", selection, of="draws")
    confidence = _confidence(confidence)
    unanimous = float(clopper_pearson(samples, samples, confidence))
    if unanimous <= 0.5:
        need = int(-log2(1 - confidence)) + 1
        raise EscrimeError(
            f"samples = {samples} certify nothing at confidence {confidence:g}: even a unanimous vote proves only "
            f"p ≥ {unanimous:.2g}; give at least {need}, better 1000."
        )
    ids = _names(ids, len(images))
    labels = None if labels is None else check_labels(labels, len(images)).cpu()
    with torch.no_grad(), no_trace(model, images.device):
        classes = _classes(model, images)
        if labels is not None:
            check_labels(labels, len(images), classes)
        picked = _votes(model, images, eps_max, selection, classes, ids, seed, "selection").argmax(1)
        votes = _votes(model, images, eps_max, samples, classes, ids, seed, "estimation")
    p = clopper_pearson(votes.gather(1, picked[:, None]).squeeze(1).numpy(), samples, confidence)
    dimension = images[0].numel()
    prediction = np.where(p > 0.5, picked.numpy(), ABSTAIN)
    table = {"image": list(ids), "prediction": prediction, "p_lower": p}
    table |= {"l1_radius": l1_radius(p, eps_max), "linf_radius": linf_radius(p, eps_max, dimension)}
    if labels is not None:
        table |= {"label": labels.numpy(), "correct": prediction == labels.numpy()}
    return Certificate(pd.DataFrame(table), eps_max, samples, selection, confidence, dimension)


def predict(
    model: nn.Module,
    images: Tensor,
    *,
    eps_max: float | str | None = None,
    samples: int = 1000,
    confidence: float = 0.999,
    seed: int = 0,
    ids: Iterable[Hashable] | None = None,
) -> Tensor:
    """The majority vote, int64 (N,), or −1 where the first class is not ahead of the second beyond chance.

    A prediction that is not the true majority comes with probability ≤ 1 − confidence (Cohen et al., 2019, PREDICT: a
    two-sided binomial test between the two classes).

    Args:
        model: as for `certify`, like all that follow.
        images: (N, C, H, W) in [0, 1].
        eps_max: the radius of the noise.
        samples: noise draws.
        confidence: of each prediction.
        seed: with the ids the key of the noise.
        ids: (N,) of the images.

    Returns:
        The predictions, int64 (N,).

    Raises:
        EscrimeError: for input outside the contract.
    """
    images, model, eps_max = _checked(model, images, eps_max)
    samples, ids = check_whole("samples", samples, of="draws"), _names(ids, len(images))
    alpha = 1 - _confidence(confidence)
    with torch.no_grad(), no_trace(model, images.device):
        votes = _votes(model, images, eps_max, samples, _classes(model, images), ids, seed, "prediction")
    ranked = votes.sort(dim=1, descending=True).values.tolist()
    ahead = [binomtest(row[0], sum(row[:2])).pvalue <= alpha for row in ranked]
    return torch.where(torch.tensor(ahead), votes.argmax(1), ABSTAIN)


def clopper_pearson(successes: ArrayLike, n: int, confidence: float) -> np.ndarray:
    """The exact one-sided lower confidence bound of a proportion: the p at which ≥ `successes` of `n` are this unlikely.

    Source: Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the case of the binomial.
    """
    k = np.asarray(successes, dtype=float)
    return np.where(k > 0, beta.ppf(1 - confidence, np.maximum(k, 1), n - k + 1), 0.0)


def l1_radius(p: ArrayLike, eps_max: float) -> np.ndarray:
    """2 ε_max (p − 1/2), or 0 for p ≤ 1/2: where the majority holds in l1 if its probability is at least `p`."""
    return 2 * eps_max * np.maximum(np.asarray(p, dtype=float) - 0.5, 0)


def linf_radius(p: ArrayLike, eps_max: float, dimension: int) -> np.ndarray:
    """2 ε_max (1 − (3/2 − p)^(1/d)), or 0 for p ≤ 1/2: the same in l_inf, for images of `dimension` numbers."""
    short = 1 - np.maximum(np.asarray(p, dtype=float) - 0.5, 0)
    return -2 * eps_max * np.expm1(np.log(short) / dimension)  # expm1: at d = 150,528 the difference from 1 is all there is


def _classes(model: nn.Module, images: Tensor) -> int:
    with row_keys([("classes",)]):
        return check_logits(model(images[:1].clone()), images[:1]).shape[1]


def _votes(
    model: nn.Module, images: Tensor, eps_max: float, draws: int, classes: int, ids: tuple, seed: int, purpose: str
) -> Tensor:
    """How often each class is predicted over `draws` noisy copies of each image, int64 (N, classes) on the CPU.

    A job is BLOCK draws of one image, keyed by (seed, id, purpose, block). Of the last block some draws may be surplus.
    """
    keys = as_keys([(seed, name, "certify", purpose) for name in ids])
    blocks = -(-draws // BLOCK)
    votes = torch.zeros(len(images), classes, dtype=torch.int64)

    def part(rows: slice) -> None:
        job = torch.arange(rows.start, rows.stop)
        image, block = job // blocks, job % blocks
        clean, noise_key = images[image.to(images.device)], derive(keys[image], block)
        copies = clean[None] + eps_max * uniform_noise(clean, BLOCK, noise_key)
        copy = torch.arange(BLOCK)[:, None].expand(BLOCK, len(job))
        own = derive(noise_key.repeat(BLOCK), copy.flatten())  # for a model with noise of its own
        with row_keys(own):
            logits = check_logits(model(copies.flatten(0, 1)), copies.flatten(0, 1))
        predicted = logits.argmax(1).unflatten(0, (BLOCK, -1)).cpu()
        finite = logits.isfinite().all(dim=1).unflatten(0, (BLOCK, -1)).all(dim=0).cpu()
        if not finite.all():
            name = ids[int(image[~finite][0])]
            raise EscrimeError(not_finite(name, "with noise, which may leave the range it expects", "that is no vote"))
        counts = block * BLOCK + copy < draws
        votes.index_put_((image.expand_as(predicted)[counts], predicted[counts]), torch.tensor(1), accumulate=True)

    Batches.of(images, BLOCK * passes_per_image(model)).map(part, len(images) * blocks)
    return votes


def _checked(model: nn.Module, images: Tensor, eps_max: Any) -> tuple[Tensor, nn.Module, float]:
    """The images, the network under the vote, and ε_max."""
    images = check_images(images).detach()
    if not len(images):
        raise EscrimeError("images hold no image; give at least one.")
    if isinstance(model, MajorityVote):
        given = model.eps_max if eps_max is None else epsilon(eps_max)
        if given != model.eps_max:
            raise EscrimeError(
                f"eps_max = {eps_text(given)}, but the MajorityVote draws noise of radius {eps_text(model.eps_max)}; "
                "leave eps_max out."
            )
        eps_max, model = given, model.undefended
    if eps_max is None:
        raise EscrimeError("eps_max is missing: give the radius of the noise, such as 0.3, or a MajorityVote.")
    eps_max = epsilon(eps_max)
    if eps_max == 0:
        raise EscrimeError("eps_max = 0 is no noise and certifies nothing; give a radius > 0, such as 0.3.")
    return images, cast(nn.Module, in_its_precision(model)), eps_max


def _confidence(value: object) -> float:
    return check_real("confidence", value, above=0, below=1, hint="such as 0.999 for one wrong in a thousand")


def _names(ids: Iterable[Hashable] | None, count: int) -> tuple:
    ids = tuple(range(count)) if ids is None else tuple(ids)
    if len(ids) != count:
        raise EscrimeError(f"ids name {len(ids)} images, but {count} were given; give one id per image.")
    return ids
