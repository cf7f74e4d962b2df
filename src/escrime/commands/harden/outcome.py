"""Before against after: what hardening bought and what it cost, on the same images, and whether that is worth it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from ...errors import listing
from ...report.formatting import fraction_text, percent, points_text
from ...report.validity import CHECKS, read_verdicts
from ...results.checks.chance import BEFORE
from ...results.choosing import paired
from ...results.comparisons import Comparison, compare
from ...results.findings import Finding, read_findings
from ...results.records import STRONGER, WORST, read_records, worst_case
from ...results.statistics import p_text
from ...results.threats import ADAPTIVE, UNDEFENDED
from ...results.verdicts import objects
from ..evaluate.assessment import Assessment
from ..run.schema import ADVERSARIAL
from ..shared.display import Display
from .harden import BATCHNORM, WEIGHTS

CLEAN = "clean"
SIGNIFICANT = 0.05
MATTERS = 0.05  # a gain that may still be larger than this is not excluded
RUINED = 0.5  # of the clean accuracy before: a model that keeps no more has collapsed


@dataclass(frozen=True)
class Hardened:
    """rows: (what, after − before on the same images), clean accuracy first, the worst case of all attacks last. overall: the
    same of the mean of both, as `choosing.paired`. objections: findings that forbid to believe the number of after. remedy:
    what to try where the model is ruined, a sentence."""

    eps: float
    rows: list[tuple[str, Comparison]]
    overall: dict[str, float]
    objections: list[Finding]
    remedy: str = ""

    @property
    def clean(self) -> Comparison:
        return self.rows[0][1]

    @property
    def robust(self) -> Comparison:
        return self.rows[-1][1]

    @property
    def worth_it(self) -> bool | None:
        """None where nobody can tell."""
        overall = self.overall
        if self.ruined:
            return False
        if self.objections:
            return None
        if not self._gained:
            return False if self.robust.high < MATTERS else None
        return bool(overall["difference"] > 0) if overall["p"] < SIGNIFICANT else None

    @property
    def ruined(self) -> bool:
        """Whether what the model could do without attack is gone: more than half of its clean accuracy, beyond chance or down
        to what guessing does."""
        clean = self.clean
        guesses = any(finding.id in BEFORE and finding.severity == "alarm" for finding in self.objections)
        return (
            clean.accuracy_first < RUINED * clean.accuracy_second
            and clean.difference < 0
            and (clean.p < SIGNIFICANT or guesses)
        )

    @property
    def _gained(self) -> bool:
        """Whether robust accuracy is clearly higher than before."""
        return self.robust.difference > 0 and self.robust.p < SIGNIFICANT

    @property
    def headline(self) -> str:
        """Worth it or not, or that the model collapsed, what was bought and what it cost, in at most 80 columns."""
        robust, clean = (
            f"{_points(row.difference).replace('100.0', '100')} {_interval(row)}" for row in (self.robust, self.clean)
        )
        if self.ruined:
            return f"It collapsed: clean {clean}, robust {robust} points (95 %)."
        begins = {True: "Worth it", False: "Not worth it", None: "Cannot tell"}[self.worth_it]
        return f"{begins}: robust {robust}, clean {clean} points (95 %)."

    @property
    def sentence(self) -> str:
        """The headline, and what it rests on."""
        return f"{self.headline} {self.details}"

    @property
    def details(self) -> str:
        """What the headline rests on, in sentences."""
        robust, overall = self.robust, self.overall
        bought = (
            f"At ε = {fraction_text(self.eps)} it keeps {percent(robust.accuracy_first)} of {robust.n} images right, before "
            f"{percent(robust.accuracy_second)} ({_tested(robust)})"
        )
        if self.ruined:
            return f"{self._cost} {bought}.{self.remedy and f' {self.remedy}'}"
        if self.objections:
            ids = ", ".join(dict.fromkeys(finding.id for finding in self.objections))
            return f"{bought}, but that number is not to be believed ({ids}). {self._cost}"
        if not self._gained:
            if self.worth_it is False:
                return f"{bought}. {self._cost}"
            return (
                f"{bought}, which may be chance. {self._cost} More images to "
                "judge by (--limit, --data) would tell; more --epochs may help."
            )
        net = f"The mean of clean and robust accuracy changes by {points_text(overall['difference'])} ({_p(overall['p'])})."
        return f"{bought}. {self._cost} {net}"

    @property
    def _cost(self) -> str:
        clean, tested = self.clean, _tested(self.clean)
        if not clean.difference:
            return f"Clean accuracy stays at {percent(clean.accuracy_first)} ({tested})."
        verb = "collapses" if self.ruined else "falls" if clean.difference < 0 else "rises"
        chance = "" if clean.p < SIGNIFICANT or self.ruined else ", which may be chance"
        ends = f"from {percent(clean.accuracy_second)} to {percent(clean.accuracy_first)}"
        return f"Clean accuracy {verb} {ends}{chance} ({tested})."


def outcome(run: Assessment) -> Hardened:
    """Compare the model before and after in the folder of a finished `run`."""
    records, eps = read_records(run.folder.path), run.request.epsilons[0]
    worst = worst_case(records)
    name = records["model"].iloc[0]
    threats = records.loc[records["defense"] == "none", "threat"].unique()
    before = (name, "none", next(threat for threat in UNDEFENDED if threat in threats))
    after = (name, ADVERSARIAL, ADAPTIVE)
    attacks = [label for label in records["attack"].unique() if not label.startswith(STRONGER)]
    there = lambda label: all(_has(records, column, label, eps) for column in (before, after))  # noqa: E731
    asked = records.loc[records["eps"] == 0, "attack"].iloc[0]
    rows = [(CLEAN, compare(records, after, before, attack=asked, eps=0.0))]
    rows += [(label, compare(records, after, before, attack=label, eps=eps)) for label in attacks if there(label)]
    rows.append((WORST, compare(worst, after, before, attack=WORST, eps=eps)))
    path = run.folder / CHECKS
    findings = read_findings(path, run.request.norm) if path.exists() else []
    about = [finding for finding in findings if finding.model == name and finding.defense == ADVERSARIAL]
    against = [finding for finding in about if objects(finding) and finding.id != "few-images"]
    return Hardened(eps, rows, _overall(records, worst, before, after, eps), against, remedy(run.folder.manifest))


def remedy(manifest: dict) -> str:
    """What to try where hardening with the settings of a manifest ruined the model."""
    training = manifest["experiment"]["training"]
    tried = [] if training["freeze_batchnorm"] or not manifest["experiment"].get(BATCHNORM) else ["--set freeze_batchnorm=true"]
    rate = f"{training['learning_rate'] / 10:g}"
    return f"Try {listing([*tried, f'--set learning_rate={rate}', 'a smaller --eps']).replace(' and ', ' or ')}."


def _training(run: Assessment) -> dict:
    """JSON values: what the model was trained by, as it is in the manifest, the epochs that were trained, and what there is to
    say of BatchNorm, None for nothing."""
    about, log = run.folder.manifest["experiment"], run.folder / "training" / f"{run.candidate.name}--{ADVERSARIAL}.csv"
    training = about["training"]
    return {
        "objective": about["objective"],
        "epochs": len(pd.read_csv(log)) if log.exists() else training["epochs"],
        "learning_rate": training["learning_rate"],
        "batchnorm": about.get(BATCHNORM),
        "training": training,
    }


def as_json(run: Assessment, found: Hardened) -> dict:
    """JSON values: what was asked, how the model was trained, the attacks, accuracy before and after under each of them with
    the difference, its 95 % interval and the paired test, what that is worth, and the verdicts of the checks."""
    names = ("n", "difference", "low", "high", "p", "gained", "lost")
    verdicts = read_verdicts(run.folder.path)
    return {
        "model": run.candidate.loaded.origin,
        "data": run.request.images,
        "norm": run.request.norm,
        "eps": found.eps,
        **_training(run),
        "attacks": [{"attack": label, "settings": repr(attack)} for label, attack in run.candidate.attacks.items()],
        "rows": [
            {"attack": label, "eps": 0.0 if label == CLEAN else found.eps}
            | {"before": row.accuracy_second, "after": row.accuracy_first}
            | {name: getattr(row, name) for name in names}
            for label, row in found.rows
        ],
        "overall": found.overall,
        "worth_it": found.worth_it,
        "ruined": found.ruined,
        "headline": found.headline,
        "sentence": found.sentence,
        "objections": [finding.id for finding in found.objections],
        "verdicts": [{name: verdict[name] for name in ("model", "defense", "sentence", "believe")} for verdict in verdicts],
        "settings": run.request.as_dict(),
        "weights": str(run.folder / WEIGHTS),
        "report": str(run.folder / "report.html"),
    }


def _has(records: pd.DataFrame, column: tuple[str, ...], label: str, eps: float) -> bool:
    rows = records[(records["attack"] == label) & (records["eps"] > 0)]
    return all((rows[name] == value).any() for name, value in zip(("model", "defense", "threat"), column, strict=True))


def _overall(
    records: pd.DataFrame, worst: pd.DataFrame, before: tuple[str, ...], after: tuple[str, ...], eps: float
) -> dict[str, float]:
    """After − before, of the mean of clean and worst-case scores on the images that have all four."""

    def scores(table: pd.DataFrame, column: tuple[str, ...], at: float) -> pd.Series:
        rows = table[(table["defense"] == column[1]) & (table["threat"] == column[2])]
        rows = rows[(rows["eps"] - at).abs() < 1e-9]
        return rows.drop_duplicates("image").set_index("image")["correct"]

    four = [scores(table, column, at) for column in (after, before) for table, at in ((records, 0.0), (worst, eps))]
    joint = pd.concat(four, axis=1, join="inner").to_numpy()
    return paired(joint[:, :2].mean(1), joint[:, 2:].mean(1))


def _tested(found: Comparison) -> str:
    """The difference with its interval and the paired test."""
    low, high = _ends(found)
    return f"{points_text(found.difference)}, 95 % interval {low} to {high}, paired exact test {_p(found.p)}"


def _points(value: float) -> str:
    return points_text(value).removesuffix(" points")


def _ends(found: Comparison) -> tuple[str, str]:
    low, high = (f"{100 * end:+.0f}".replace("-", "−") for end in (found.low, found.high))
    return low, high


def _interval(found: Comparison) -> str:
    return "[{}, {}]".format(*_ends(found))


def _p(value: float) -> str:
    return p_text(value, "p")


def show(display: Display, found: Hardened) -> None:
    """The table, the headline, and what it rests on."""
    table = Table(
        title=f"% of {found.robust.n} images right, before and after", title_justify="left", box=SIMPLE, pad_edge=False
    )
    table.add_column("")
    for heading in ("before", "after", "difference [95 %]", "p"):
        table.add_column(heading, justify="right")
    for cells in _cells(found):
        table.add_row(*cells)
    display.say(table)
    display.say("p: exact paired test on the same images (McNemar). After: the attacks know the hardened model.")
    display.say(found.headline)
    display.say(found.details)


def _cells(found: Hardened) -> Iterator[tuple[str, str, str, str, str]]:
    for label, row in found.rows:
        at = "" if label == CLEAN else f", ε = {fraction_text(found.eps)}"
        difference = f"{_points(row.difference)} {_interval(row)}"
        of_all = " of all" if label == WORST else ""
        yield label + of_all + at, percent(row.accuracy_second), percent(row.accuracy_first), difference, p_text(row.p)
