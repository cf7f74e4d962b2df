"""The result of `escrime evaluate`: the same as a table, as sentences and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from ...budgets import same
from ...errors import listing
from ...evaluation.budget import in_words, judged_by_all, left_open, open_checks
from ...norms import norm
from ...norms.patch import Patch
from ...report.formatting import fraction_text
from ...report.validity import CHECKS, read_verdicts
from ...results.comparisons import clearly_weaker, per_class
from ...results.crossings import crossings
from ...results.deployment import deployment
from ...results.findings import read_findings
from ...results.manners import UNIVERSAL
from ...results.names import AS_TRANSFER, mask_in_words
from ...results.records import STRONGER, WORST, in_subset, read_deployed, read_records, summarize, worst_case
from ...results.statistics import p_text, share_text, total, wilson
from ...results.threats import DEPLOYED, WHITE_BOX
from ...results.union import ThreatRow, unions
from ...results.verdicts import Verdict
from ..shared.perturbations import pictures
from ..shared.store import FolderStore
from ..shared.threats import Threat
from .assessment import Assessment

WEAKEST = 5  # classes
LEFT_OPEN = "Left open to keep within the time"  # of which each check has its share, so that some may be left in the end
NUMBERS = ("n", "accuracy", "low", "high")


def result(run: Assessment) -> dict:
    """JSON values: the request, clean and robust accuracy at the headline ε with their 95 % intervals, every attack at every
    ε, the weakest classes and whether each is so beyond chance, the verdict of the checks, and how many images the time has
    left open. Of several threats robust accuracy is their union's, and `threats` lists each, the cheapest first."""
    judged = [Verdict(**verdict) for verdict in read_verdicts(run.folder.path)]
    first, subset, threats = judged[0], judged[0].subset, run.candidate.threats
    # A dataset with several ways to count is counted by its first, which is the verdict's.
    records = in_subset(read_records(run.folder.path), subset or None).assign(subsets=subset)
    worst = worst_case(records)
    worst = worst[worst["threat"] == first.threat]  # where surrogates are all there is, their level
    records = records[records["image"].isin(judged_by_all(records))]
    clean = records[records["eps"] == 0].drop_duplicates("image")
    headline = worst[same(worst["eps"], first.eps) & (worst["norm"] == first.norm)]
    classes, weaker = per_class(headline).sort_values(["accuracy", "class"], kind="stable"), clearly_weaker(headline)
    right, together = total(clean["correct"]), next(iter(unions(records, judged)), None)
    stands = together or first
    return {
        "model": run.candidate.loaded.origin,
        "data": run.request.images,
        "threat": run.candidate.threat,
        "norm": threats[0].norm,
        "eps": threats[0].headline,
        "mask": None if run.mask is None else run.mask.about(),
        "n": int(clean["image"].nunique()),
        "open": _images(run, subset) - int(clean["image"].nunique()),
        "left_open": _left_open(run),
        "clean": {"accuracy": right / len(clean), **dict(zip(("low", "high"), wilson(right, len(clean))))},
        "robust": {name: getattr(stands, name) for name in ("accuracy", "low", "high", "n")},
        "attacks": _attacks(pd.concat([records, worst], ignore_index=True), threats),
        "surrogates": run.surrogates,
        "deployment": [row.as_dict() | {"sentence": row.sentence} for row in deployment(records, _deployed(run, subset))],
        "deployed_findings": _found_of_deployed(run),
        "weakest": [
            {
                "class": run.test.classes[row["class"]],
                **{name: row[name] for name in NUMBERS},
                "clear": row["class"] in weaker,
            }
            for row in classes.head(WEAKEST).to_dict("records")
        ],
        "verdict": {"sentence": stands.sentence, "believe": stands.believe},
        "threats": []
        if together is None
        else [asdict(row) | {"name": row.name, "sentence": _of(judged, row)} for row in together.rows],
        "notes": [crossing.sentence for crossing in crossings(records, worst)],
        "perturbations": [str(path) for path in pictures(run.folder.path)],
        "passes_per_image": float((records["forwards"] + records["backwards"]).groupby(records["image"]).sum().mean()),
        "settings": run.request.as_dict(),
        "report": str(run.folder / "report.html"),
    }


