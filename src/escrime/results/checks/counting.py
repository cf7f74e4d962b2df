"""Checks of what is counted: verified examples, 8-bit images, the number of images, and images seen in training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...budgets import eps_text
from ...no_class import NO_CLASS, NO_TARGET
from ...norms import norm
from ..findings import Finding
from ..keys import joined
from ..records import WORST, in_subset, never_attacked, subset_names, with_preliminary, worst_case
from ..statistics import wilson
from .curves import Curve, per_case
from .registry import record_check

SAVED = 0.95  # share of the successes that survive rounding to 8 bits
WIDE, WIDER, USELESS = 0.05, 0.1, 0.2  # half-widths of the 95 % interval
FEWEST = 20  # images below which a share means nothing, however narrow its interval
DISCORDANT = 6  # the fewest images that must differ, all one way, for an exact test to show it: 2 · 2⁻⁶ < 0.05

# Half-width of the interval, n, accuracy, subset (None: all images), and (model, defense, threat level).
Headline = tuple[float, int, float, str | None, tuple[str, str, str]]


@record_check(80)
def unverified(curves: list[Curve]) -> list[Finding]:
    """Every attacked image in the box and within ε."""
    tried = [(c, pd.concat(list(c.at.values()))) for c in curves]
    tried = [(c, rows[~never_attacked(rows)]) for c, rows in tried]
    fired = [(c, ~rows["verified"].to_numpy(bool)) for c, rows in tried]
    total = sum(len(broken) for _, broken in fired)

    def describe(rows: list[tuple[Curve, np.ndarray]]) -> Finding:
        bad, all_rows = sum(int(broken.sum()) for _, broken in rows), sum(len(broken) for _, broken in rows)
        return Finding(
            "unverified",
            "warning",
            f"Only {all_rows - bad:,} of {all_rows:,} attacked images are inside the box and within ε; the other {bad:,} are "
            "counted as not attacked",
            {c.attack: {"broken": int(broken.sum()), "images": len(broken)} for c, broken in rows},
            "Let the attack project its result into [0, 1] and the ball of radius ε; as it is, it looks weaker than it is.",
            **rows[0][0].about,
        )

    message = f"{total:,} of {total:,} attacked images are inside the box and within ε, checked independently"
    return per_case([row for row in fired if row[1].any()], describe) or [
        Finding("unverified", "passed", message, {"images": total})
    ]


@record_check(110)
def attack_failed(curves: list[Curve], reasons: dict[str, str]) -> list[Finding]:
    """Attacks that raised on the model, so that its images count as not attacked by them."""
    failing = [(c, never_attacked(pd.concat(list(c.at.values())))) for c in curves]

    def describe(rows: list[tuple[Curve, pd.Series]]) -> Finding:
        names = {
            c.attack: {"images": int(failed.groupby(level=0).any().sum()), "reason": _reason(c, reasons)} for c, failed in rows
        }
        return failed_attacks(names, **rows[0][0].about)[0]

    return per_case([row for row in failing if row[1].any()], describe)


def failed_attacks(failed: Mapping[str, dict[str, Any]], **about: Any) -> list[Finding]:
    """The finding of attacks that ended by an exception, [] where none did.

    Args:
        failed: Name of an attack → {"images": how many, "reason": what was raised, "" where that is not known}.
        **about: The case, see Finding.
    """
    listed = "; ".join(
        f"{name} on {n['images']} images" + f" ({n['reason']})" * bool(n["reason"]) for name, n in failed.items()
    )
    if not failed:
        return []
    return [
        Finding(
            "attack-failed",
            "warning",
            f"Attacks that raised on this model count as not run: {listed}",
            dict(failed),
            "Mend what the model raises there, or leave that attack out; the numbers are those of the other attacks.",
            **about,
        )
    ]


def _reason(curve: Curve, reasons: dict[str, str]) -> str:
    return reasons.get(joined((curve.model, curve.defense, curve.threat, curve.attack)), "")


@record_check(120)
def non_finite(records: pd.DataFrame) -> list[Finding]:
    """Outputs that were NaN or infinite: no prediction, and counted as not right."""
    found = []
    for (model, defense), own in records.groupby(["model", "defense"], sort=False):
        clean, moved = own["clean_prediction"] == NO_CLASS, (own["prediction"] == NO_CLASS) & (own["eps"] > 0)
        if not (clean | moved).any():
            continue
        counts = {"clean images": int(own.loc[clean, "image"].nunique())}
        counts |= {attack: int(rows["image"].nunique()) for attack, rows in own[moved].groupby("attack", sort=False)}
        listed = ", ".join(
            f"{n} images under {name}" if name != "clean images" else f"{n} {name}" for name, n in counts.items()
        )
        found.append(
            Finding(
                "non-finite",
                "alarm",
                f"The logits are NaN or infinite for {listed}: that is no verdict, and counted as not right",
                {"images": int(own["image"].nunique()), **counts},
                "Mend the model first: look for an overflow, a logarithm of 0 or 0/0.",
                model=str(model),
                defense=str(defense),
            )
        )
    return found


@record_check(90)
def lost_in_8_bits(curves: list[Curve]) -> list[Finding]:
    """Successful examples that survive being saved as an 8-bit image."""
    found: dict[tuple[str, float], list[np.ndarray]] = {}  # norm, ε → which of the successes survive
    for curve in curves:
        for eps, rows in curve.at.items():
            aimed = rows["target"] != NO_TARGET
            fooled = np.where(aimed, rows["prediction"] == rows["target"], rows["prediction"] != rows["label"])
            before = np.where(
                aimed, rows["clean_prediction"] == rows["target"], rows["clean_prediction"] != rows["label"]
            )  # what was so without an attack is no success of one
            fooled = fooled.astype(bool) & ~before.astype(bool) & (rows["distance"].to_numpy() > 0)
            if fooled.any():
                found.setdefault((curve.norm, eps), []).append(rows["survives_8bit"].to_numpy(bool)[fooled])
    if not found:
        return []
    kept = {which: np.concatenate(parts) for which, parts in sorted(found.items())}
    everything = np.concatenate(list(kept.values()))
    several = len({name for name, _ in kept}) > 1
    shares = {
        (norm(name).named(eps) if several else eps_text(eps, norm(name).per_value)): round(float(part.mean()), 4)
        for (name, eps), part in kept.items()
    }
    evidence = {"successful": len(everything), "survive": int(everything.sum()), "share by eps": shares}
    counts = f"{int(everything.sum()):,} of {len(everything):,} successful adversarial images ({everything.mean():.1%})"
    if everything.mean() >= SAVED:
        message = f"{counts} still succeed after rounding to 8 bits, as a saved file would be"
        return [Finding("lost-in-8-bits", "passed", message, evidence)]
    name, eps = min(kept, key=lambda which: kept[which].mean())
    where = f"; the smallest share is that at {norm(name).said(eps)}: {kept[name, eps].mean():.1%}" if len(kept) > 1 else ""
    succeed = f"{counts} still succeed"
    if not everything.any():
        succeed, where = f"None of the {len(everything):,} successful adversarial images still succeeds", ""
    return [
        Finding(
            "lost-in-8-bits",
            "note",
            f"{succeed} after rounding to 8 bits, as a saved file would be{where}",
            evidence,
            "The numbers hold for float images; an attack on files needs a larger ε, or to round inside the attack.",
        )
    ]


@record_check(130)
def few_images(records: pd.DataFrame) -> list[Finding]:
    """How far the number of images leaves each headline, the worst case over attacks, undecided."""
    found: list[Headline] = []
    for subset in subset_names(records):
        rows = in_subset(with_preliminary(records), subset)
        rows = worst_case(rows[~rows["attack"].str.startswith(WORST)])
        for case, own in rows[rows["eps"] > 0].groupby(["model", "defense", "threat"], sort=False):
            groups = [part["correct"] for _, part in own.groupby(["norm", "eps"])]
            n = max(map(len, groups))
            accuracy = min((float(g.mean()) for g in groups if len(g) == n), key=lambda share: abs(share - 0.5))
            model, defense, threat = map(str, case)
            found.append((half_width(accuracy, n), n, accuracy, subset, (model, defense, threat)))
    if not found:
        return []
    wide = [row for row in found if row[0] > WIDER or row[1] < FEWEST]

    def hardest(rows: list[Headline]) -> Headline:
        return max(rows, key=lambda row: (useless(*row[:2]), row[0]))

    worst = {case: hardest([row for row in wide if row[4] == case]) for case in dict.fromkeys(row[4] for row in wide)}
    # Those that are wider than the others speak for themselves, and so do those that alone are good for nothing.
    if len(wide) < len(found) or len({useless(*row[:2]) for row in worst.values()}) > 1:
        each = [_few(*row[:4]).of(*case) for case, row in worst.items()]
        rest = [row for row in found if row not in wide]
        return [*each, *([_few(*hardest(rest)[:4])] if rest else [])]
    return [_few(*hardest(found)[:4])]


def useless(half: float, n: int) -> bool:
    """Whether a share of `n` images with a 95 % interval of ± `half` is good for nothing; short of that see the interval."""
    return n < FEWEST or half > USELESS


def too_few(verdict_n: int, low: float, high: float, findings: list[Finding], subset: str) -> bool:
    """Whether a headline over `verdict_n` images, or another of the same case in the same subset, has too few of them."""
    warned = (f for f in findings if f.id == "few-images" and f.severity == "warning")
    return useless((high - low) / 2, verdict_n) or any(f.evidence.get("subset", "") == subset for f in warned)


def _few(half: float, n: int, accuracy: float, subset: str | None) -> Finding:
    enough = images_for(WIDE, accuracy)
    where = f"n = {n}{f' {subset} images' if subset else ''}: ±{100 * half:.1f} points at {accuracy:.1%}"
    evidence: dict[str, float | str] = {
        "n": n,
        "accuracy": round(accuracy, 4),
        "half-width of the 95% interval": round(half, 4),
        "n for ±5 points": enough,
    }
    evidence |= {"subset": subset} if subset else {}
    if half <= WIDE and not useless(half, n):
        return Finding("few-images", "passed", f"{where}, the widest interval of a headline", evidence)
    least = DISCORDANT / n
    return Finding(
        "few-images",
        "warning" if useless(half, n) else "note",
        f"{where}; even paired, differences below {100 * min(least, 1):.1f} points ({DISCORDANT} images) cannot be told apart",
        evidence,
        f"Use n ≥ {enough} for ±5 points.",
    )


def half_width(accuracy: float, n: int) -> float:
    low, high = wilson(accuracy * n, n)
    return (high - low) / 2


def images_for(half: float, accuracy: float) -> int:
    """The smallest n whose interval at `accuracy` is no wider than ±half."""
    n = 1
    while half_width(accuracy, n) > half:
        n += 1
    return n


@record_check(140)
def imagenet_leak(records: pd.DataFrame) -> list[Finding]:
    """Imagenette's val images, which networks pre-trained on ImageNet have seen."""
    names = subset_names(records)
    imagenette = "leak-free" in names or records["image"].str.contains(r"n\d{8}/", regex=True).any()
    if "val" not in names or not imagenette:
        return []
    clean: dict[str, float] = {}
    for subset in (name for name in ("val", "leak-free") if name in names):
        rows = in_subset(records, subset).drop_duplicates(["model", "defense", "image"])
        right = (rows["clean_prediction"] == rows["label"]).groupby([rows["model"], rows["defense"]]).mean()
        clean |= {f"{model}, {defense}, {subset}": round(float(share), 4) for (model, defense), share in right.items()}
    return [
        Finding(
            "imagenet-leak",
            "note",
            "3,791 of Imagenette's 3,925 val images (96.6%) are ImageNet training images: a network pre-trained on ImageNet "
            "has seen them",
            {"clean accuracy": clean},
            "Quote the leak-free images beside val." if "leak-free" in names else "Evaluate on the leak-free images too.",
        )
    ]
