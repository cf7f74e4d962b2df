"""One ε is one ε, however it was written: in the worst case, in what stands before, in verdicts, comparisons and answers."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from escrime import FGSM, PGD, Effort, evaluate
from escrime.budgets import SAME, epsilon, levels_within, same, shared_grids, unified, within
from escrime.evaluation.parts import Part
from escrime.evaluation.requests import check_epsilons
from escrime.evaluation.stronger import Scope, _already_fooled, standing
from escrime.evaluation.subjects import Case, Subject
from escrime.norms import NORMS
from escrime.report.sweep import build_sweeps
from escrime.results.checks.curves import read_curves
from escrime.results.comparisons import compare, compare_all, tradeoff
from escrime.results.records import summarize, worst_case
from tests.evaluation.test_comparisons import rows

WRITTEN = [f"{k}/{of}" for of in (255, 256, 1000) for k in range(1, of, 1 if of < 1000 else 4)]
FORMS = {  # the ways in which earlier versions, people and arithmetic write one ε
    "as it is": lambda eps: eps,
    "nine digits": lambda eps: round(eps, 9),
    "a last bit more": lambda eps: float(np.nextafter(eps, 2)),
    "a last bit less": lambda eps: float(np.nextafter(eps, 0)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_fraction_is_itself_in_every_form_and_no_other(form):
    grid = np.array([epsilon(text) for text in WRITTEN])
    other = np.array([FORMS[form](eps) for eps in grid])
    assert same(grid, other).all() and within(grid, other).all() and within(other, grid).all()
    values = np.unique(np.concatenate([np.unique(np.round(grid, 12)), [0.0]]))
    assert not same(values[1:], values[:-1]).any() and not within(values[1:], values[:-1]).any()
    both = unified(np.concatenate([grid, other]))
    assert (both[: len(grid)] == both[len(grid) :]).all() and (unified(both) == both).all()
    assert len(np.unique(both)) == len(values) - 1


def test_an_attack_never_gets_more_than_was_asked_for():
    asked = {"A": ["8/255", 0.1], "B": [0.031372549, 0.1 + 1e-17, "1/3"]}
    grids = check_epsilons({"A": FGSM(0.1), "B": PGD(0.1)}, asked)
    for label, given in asked.items():
        assert [eps <= epsilon(want) for eps, want in zip(grids[label], given)] == [True] * len(given)
    assert grids["A"][0] == grids["B"][0] and shared_grids(grids) == grids
    assert check_epsilons({"A": FGSM(0.1)}, ["8/255", "2/255"]) == {"A": [8 / 255, 2 / 255]}


def test_levels_are_those_inside():
    assert [levels_within(k / 255) for k in range(256)] == list(range(256))
    assert [levels_within(round(k / 255, 9)) for k in range(256)] == list(range(256))
    assert [levels_within(eps) for eps in (0.0, 0.003, 0.0039, 0.5, 0.999)] == [0, 0, 0, 127, 254]


@pytest.mark.parametrize("form", FORMS)
def test_what_fell_at_an_eps_has_fallen_there_wherever_it_is_asked(form):
    """Two of four images fall at ε. Rows that dropped out would leave all four right."""
    part = Part(Case(Subject("m", nn.Identity()), "white-box", nn.Identity()), "stronger", 0)
    base = rows([1, 1, 0, 0])
    for text in [*WRITTEN[::150], "2/255", "8/255", "16/255"]:
        eps = epsilon(text)
        records = base.assign(eps=eps)
        asked = FORMS[form](eps)
        told = worst_case(records)
        assert told["eps"].tolist() == [eps] * 4 and told["correct"].mean() == 0.5
        for randomized in (False, True):
            left = standing(records, "linf", asked, randomized)
            assert left.tolist() == [1, 1, 0, 0], (text, randomized)
        row = _already_fooled(records, Scope(part.case, "linf", [asked], asked), {"i2", "i3"}, asked, part)
        assert (row["prediction"] != row["label"]).all() and (row["distance"] > 0).all(), text  # by the attack, not when clean
        assert compare(records, ("m", "none", "white-box", "A"), ("m", "none", "white-box", "A"), eps=asked).n == 4
        assert compare(records, ("m", "none", "white-box", "A"), ("m", "none", "white-box", "A"), eps=text).n == 4
        assert tradeoff(records, "A", asked)["robust"].tolist() == [0.5]


@pytest.mark.parametrize("form", FORMS)
def test_records_of_several_forms_are_those_of_one_eps(form):
    eps = 8 / 255
    mixed = pd.concat([rows([1, 1, 1, 0], eps=eps), rows([0, 1, 1, 1], attack="B", eps=FORMS[form](eps))], ignore_index=True)
    assert summarize(worst_case(mixed))["accuracy"].tolist() == [0.5] and summarize(mixed)["eps"].nunique() == 1
    assert {tuple(curve.at) for curve in read_curves(mixed)} == {(min(eps, FORMS[form](eps)),)}
    assert len(compare_all(mixed, eps=eps)) == 1
    sweeps = build_sweeps(mixed)
    assert all(sweep.at(eps) is not None for sweep in sweeps.values())


@pytest.mark.parametrize("eps", ["2/255", "8/255"])
def test_attacks_that_left_the_same_did_not_leave_more(linear, data, eps):
    """What every attack leaves is told, and not that a stronger one was needed."""
    few, effort = [part[:40] for part in data], Effort(images=12, steps=5, queries=20, draws=10, doublings=0)
    found = evaluate(linear, tuple(few), [PGD(eps, steps=20), FGSM(eps)], epsilons=eps, checks=effort)
    (verdict,) = found.verdicts
    strength = next(finding for finding in found.checks if finding.id == "attack-strength")
    left = found.records[found.records["attack"] == "PGD"].groupby("image")["correct"].min()
    before = standing(found.records, "linf", verdict.eps, False)
    assert verdict.eps == epsilon(eps) and strength.evidence["before"] < 1
    assert before.mean() <= left.mean() and abs(strength.evidence["before"] - verdict.accuracy) < 0.2
    if strength.severity == "passed":
        assert "left more" not in verdict.sentence


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("on_grid", [True, False])
def test_a_picture_keeps_eps(norm, on_grid):
    drawn = torch.Generator().manual_seed(0)
    images = torch.rand(50, 3, 6, 6, generator=drawn)
    images = (images * 255).round() / 255 if on_grid else images
    for eps in (0.003, 1 / 255, 0.0061, 8 / 255, 0.2) if norm == "linf" else (0.003, 0.01, 0.05, 0.3, 2.0):
        moved = images + eps * (2 * torch.rand(images.shape, generator=drawn) - 1).sign() * (1 if norm == "linf" else 108**-0.5)
        found = NORMS[norm].to_8_bits(moved.clamp(0, 1), images, eps).double()
        levels, clean = (found * 255).round(), (images.double() * 255).round()
        assert (found * 255 - levels).abs().max() < 1e-4 and 0 <= levels.min() and levels.max() <= 255
        away = (levels / 255 - images.double()).flatten(1)
        inside = (away.abs().amax(1) if norm == "linf" else away.norm(dim=1)) <= eps + SAME + 2e-7
        untouched = (levels == clean).flatten(1)
        assert (inside | untouched.all(1) | (norm == "linf") & (away.abs() <= eps + 2e-7).logical_or(untouched).all(1)).all()
        if on_grid:
            assert inside.all()
        if on_grid and norm == "linf":
            assert ((levels - clean).abs() <= levels_within(eps)).all()
            assert (levels - clean).abs().max() == levels_within(eps), "and no less than ε allows"


def test_a_budget_below_one_level_saves_the_clean_image():
    images = torch.full((1, 3, 2, 2), 100 / 255)
    for norm in ("linf", "l2"):
        assert torch.equal(NORMS[norm].to_8_bits(images + 0.003 * (norm == "linf"), images, 0.003), images)