def _attacks(records: pd.DataFrame, threats: Sequence[Threat]) -> list[dict]:
    """Every attack at every ε, which is as it was asked for."""
    found = []
    for threat in threats:
        for row in summarize(records[records["norm"] == threat.norm]).to_dict("records"):
            eps = next((eps for eps in threat.epsilons if same(eps, row["eps"])), row["eps"])
            about = {"attack": row["attack"], "threat": row["threat"], "norm": threat.norm, "eps": eps}
            found.append(about | {name: row[name] for name in NUMBERS})
    return found


def _deployed(run: Assessment, subset: str) -> pd.DataFrame | None:
    found = read_deployed(run.folder.path)
    return None if found is None else in_subset(found, subset or None)


def _found_of_deployed(run: Assessment) -> list[dict]:
    """What makes the numbers of a deployed model doubtful."""
    found = read_findings(run.folder / CHECKS, "")
    doubts = [one for one in found if one.threat == DEPLOYED and one.severity in ("alarm", "warning")]
    return [{name: getattr(one, name) for name in ("id", "severity", "message", "remedy")} for one in doubts]


def _of(judged: list[Verdict], row: ThreatRow) -> str:
    return next(verdict.sentence for verdict in judged if verdict.norm == row.norm)


def _left_open(run: Assessment) -> dict:
    """What the time did not suffice for, of the images, the attacks and the checks, as `budget.left_open`."""
    records, cut = read_records(run.folder.path), open_checks(FolderStore(run.folder))
    return left_open(records, list(run.candidate.attacks), len(run.test), in_words(cut, set(records["norm"])))


def _images(run: Assessment, subset: str) -> int:
    return int(run.test.subsets[subset].sum()) if subset else len(run.test)


def show(run: Assessment, found: dict) -> None:
    """The result as people read it."""
    say, several = run.display.say, bool(found["threats"])
    count = f"% of {found['n']} images right [95 % interval]"
    for threat in run.candidate.threats:
        if rows := [row for row in found["attacks"] if row["norm"] == threat.norm]:
            say(_table(rows, threat.norm, count, several))
    if several:
        say(_threats(found))
    if found["deployment"]:
        say(_deployment(found["deployment"], run.request.deployed or ""))
    for one in found["deployed_findings"]:
        say(f"What is deployed: {one['message']}. {one['remedy']}")
    weak = [f"“{row['class']}” ({_cell(row)} of {row['n']})" for row in found["weakest"] if row["clear"]]
    if weak:
        say(f"Less often right than the other classes at {norm(found['norm']).said(found['eps'])}: {listing(weak)}.")
    for note in found["notes"]:
        say(note)
    if found["mask"]:
        say(f"Threat model: {mask_in_words(found['mask'])}.")
    bounded = not all(norm(threat.norm).rendered for threat in run.candidate.threats)
    if found["threat"] != WHITE_BOX and bounded:
        better = "; who has them may do better" if found["robust"]["accuracy"] > 0 else ""
        say(f"Threat model: {found['threat']} only. Gradients were not used{better}.")
    if found["surrogates"]:
        named = listing([f"{one['model']} ({one['right']} of {one['of']} images right)" for one in found["surrogates"]])
        say(f"What ends in {AS_TRANSFER} was made on {named}, and shown to the model.")
    if found["open"]:
        say(f"{LEFT_OPEN}: {found['open']} of {found['n'] + found['open']} images. Run again to go on.")
    by_count: dict[int, list[str]] = {}
    for name, missing in found["left_open"]["attacks"].items():
        by_count.setdefault(missing, []).append(name)
    for missing, names in by_count.items():
        if missing > found["open"]:
            say(f"{LEFT_OPEN}, on {missing} images: {listing(names)}.")
    if found["left_open"]["checks"]:
        say(f"{LEFT_OPEN}, of the checks: {', '.join(found['left_open']['checks'])}. Run again to go on.")
    for row in found["threats"]:
        say(("" if row["believe"] else "NOT AS IT STANDS: ") + row["sentence"])
    say(("" if found["verdict"]["believe"] else "NOT AS IT STANDS: ") + found["verdict"]["sentence"])
    if found["perturbations"]:
        say(_universal(run, Path(found["perturbations"][0]).parent))
    say(f"About {found['passes_per_image']:.0f} passes per image. Report: {found['report']}")


