"""The verdict: one sentence per model and defense, with the number that stands and whether to believe it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from ..budgets import same, within
from ..norms import norm
from .checks.chance import BEFORE
from .checks.counting import too_few
from .checks.queries import queries_left
from .findings import MASK, ONE_FOR_ALL, Finding
from .names import defended, place
from .reasons import in_words
from .records import STRONGER, in_subset, subset_names, worst_case
from .statistics import share_text, total, wilson
from .threats import ADAPTIVE, BLACK_BOX, TRANSFER, UNDEFENDED

HIDING = {
    "scores-flat",
    "off-grid",
    "stateful",
    "full-success",
    "no-full-success",
    "iterated-weaker",
    "overfitting",
    "confined",
}
HIDING |= {f"gradient-{what}" for what in ("zero", "saturated", "false", "not-finite", "misleads", "jagged", "mode", "fails")}
UNKNOWING = " against an attacker who does not know the defense"
SURROGATES = " against an attacker who has other networks and not this one: all examples were made on surrogates"
WITHOUT = " without attack)"  # how a sentence ends its numbers
NO_HEADLINES: Mapping[str, float] = MappingProxyType({})
KNOWN = (ADAPTIVE, *UNDEFENDED, TRANSFER)  # the threat level to quote, where there are several


@dataclass(frozen=True)
class Verdict:
    """accuracy with its 95 % Wilson interval (low, high) over n images, in the worst case over all attacks up to ε; clean:
    accuracy without attack; believe: a stronger attack was looked for, there is no alarm but what was taken away
    exactly, and no open warning; sentence: all that in words."""

    model: str
    defense: str
    threat: str
    norm: str
    subset: str
    eps: float
    accuracy: float
    low: float
    high: float
    n: int
    clean: float
    believe: bool
    sentence: str

    @property
    def reason(self) -> str:
        """What the sentence says of the number, such as "do not believe it: 1 alarm (stateful)."."""
        rest = self.sentence.rpartition(WITHOUT)[2].removeprefix(UNKNOWING).removeprefix(SURROGATES)
        return rest.lstrip(";, ").removeprefix("and ")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def verdicts(records: pd.DataFrame, findings: list[Finding], headlines: Mapping[str, float] = NO_HEADLINES) -> list[Verdict]:
    """A verdict for every subset of the images, model, defense (undefended first) and norm; headlines: norm → the ε that it is
    about, see `verdict_eps`.
    """
    return [
        verdict
        for subset in subset_names(records)
        for verdict in _of_subset(in_subset(records, subset), findings, headlines, subset or "")
    ]


def _of_subset(records: pd.DataFrame, findings: list[Finding], headlines: Mapping[str, float], subset: str) -> list[Verdict]:
    table, found = worst_case(records), []
    ours = records["attack"].astype(str).str.startswith(STRONGER)
    without = worst_case(records[~ours]) if ours.any() else table
    models = list(dict.fromkeys(table["model"]))
    groups = list(table.groupby(["model", "defense"], sort=False))
    for (model, defense), rows in sorted(groups, key=lambda group: (models.index(group[0][0]), place(group[0][1]))):
        threat = next(level for level in KNOWN if (rows["threat"] == level).any())
        for name, own in rows[(rows["threat"] == threat) & (rows["eps"] > 0)].groupby("norm", sort=False):
            at = verdict_eps(own, records, headlines.get(str(name)))
            last = own[own["eps"] == at]
            case = (model, defense, threat, name)
            mine = [f for f in findings if all(about in ("", own) for about, own in zip(f.case, case, strict=True))]
            clean = clean_accuracy(records, model, defense, last["image"])
            everywhere = _all_faced(records[ours], last)
            seen = _seen(records, last) + _one_for_all(records, last, mine)
            found.append(_verdict(last, clean, _asked(without, last, clean), everywhere, mine, subset, seen))
    return found


def verdict_eps(worst: pd.DataFrame, records: pd.DataFrame, wanted: float | None = None) -> float:
    """The ε that a verdict is about, of those in `worst` (rows of the worst case of one model, defense, threat level and norm):
    the nearest to `wanted`; by default the one that leaves nearest to half of the clean accuracy, where there is most to
    see, the larger of two."""
    left = worst.groupby("eps")["correct"].mean()
    if wanted is not None:
        return float(min(left.index, key=lambda eps: abs(eps - wanted)))
    first = worst.iloc[0]
    half = clean_accuracy(records, first["model"], first["defense"], worst["image"]) / 2
    return float(min(left.index, key=lambda eps: (abs(left[eps] - half), -eps)))


def clean_accuracy(records: pd.DataFrame, model: str, defense: str, images: pd.Series) -> float:
    """The share of `images` that the model gets right without attack."""
    rows = records[(records["model"] == model) & (records["defense"] == defense) & records["image"].isin(images)]
    measured = rows[rows["eps"] == 0]
    if len(measured):
        return float(measured.groupby("image")["correct"].first().mean())
    rows = rows.drop_duplicates("image")
    return float((rows["clean_prediction"] == rows["label"]).mean())


def objects(finding: Finding) -> bool:
    """Whether a finding by itself forbids to believe a number: an alarm whose cause was not taken away exactly, or a warning
    that no stronger attack has answered, or that none can answer."""
    if finding.severity == "alarm":
        return not finding.exact
    return finding.severity == "warning" and (not finding.answered or finding.id in BEFORE)


def _of_strength(finding: Finding) -> bool:
    """Whether a finding says that a stronger attack, or more time for it, may leave less, and nothing else."""
    return finding.severity == "warning" and not finding.answered and finding.id not in ("few-images", *BEFORE)


def _of_other(finding: Finding) -> bool:
    """Whether it objects for another reason; that the images are too few is judged by itself."""
    return objects(finding) and finding.id != "few-images" and not _of_strength(finding)


def _seen(records: pd.DataFrame, last: pd.DataFrame) -> str:
    """How the attacker of `last`, rows of one verdict, is limited, as a part of its sentence."""
    first = last.iloc[0]
    if first["threat"] == TRANSFER:
        return SURROGATES if first["defense"] == "none" else UNKNOWING
    rendered = norm(first["norm"]).rendered  # which gradients would not help with
    if first["threat"] != BLACK_BOX or rendered or not last["correct"].any():
        return ""
    others = records["image"].isin(last["image"]) & same(records["eps"], first["eps"])
    for name in ("model", "defense", "norm"):
        others &= records[name] == first[name]
    queries = queries_left(records[others & (records["threat"] == first["threat"])])
    often = "" if queries is None else f", in about {queries:,.0f} queries per image"
    has = ", and has surrogates," if (others & (records["threat"] == TRANSFER)).any() else ""
    return f" as far as an attacker who sees outputs only{has} can tell{often} (gradients may leave less)"


def _one_for_all(records: pd.DataFrame, last: pd.DataFrame, findings: list[Finding]) -> str:
    """What one perturbation for all images did to those of `last`, rows of one verdict, as a part of its sentence; "" where no
    attack made such a one."""
    labels = {label for finding in findings if finding.id == ONE_FOR_ALL for label in finding.evidence["attacks"]}
    if not labels:
        return ""
    first = last.iloc[0]
    own = records["image"].isin(last["image"]) & (records["eps"] > 0) & within(records["eps"], float(first["eps"]))
    for name in ("model", "defense", "threat", "norm"):
        own &= records[name] == first[name]
    rows = records[own]
    at = rows[rows["attack"].isin(labels) & same(rows["eps"], first["eps"])]
    if set(rows["attack"]) <= labels:
        return f", all with the same perturbation ({', '.join(dict.fromkeys(rows['attack']))})"
    left = at.groupby("attack", sort=False)["correct"].mean()
    said = "; ".join(f"{label}, one for all, leaves {share_text(float(share))}" for label, share in left.items())
    return f", each with a perturbation of its own ({said})" if said else ""


def _verdict(
    rows: pd.DataFrame, clean: float, asked: float, everywhere: bool, findings: list[Finding], subset: str, seen: str
) -> Verdict:
    first, n = rows.iloc[0], len(rows)
    right = total(rows["correct"])
    accuracy, (low, high) = right / n, wilson(right, n)
    alarms = [finding for finding in findings if finding.severity == "alarm"]
    open_ones = [finding for finding in findings if _of_strength(finding)]
    doubts = open_ones if right else []  # that the attacks may be too weak does not matter where nothing was left to take
    few = too_few(n, low, high, findings, subset)
    unsure = [f.id for f in findings if f.id in BEFORE and f.severity == "warning"] + ["few-images"] * few
    answered = {finding.id for finding in findings if finding.severity == "warning" and finding.answered}
    geometry = norm(first["norm"])
    exhausted = any(finding.id == "exhausted" for finding in findings)
    examined = exhausted or any(finding.id == "attack-strength" for finding in findings)
    who = defended(first["model"], first["defense"])
    number = (
        f"{who} keeps {share_text(accuracy)} of {n} {f'{subset} ' if subset else ''}images right at "
        f"{geometry.said(first['eps'])} (95 % interval {low:.1%} to {high:.1%}; {share_text(clean)}{WITHOUT}"
    )
    number += "".join(f" where {finding.message}" for finding in findings if finding.id == MASK) + seen
    exact = bool(alarms) and all(finding.exact for finding in alarms)
    if alarms and not exact:
        end = _objection(alarms, accuracy, clean)
    elif unsure:
        end = f"; that says nothing yet, for {in_words([*unsure, *(finding.id for finding in doubts)])}."
    elif doubts:
        end = f"; it may be lower, for {in_words(finding.id for finding in doubts)}."
    elif not examined:
        end = "; nobody has looked for a stronger attack."
    elif exact:
        converged = any(finding.id == "converged" and finding.severity == "passed" for finding in findings)
        end = f"; {_named(alarms)}: its cause was taken away{', and the number has converged' * converged}."
    elif left_more(accuracy, asked, n):
        end = f"; the attacks that were asked for left {share_text(asked)}, and this is the stronger one's number."
    elif "randomized" in answered:
        end = "; that is the expectation over its noise, which the attacks knew, and stronger ones found no more."
    elif "targeted-disagrees" in answered:
        end = "; that is the worst case of the attacks that were asked for, the targeted one among them."
    elif answered:
        end = f"; stronger attacks were tried on {'all' if everywhere else 'some'} of the images and found no more."
    elif exhausted:
        end = f"; {geometry.tried}."
    elif open_ones:
        end = ", and no attack could leave less."
    else:
        end = ", and no check objects."
    return Verdict(
        model=str(first["model"]),
        defense=str(first["defense"]),
        threat=str(first["threat"]),
        norm=str(first["norm"]),
        subset=subset,
        eps=float(first["eps"]),
        accuracy=accuracy,
        low=low,
        high=high,
        n=n,
        clean=clean,
        believe=examined and not (few or doubts or any(map(_of_other, findings))),
        sentence=number + end,
    )


def _asked(without: pd.DataFrame, last: pd.DataFrame, clean: float) -> float:
    """The accuracy that the attacks asked for left of the images of `last`, rows of one verdict; `clean` where they did not
    run at this ε. without: the worst case over the attacks that were asked for."""
    own = without["image"].isin(last["image"]) & same(without["eps"], last["eps"].iloc[0])
    for name in ("model", "defense", "threat", "norm"):
        own &= without[name] == last[name].iloc[0]
    return float(without.loc[own, "correct"].mean()) if own.any() else clean


def _all_faced(stronger: pd.DataFrame, last: pd.DataFrame) -> bool:
    """Whether rows of the stronger attack are about every image of `last`, rows of one verdict, at its ε."""
    same = within(stronger["eps"], float(last["eps"].iloc[0]))
    for name in ("model", "defense", "norm"):
        same &= stronger[name] == last[name].iloc[0]
    return bool(last["image"].isin(stronger.loc[same, "image"]).all())


def left_more(accuracy: float, asked: float, n: int) -> bool:
    """Whether the attacks that were asked for left at least one image more than the stronger ones."""
    return (asked - accuracy) * n >= 0.5


def _named(alarms: list[Finding]) -> str:
    return f"{len(alarms)} alarm{'s' if len(alarms) > 1 else ''} ({', '.join(dict.fromkeys(f.id for f in alarms))})"


def _objection(alarms: list[Finding], accuracy: float, clean: float) -> str:
    """What alarms make of the number. Attacks that went around what hides a gradient leave an upper bound, and no more, unless
    they leave nothing."""
    if all(finding.answered for finding in alarms):
        if clean == 0:
            return f"; {_named(alarms)}: no image is right without attack, so there was nothing to attack."
        if accuracy == 0:
            return f"; {_named(alarms)}: attacks that go around it left nothing."
        return f"; {_named(alarms)}: attacks that go around it left this, an upper bound, for a better one may leave less."
    hidden = accuracy > 0 and any(finding.id in HIDING for finding in alarms)
    unknown = "; it is an upper bound, and nobody knows the rest" if hidden else ""
    return f"; do not believe it: {_named(alarms)}{unknown}."
