"""What the paper says / what we measured / the verdict: claims C1–C12 for every model and every way to count."""

from ..run import Run
from . import analysis, attacks, defenses
from .evidence import Claim, Evidence

CLAIMS: tuple[Claim, ...] = (*attacks.CLAIMS, *defenses.CLAIMS, *analysis.CLAIMS)

PUBLISHED = {"googlenet_bvlc": "googlenet"}  # architectures that are a network of the paper as it was first published


def judge(run: Run) -> list[dict]:
    """One row per (claim, model, subset), in the paper's order, ready for JSON.

    Keys: id, model, subset (None when there is one way to count), stand_in, claim, paper, measured, value, low, high,
    n, eps, attack, defense, threat, verdict, why, adaptive. Shares are fractions of 1; what was not measured is None.
    `adaptive` holds the same defense under the attack that knows it, or None. The evaluation of a model that is not one of
    the paper's experiments has none.
    """
    rows = []
    for claim in CLAIMS if run.manifest.get("kind", "experiment") == "experiment" else ():
        for model in run.models:
            network = run.stands_for(model)
            version = claim.version(network)
            if version is None:
                continue
            for subset in run.subsets if claim.per_subset else [None]:
                finding = version.judge(Evidence(run, model, subset))
                rows.append(
                    {
                        "id": claim.id,
                        "model": model,
                        "subset": subset,
                        "stand_in": network is None or PUBLISHED.get(run.arch(model), run.arch(model)) != network,
                    }
                    | {"claim": version.text, "paper": version.value}
                    | finding.as_row()
                )
    return rows


__all__ = ["CLAIMS", "judge"]
