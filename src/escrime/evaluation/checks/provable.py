"""What averaging over uniform noise can prove, in plain words: something in l1, nothing in l_inf at the size of an image."""

from torch import Tensor

from ...models.running import Classifier, passes_per_image
from ...results.findings import Finding
from ..certificate import clopper_pearson, l1_radius, linf_radius
from .registry import model_check

DRAWS, CONFIDENCE = 1000, 0.999  # of `certify`, by default
GRAY_LEVEL = 1 / 255


@model_check(10)
def certificate_findings(model: Classifier, images: Tensor) -> list[Finding]:
    """The largest radii that a majority vote over the noise of `model` (one with an `eps_max`) could have certified on
    `images` (N, C, H, W), if every draw agreed; [] for any other model."""
    eps_max, dimension = getattr(model, "eps_max", None), images[0].numel()
    if not isinstance(eps_max, float) or eps_max <= 0 or passes_per_image(model) < 2:
        return []
    chance = float(clopper_pearson(DRAWS, DRAWS, CONFIDENCE))
    l1, linf = float(l1_radius(chance, eps_max)), float(linf_radius(chance, eps_max, dimension))
    worth = "which proves nothing" if linf < GRAY_LEVEL else f"{linf / GRAY_LEVEL:.1f} of 255 gray levels"
    vote = "The" if getattr(model, "defense", "") == "vote" else "Even the hard-vote variant's"
    return [
        Finding(
            "certificate",
            "note",
            f"{vote} certificate is for l1, up to {l1:.3g}; for l_inf it ends at {255 * linf:.2g}/255, {worth}",
            {"l1 radius": l1, "l_inf radius": linf, "ε_max": eps_max, "dimension": dimension, "draws": DRAWS},
            "Certify with escrime.certify(model, images, labels); against l_inf, believe attacks that know the defense.",
        )
    ]
