"""One member's verdict held against its truth, and the bars that all of them are measured by."""

import time
import traceback

import torch

import escrime

from .member import Kit, Member
from .truth import truth

TOO_HIGH = 0.05  # a false model may not be believed more than this above its truth
WITHIN_REACH = 0.10  # nor left more than this above it when not believed
EXACT = 0.01  # honest models
BARS = {
    "believed": "false models believed more than 5 points above the truth",
    "high": "not believed, but more than 10 points above the truth",
    "crash": "no verdict",
    "doubted": "honest models not believed, or not within 1 point of a strong attack",
}


def judged(member: Member, kit: Kit) -> dict:
    """The verdict of escrime.evaluate, with FGSM, PGD-20 and its defaults, beside the truth: one line of a table."""
    line = {"name": member.name, "family": member.family, "kind": member.kind, "eps": member.eps, "truth": truth(member, kit)}
    built = member.make(kit)
    images, labels = kit.judged(member)
    attacks = [escrime.FGSM(member.eps), escrime.PGD(member.eps, steps=20)]
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            found = escrime.evaluate({member.name: built.model}, (images, built.relabel(labels)), attacks)
            (verdict,) = found.verdicts
            line |= {key: getattr(verdict, key) for key in ("n", "clean", "believe", "accuracy", "low", "high", "sentence")}
            line |= {"alarms": _loud(found, "alarm"), "warnings": _loud(found, "warning"), "error": None}
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}".split("\n")[0]
            line["where"] = traceback.format_exc().strip().split("\n")[-3:]
    return line | {"seconds": round(time.perf_counter() - start, 1), "misses": misses(line)}


def _loud(found, severity: str) -> list[str]:
    """The ids of findings of this severity; those that a stronger attack has answered in brackets."""
    ids = [f"({f.id})" if f.answered else f.id for f in found.checks if f.severity == severity]
    return list(dict.fromkeys(ids))


def misses(line: dict) -> str | None:
    """The bar of BARS that a line fails, None for none."""
    if line["error"] is not None:
        return "crash"
    above = line["accuracy"] - line["truth"]
    if line["kind"] == "honest":
        return "doubted" if not line["believe"] or above > EXACT + 1e-9 else None
    if line["kind"] == "chance":
        return "believed" if line["believe"] and abs(above) > TOO_HIGH else "high" if abs(above) > WITHIN_REACH else None
    if line["believe"]:
        return "believed" if above > TOO_HIGH + 1e-9 else None
    return "high" if above > WITHIN_REACH + 1e-9 else None
