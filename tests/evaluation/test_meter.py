"""What a bar is told: network passes, of which the copies of a defense are as many, on the images that are attacked."""

from contextlib import nullcontext

import pytest
import torch

import escrime
from escrime.attacks import FGSM, PGD
from escrime.distributed import Processes
from escrime.evaluation.images import Source
from escrime.evaluation.pipeline import Plan, execute
from escrime.evaluation.profile import ProbeBudget, Profiles
from escrime.evaluation.progress import Meter
from escrime.evaluation.store import MemoryStore
from escrime.evaluation.subjects import Subject, as_cases

COPIES = 8
ATTACKS = {"FGSM": FGSM(0.05), "PGD": PGD(0.05, steps=20, early_stop=False)}
CPU = torch.device("cpu")


@pytest.fixture
def passes():
    """How many rows the network is asked about."""
    return []


@pytest.fixture
def cases(linear, passes):
    linear.register_forward_pre_hook(lambda module, given: passes.append(len(given[0])))
    return as_cases([Subject("m", linear), Subject("m", escrime.PredictionAveraging(linear, 0.1, COPIES), "ppa", linear)])


def told_of(cases, data, samples):
    told, source = [], Source(data, CPU)
    grids, profiles = {name: [0.025, 0.05] for name in ATTACKS}, Profiles(source, ProbeBudget(0.1), 0)
    for case in cases:
        _ = profiles[case.subject.classifier], profiles[case.attacked]  # looked at before
    plan = Plan(cases, profiles, ATTACKS, grids, 0, 2, 3, None, samples=samples)
    return told, lambda: execute(
        plan, MemoryStore(), Processes(CPU, alone=True), lambda title: nullcontext(Meter(lambda *now: told.append(now)))
    )


def test_passes_through_copies_are_counted_and_expected(cases, data, passes):
    told, work = told_of(cases, data, {})
    passes.clear()
    work()
    assert told[-1][0] == pytest.approx(sum(passes), rel=0.1)
    assert 0.5 < told[0][1] / told[-1][0] < 2


def test_images_left_out_of_an_attack_are_not_expected(cases, data, passes):
    ids = Source(data, CPU).few(4, 0).ids
    costly = {("ppa", "adaptive", name): frozenset(ids) for name in ATTACKS}
    told, work = told_of(cases, data, costly)
    passes.clear()
    work()
    assert told[-1][0] == pytest.approx(sum(passes), rel=0.1)
    assert 0.5 < told[0][1] / told[-1][0] < 2
