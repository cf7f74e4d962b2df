"""Attackers who can only ask: what they leave is said to be theirs, and not believed where they asked too little."""

import pandas as pd
import pytest

from escrime.results.checks.queries import few_queries, queries_left
from escrime.results.findings import Finding
from escrime.results.verdicts import verdicts


def asked(forwards, fallen_after=(), images=40, attack="Square", threat="black-box"):
    """Records at ε = 0 and 0.1: `images` right ones, the first of which fell after so many queries."""
    rows = []
    for image in range(images):
        fell = image < len(fallen_after)
        base = dict(model="m", defense="none", threat=threat, attack=attack, norm="linf", image=str(image), label=0)
        base |= dict(
            clean_prediction=0,
            samples=1,
            condition="",
            subsets="",
            preliminary=False,
            hit=0.0,
            backwards=0.0,
            verified=True,
            distance=0.0,
        )
        base |= dict(draws=1, target=-1, seed=0, survives_8bit=False, clean_confidence=0.9, confidence=0.9)
        rows.append(base | dict(eps=0.0, correct=1.0, prediction=0, forwards=1.0))
        spent = float(fallen_after[image] if fell else forwards)
        rows.append(base | dict(eps=0.1, correct=float(not fell), prediction=int(fell), forwards=spent))
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("records", "severity", "words"),
    [
        (asked(5000, [20] * 10), "passed", "about 5,000 times"),
        (asked(300, [20] * 10), "warning", "about 300 times"),
        (asked(5000, [20] * 9 + [4000]), "warning", "2.5% of the images fell in the later half"),
        (asked(5000, [5000] * 10), "passed", "5,000"),  # the nearest example takes all queries of every image
    ],
)
def test_too_few_queries_are_a_warning(records, severity, words):
    (found,) = few_queries(records)
    assert found.id == "few-queries" and found.severity == severity and words in found.message
    assert found.case == ("m", "none", "black-box", "linf")


def test_queries_of_all_attacks_count_together():
    both = pd.concat([asked(600, [20]), asked(700, [20], attack="SparseRS")])
    assert few_queries(both)[0].severity == "passed" and queries_left(both[both["eps"] > 0]) == 1300


def test_other_attackers_and_models_that_lost_everything_are_not_asked():
    assert few_queries(asked(300, threat="white-box")) == []
    assert few_queries(asked(300, [20] * 40)) == []


def test_a_verdict_by_queries_says_whose_it_is():
    strength = [Finding("attack-strength", "passed", "tried", {})]
    (enough,) = verdicts(asked(5000, [20] * 10), strength)
    assert enough.believe and enough.reason.startswith("as far as an attacker who sees outputs only can tell")
    assert "in about 5,000 queries per image (gradients may leave less)" in enough.sentence
    records = asked(300, [20] * 10)
    (few,) = verdicts(records, [*strength, *few_queries(records)])
    assert not few.believe and "it may be lower, for the model was asked too few times (few-queries)" in few.sentence
    (white,) = verdicts(asked(300, [20] * 10, threat="white-box"), strength)
    assert white.believe and "outputs only" not in white.sentence
