"""The paper's own numbers for Wide ResNet-50-2, read from its published figures: 50 images, so one image is 2 points.

Shares in percent by ε; an ε that could not be read is absent.
Source: Donoghue, Lines, Pereira (2020), figures 3, 5, 6, 7.
"""

FGSM, DGSM = "FGSM", "DGSM"  # what the paper's two attacks are called in records; its figures and claims ask for these
NETWORK = "wide_resnet50_2"
IMAGES = 50

_FGSM_EPS = (0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.225, 0.25, 0.275, 0.3)
_FGSM = {
    "none": (98, 42, 54, 56, 58, 58, 58, 46, 44, 38, 34, 22),
    "ppa": (94, 86, 80, 74, 70, 62, 58, 50, 46, 42, 38, 24),
    "adversarial-training": (94, 78, 58, 42, 32, 26, 26, 22, 22, 20, 20, 16),
}
# At or above ε = 0.013 the undefended curve stays at 100 % until the sweep ends at 0.015.
_DGSM_EPS = (0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.010, 0.011, 0.012, 0.013, 0.014, 0.015)
_DGSM = {
    "none": (12, 12, 12, 12, 32, 24, 14, 52, 96, 94, 92, 98, 100, 100, 100),
    "ppa": (12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 14, 12, 12, 12),
}

# % correct under FGSM and % called the target (English springer) under DGSM, per defense.
POINTS: dict[str, dict[str, dict[float, float]]] = {
    FGSM: {defense: dict(zip(_FGSM_EPS, values, strict=True)) for defense, values in _FGSM.items()},
    DGSM: {defense: dict(zip(_DGSM_EPS, values, strict=True)) for defense, values in _DGSM.items()},
}
# The last ε of the paper's sweeps.
LAST_EPS = {FGSM: 0.3, DGSM: 0.015}


def paper_points(network: str | None, attack: str, defense: str, last_eps: float) -> dict[float, float]:
    """The points that belong beside a sweep up to `last_eps` of a network in the place of `network`: {} over any other than
    the one the paper attacked, and where its sweep would be squeezed into a corner of this one."""
    points = POINTS.get(attack, {}).get(defense, {}) if network == NETWORK else {}
    if not points or max(points) < last_eps / 4:
        return {}
    return {eps: share for eps, share in points.items() if eps <= last_eps * 1.001}
