"""A check for attackers who can only ask: what they leave depends on how often they asked.

A search by scores or labels gets nearer to the boundary with every query. Where images still fell in the later half of the
queries, more of them would fall with more; and published evaluations ask thousands of times per image (Square, RayS: 10,000).
"""

import pandas as pd

from ...budgets import eps_text
from ...norms import norm
from ..findings import Finding
from ..threats import BLACK_BOX
from .registry import record_check

CASE = ["model", "defense", "threat", "norm"]
FEW = 1000  # queries per image, over all attacks
LATE = 0.01  # of the images, which fell in the later half of an attack's queries


@record_check(105)
def few_queries(records: pd.DataFrame) -> list[Finding]:
    """Whether an attacker by scores or labels asked often enough for what is left to mean something."""
    asked = records[(records["threat"] == BLACK_BOX) & (records["eps"] > 0)]
    asked = asked[asked["clean_prediction"] == asked["label"]]
    found = []
    for case, rows in asked.groupby(CASE, sort=False):
        if norm(case[-1]).rendered:  # where more queries would ask the same again
            continue
        tried = [(eps, *_spent(own)) for eps, own in rows.groupby("eps")]
        open_ones = [(eps, queries, late) for eps, queries, late in tried if queries is not None]
        short = [row for row in open_ones if row[1] < FEW or row[2] > LATE]
        about = dict(zip(CASE, case, strict=True))
        if short:
            eps, queries, late = max(short, key=lambda row: (row[2], -row[1]))
            still = f", and {late:.1%} of the images fell in the later half of them" if late else ""
            found.append(
                Finding(
                    "few-queries",
                    "warning",
                    f"Images that stand at ε = {eps_text(eps)} were asked about {queries:,.0f} times each{still}: who asks "
                    "more may find more",
                    {"queries": round(queries), "late": round(late, 4), "at": [eps_text(eps) for eps, _, _ in short]},
                    "Give the attacks more queries ([attacks.Square] queries = 10000 in an experiment), or the model itself.",
                    **about,
                )
            )
        elif open_ones:
            queries = min(queries for _, queries, _ in open_ones)
            message = f"Images that stand were asked about {queries:,.0f} times each, and hardly any fell late"
            found.append(Finding("few-queries", "passed", message, {"queries": round(queries)}, **about))
    return found


def queries_left(rows: pd.DataFrame) -> float | None:
    """The median, over the images that stand, of the forward passes that all attacks spent on each; None where none stands.
    rows: records of one case at one ε."""
    each = rows.groupby("image").agg(standing=("correct", "min"), forwards=("forwards", "sum"))
    standing = each.loc[each["standing"] >= 1, "forwards"]
    return float(standing.median()) if len(standing) else None


def _spent(rows: pd.DataFrame) -> tuple[float | None, float]:
    """`queries_left`, and the largest share of the images that fell in the later half of one attack's queries."""
    late = 0.0
    for _, own in rows.groupby("attack", sort=False):
        whole = own.loc[own["correct"] >= 1, "forwards"].median()
        fell = own.loc[own["correct"] < 1, "forwards"]
        # Who looks for the nearest example spends everything on every image: when it fell is not told.
        late = max(late, float(((fell > whole / 2) & (fell < whole)).sum()) / len(own))
    return queries_left(rows), late
