"""How far the attacks that were asked for were from the best that is known for the same images: in accuracy, loss and ε."""

import torch

from ...attacks.fmn import FMN
from ...models.deadline import as_time_allows
from ...results.checks.counting import FEWEST
from ...results.findings import Finding
from ..profile import Profile
from .registry import attack_check
from .search import Earlier, Search

STEPS = 50
SAME = 0.005  # of the accuracy: what an unaware evaluation may be off without a word


@attack_check(10)
def attack_quality(search: Search, profile: Profile) -> list[Finding]:
    """A finding on the images of `search`, after all that it tried; [] where nothing is known of the attacks asked for."""
    asked, n = search.asked, len(search.left)
    if asked is None or not n:
        return []
    first, best = float(asked.left.mean()), search.accuracy
    evidence = {"images": n, "eps": search.eps, "asked for leave": round(first, 4), "best leaves": round(best, 4)}
    stand = (asked.left > 0.5) & (search.left > 0.5)
    if stand.any() and not search.randomized:
        # −log p of the label, on the images that neither could fool.
        losses = [
            float(-sure[stand].clamp_min(1e-12).log().mean()) for sure in (asked.sure, torch.minimum(asked.sure, search.sure))
        ]
        evidence |= {"stand": int(stand.sum()), "loss asked for": round(losses[0], 4), "loss of the best": round(losses[1], 4)}
    if not profile.blind and not search.randomized and search.total >= FEWEST:  # a median of fewer would say nothing
        evidence |= _nearest(search, asked)
    off = first - best
    if off * n < 0.5 or off < SAME:
        return [
            Finding("attack-quality", "passed", f"The attacks asked for were as good as the best tried ({n} images)", evidence)
        ]
    message = f"An evaluation by the attacks asked for alone would be {100 * off:.1f} points too high ({n} images)"
    remedy = "Read the verdict's number; ask for AutoAttack to come close to it without the checks."
    return [Finding("attack-quality", "note", message, evidence, remedy)]


def _nearest(search: Search, asked: Earlier) -> dict:
    """The median ε that fools an image: of the grid that was asked for, and of the nearest example that FMN finds."""
    found: dict = {}
    with as_time_allows("the nearest examples"):
        try:
            away, right = search.distances("nearest", FMN(norm=search.norm, steps=STEPS))
        except Exception:  # noqa: BLE001  one more number, and no verdict hangs on it
            return {}
        nearest = torch.where(right < 0.5, away.double(), torch.inf).median()
        grid = asked.eps.median()
        found = {
            f"median ε, {who}": round(float(v), 6) for who, v in (("asked for", grid), ("nearest", nearest)) if v.isfinite()
        }
    return found
