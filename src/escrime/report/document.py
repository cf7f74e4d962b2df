"""A run as one document: what `escrime report --format json` prints, and what the Markdown is made from."""

import math
from typing import Any

import pandas as pd

from ..no_class import NO_TARGET
from ..results.corruptions import corruption_errors
from ..results.records import summarize, worst_case_by_subset
from ..results.union import unions
from ..results.verdicts import verdicts
from .claims import judge
from .document_schema import VERSION
from .headline import headline_eps, headlines
from .run import Run
from .tables import paired_tests
from .validity import validity

_ABOUT = ("name", "kind", "title", "created", "command", "seed", "escrime", "versions", "python", "commit", "hardware")
MANIFEST = (*_ABOUT, "dataset", "models", "experiment", "stages")


def as_document(run: Run) -> dict:
    """JSON values, shares as fractions of 1 with 95 % intervals `low` to `high`; null where nothing was measured.

    version: of its schema, see document_schema. manifest: how it was made. eps: the headline ε. verdicts: one per model,
    defense and norm. unions: of several norms, what is left when the attacker chooses. summary: accuracy per (subset, model,
    defense, threat, attack, norm, ε); worst_case: the same over all attacks up to each ε; hits: how often a targeted attack
    reached its class. tests: each defense against none, paired. deployment: a model and what is deployed in its place.
    corruptions: the mean errors over common corruptions, as `results.corruptions.corruption_errors`; accuracies are in the
    summary. claims: the paper's. checks: the findings.
    """
    eps, found = headline_eps(run), validity(run)
    judged = verdicts(run.records, found, headlines(run))
    return plain(
        {
            "version": VERSION,
            "manifest": {name: run.manifest.get(name) for name in MANIFEST},
            "eps": eps,
            "verdicts": [verdict.as_dict() for verdict in judged],
            "unions": [union.as_dict() for union in unions(run.records, judged)],
            "summary": summary(run.records),
            "worst_case": summary(worst_case_by_subset(run.records)),
            "hits": hits(run),
            "tests": [test for model in run.models for test in tests(run, model, eps)],
            "corruptions": corruption_errors(run.records, seed=int(run.manifest.get("seed") or 0)).to_dict("records"),
            "deployment": [row.as_dict() | {"sentence": row.sentence} for row in run.deployment],
            "claims": judge(run),
            "checks": [finding.as_dict() for finding in found],
        }
    )


def summary(records: pd.DataFrame) -> list[dict]:
    """`summarize` of each norm's records, as rows."""
    rows = []
    for norm, own in records.groupby("norm", sort=False):
        rows += summarize(own).assign(norm=norm).to_dict("records")
    return rows


def hits(run: Run) -> list[dict]:
    """The share of images called the target, per targeted attack; rows as in the summary with `target` and `share`."""
    targeted = run.records[run.records["target"] != NO_TARGET]
    rows = []
    for target, own in targeted.groupby("target"):
        for row in summary(own.assign(correct=own["hit"])):
            row["share"] = row.pop("accuracy")
            rows.append({"target": run.class_name(int(target)), **row})
    return rows


def tests(run: Run, model: str, eps: float | None) -> list[dict]:
    """A model's paired tests at the headline ε: each defense minus none, two at once also minus each, p corrected by Holm."""
    rows = []
    for test in paired_tests(run, model, eps):
        rows.append(vars(test.comparison) | {"p_holm": test.corrected, "verdict": test.verdict})
    return rows


def plain(value: Any) -> Any:
    """The value with JSON's own types only: numpy's numbers as Python's, NaN as null."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