def _table(attacks: list[dict], name: str, title: str, several: bool) -> Table:
    """Attacks by ε, of one threat."""
    table = Table(title=f"{norm(name).title}: {title}" if several else title, title_justify="left", box=SIMPLE, pad_edge=False)
    grid = sorted({row["eps"] for row in attacks})
    table.add_column("attack", no_wrap=True)
    for eps in grid:
        counts = f" ({norm(name).counts(eps)})" if norm(name).counts(eps) else ""
        table.add_column("clean" if eps == 0 else f"ε = {fraction_text(eps, name)}{counts}", justify="right")
    rows: dict[str, dict] = {}
    for row in attacks:
        worst, own = row["attack"].startswith(WORST), row["attack"].removesuffix(norm(name).suffix if several else "")
        called = f"{WORST} of all" if worst else _title(own)
        rows.setdefault(called, {})[row["eps"]] = row
    for called in sorted(rows, key=lambda called: (called.startswith(WORST), called.endswith(AS_TRANSFER))):
        table.add_row(called, *[_cell(rows[called].get(eps)) for eps in grid])
    return table


def _threats(found: dict) -> Table:
    """One row per threat, the cheapest first, and what is left of all of them."""
    title = f"Every threat to the same {found['robust']['n']} images, the one that needs fewest passes per image fooled first"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for name in ("threat", "% right [95 % interval]", "passes", "fooled by it alone", "believed"):
        justify: Literal["left", "right"] = "left" if name in ("threat", "believed") else "right"
        table.add_column(name, justify=justify, min_width=len("100.0% [99–100]") if "interval" in name else None)
    others = "" if found["n"] == found["robust"]["n"] else f" of {found['n']}"
    table.add_row("none", _cell(found["clean"]) + others, "", "", "")
    for row in found["threats"]:
        cost = "–" if row["passes"] is None else f"{row['passes']:.0f}"
        table.add_row(row["name"], _cell(row), cost, str(row["alone"]), "yes" if row["believe"] else "not as it stands")
    table.add_row("any of them", _cell(found["robust"]), "", "", "yes" if found["verdict"]["believe"] else "not as it stands")
    return table


def _deployment(rows: list[dict], spec: str) -> Table:
    """The model and what is deployed in its place, image by image."""
    title = f"The same images, shown to what is deployed: {spec}"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    heads = ("", "n", "both right", "only model wrong", "only deployed wrong", "both wrong", "model", "deployed", "p")
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        counts = [str(row[name]) for name in ("n", "both_right", "only_model_wrong", "only_deployed_wrong", "both_wrong")]
        table.add_row(row["name"], *counts, share_text(row["model"]), share_text(row["deployed"]), p_text(row["p"]))
    return table


def _universal(run: Assessment, place: Path) -> str:
    """Where to find what universal attacks made."""
    made = {label: attack for label, attack in run.candidate.attacks.items() if attack.manner == UNIVERSAL}
    patch = " A patch is there to print." if any(norm(attack.norm).name == Patch.name for attack in made.values()) else ""
    return f"One perturbation for all images ({listing(list(made))}): its pictures are on the page and in {place}.{patch}"


def _title(attack: str) -> str:
    return "stronger (escrime's own)" if attack.startswith(STRONGER) else attack


def _cell(row: dict | None) -> str:
    return "" if row is None else f"{row['accuracy']:.1%} [{100 * row['low']:.0f}–{100 * row['high']:.0f}]"
