"""Points of kept curves, and how the page writes them."""


def fgsm(found: dict, subset: str | None, defense: str, threat: str) -> dict | None:
    """% right under FGSM of a kept run, or None."""
    wanted = {"subset": subset, "defense": defense, "threat": threat, "attack": "FGSM", "score": "correct"}
    return next((c for c in found["curves"] if all(c[name] == value for name, value in wanted.items())), None)


def at(curve: dict | None, eps: float) -> list | None:
    """[ε, share, low, high, n] of a curve at `eps`, or None."""
    return next((point for point in curve["points"] if abs(point[0] - eps) < 1e-6), None) if curve else None


def shown(share: float, low: float, high: float, n: int | None = None) -> str:
    """A share with its interval, in a sentence; n: of how many images, where the sentence does not say so itself."""
    return f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}{'' if n is None else f'; n = {n}'}]"


def percent(point: list | None) -> str:
    """A point in a sentence."""
    return "– (not measured)" if point is None else shown(*point[1:5])


def cell(point: list | None) -> str:
    """A point in a table, in percent, with its interval and n."""
    if point is None:
        return "–"
    _, share, low, high, n = point
    return f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}], n = {n}"
