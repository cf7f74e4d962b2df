"""tune(): shared forwards say what the defense itself says; the front, the rule and the halves on tables made by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import escrime
from escrime import PGD, EscrimeError, PredictionAveraging
from escrime.attacks.core.base import Outcome
from escrime.data import ImageSet
from escrime.evaluation.scoring import score, score_prefixes
from escrime.evaluation.shared_copies import Grid, halves, parts_in
from escrime.evaluation.store import MemoryStore
from escrime.evaluation.tuning import measure
from escrime.models.fast.twin import Twin
from escrime.randomness import row_keys
from escrime.results.choosing import UNDEFENDED, choose, pareto_front, scores_by_point
from escrime.results.rows import TUNED

QUICK = dict(eps_max=(0.05, 0.4), steps=3, draws=3)


class Counted(nn.Module):
    """Linear logits; counts the images it is shown, copies of it included."""

    shown = 0

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(4, 48, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        Counted.shown += len(x)
        return (x - 0.5).flatten(1) @ self.weight.T


@pytest.fixture(scope="module")
def model():
    return Counted()


@pytest.fixture(scope="module")
def images(model):
    """60 images with the labels that the model gives them."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 3, 4, 4), dtype=np.uint8)
    labels = model(torch.from_numpy(pixels).float() / 255).argmax(1).numpy()
    return ImageSet("squares", pixels, labels, tuple(f"i{n}" for n in range(60)), tuple("abcd"))


@pytest.mark.parametrize("radius", [0.05, 0.4])
def test_a_prefix_of_the_shared_copies_is_the_defense_itself(model, images, radius):
    pixels, labels = images.batch(slice(None))
    keys, samples = [(7, name, "here") for name in images.ids], (1, 2, 3, 8)
    shared = score_prefixes(PredictionAveraging(model, radius, 8), samples, pixels, labels, keys, draws=5)
    for n, scores in zip(samples, shared):
        alone = score(PredictionAveraging(model, radius, n), pixels, labels, torch.full_like(labels, -1), keys, draws=5)
        assert scores.tolist() == pytest.approx(alone.correct.tolist()), n
    assert radius < 0.1 or not torch.equal(shared[1], shared[3]), "N must matter somewhere, or nothing was tested"


def test_batches_and_order_change_nothing(model, images, monkeypatch):
    grid = Grid(0.1, samples=(2, 4), **QUICK)
    keys = ["eps_max", "samples", "condition", "image"]
    run = lambda data: measure(model, data, grid, MemoryStore()).sort_values(keys, ignore_index=True)  # noqa: E731
    whole = run(images)
    monkeypatch.setattr("escrime.evaluation.images.PART", 7)
    monkeypatch.setattr("escrime.models.running.network_batch", lambda images: 12)
    again = run(images.select(np.arange(60)[::-1]))
    pd.testing.assert_frame_equal(whole[[*keys, "correct"]], again[[*keys, "correct"]])


def test_the_accuracies_are_those_of_the_attacks(model, images):
    """Undefended: what PGD leaves of the network. The largest N: what an adaptive attack made for it leaves."""
    grid = Grid(0.1, samples=(2, 4), **QUICK)
    records = measure(model, images, grid, MemoryStore(), seed=5)
    scores = scores_by_point(records)
    assert set(scores) == {UNDEFENDED, (0.05, 2), (0.05, 4), (0.4, 2), (0.4, 4)}
    pixels, labels = images.batch(slice(None))
    moved = PGD(0.1, steps=3, early_stop=False)(model, pixels, labels, seed=5, ids=images.ids)
    right = (model(moved).argmax(1) == labels).double()
    own = scores[UNDEFENDED].loc[list(images.ids)]
    assert own["transfer"].tolist() == own["adaptive"].tolist() == right.tolist() and (own["clean"] == 1).all()
    assert 0 < right.mean() < 1
    ppa = PredictionAveraging(model, 0.4, 4)
    moved = PGD(0.1, steps=3, early_stop=False).against_noise(2)(Twin(ppa), pixels, labels, seed=5, ids=images.ids)
    with row_keys([(99, name) for name in images.ids]):
        fresh = (ppa(moved).argmax(1) == labels).double().mean()
    assert scores[0.4, 4]["adaptive"].mean() == pytest.approx(float(fresh), abs=0.12)
    assert scores[0.4, 4]["adaptive"].mean() < scores[0.4, 4]["clean"].mean()


def passes(model, images, samples):
    Counted.shown = 0
    records = measure(model, images, Grid(0.1, samples=samples, **QUICK), MemoryStore())
    return Counted.shown, records[["forwards", "backwards"]].sum() / len(images)


def test_passes_do_not_grow_with_the_number_of_n(model, images):
    alone, counted = passes(model, images, (8,))
    together, shared = passes(model, images, (2, 3, 4, 5, 6, 8))
    assert together == alone and shared.equals(counted)
    fewer, _ = passes(model, images, (4,))
    assert fewer < alone
    # PGD of 3 steps also looks at its last iterate: once on the network, 8 copies × 2 draws through each of 2 ε_max.
    assert counted["backwards"] == 4 + 2 * 4 * 16
    scored = 2 * 3 * 3 * 8  # 3 conditions × 3 draws × 8 copies for each ε_max
    asked = counted["forwards"] - counted["backwards"] - scored
    assert 0 <= asked <= 1, "the original is asked once about what the attack on the network keeps as a success"
    assert Grid(0.1, samples=(2, 3, 4, 5, 6, 8)).sharing == 28 / 8


def test_what_a_store_holds_is_not_measured_again(model, images, monkeypatch):
    """By parts of one ε_max and one slice; what is missing is the same as before, in as many passes."""
    monkeypatch.setattr("escrime.evaluation.images.PART", 40)
    monkeypatch.setattr("escrime.evaluation.shared_copies.PART", 40)
    grid, store = Grid(0.1, samples=(2, 4), **QUICK), MemoryStore()
    whole = measure(model, images, grid, store)
    assert sorted(store.keys()) == sorted(part.key for part in parts_in(images, grid))
    assert len(store.keys()) == 4 and list(whole.columns) == list(TUNED)
    lost, before = "ppa--0.4--00001", store.parts["ppa--0.4--00001"]
    store.forget(lost)
    Counted.shown = 0
    again = measure(model, images, grid, store)
    pd.testing.assert_frame_equal(store.parts[lost], before)
    keys = ["eps_max", "samples", "condition", "image"]
    pd.testing.assert_frame_equal(*(each.sort_values(keys, ignore_index=True) for each in (whole, again)))
    resumed, Counted.shown = Counted.shown, 0
    measure(model, images, grid, store)
    assert Counted.shown == 0 < resumed


def test_a_network_that_cannot_be_attacked_is_not_taken_for_a_robust_one(model, images, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("no gradient today")

    monkeypatch.setattr("escrime.evaluation.crafting.craft", fails)
    with pytest.raises(EscrimeError, match=r"PGD fails on the model \(RuntimeError: no gradient today\).* 'i0' on"):
        measure(model, images, Grid(0.1, samples=(2,), **QUICK), MemoryStore())


def test_what_breaks_its_budget_does_not_count(model, images, monkeypatch):
    def too_far(attack, climbed, images, targets, grid, *rest):
        return [Outcome(1 - images.pixels, torch.ones(len(images.ids)), torch.ones(len(images.ids))) for _ in grid]

    moved = 1 - images.batch(slice(None))[0]
    assert (model(moved).argmax(1) == torch.from_numpy(images.labels)).double().mean() < 0.1, "it would fool the network"
    monkeypatch.setattr("escrime.evaluation.crafting.craft", too_far)
    undefended = scores_by_point(measure(model, images, Grid(0.1, samples=(2,), **QUICK), MemoryStore()))[UNDEFENDED]
    assert (undefended == 1).all(axis=None)


class Screened(Counted):
    """Turns its logits over for what no 8-bit file holds."""

    def forward(self, x):
        odd = ((x * 255 - (x * 255).round()).abs().flatten(1).amax(1) > 1e-3)[:, None]
        return torch.where(odd, -1, 1) * super().forward(x)


def test_a_model_that_reads_only_8_bit_files_is_attacked_with_them(images):
    grid = Grid(0.1, eps_max=0.05, samples=(2,), steps=5, draws=3)
    undefended = scores_by_point(measure(Screened(), images, grid, MemoryStore()))[UNDEFENDED]
    assert (undefended["clean"] == 1).all() and undefended["transfer"].mean() < 0.05


def test_the_front_of_a_table():
    clean = [0.9, 0.8, 0.7, 0.8, 0.9, 0.5]
    under = [0.1, 0.3, 0.5, 0.2, 0.1, 0.4]
    assert pareto_front(clean, under).tolist() == [True, True, True, False, True, False]


def constant(value, *others):
    return np.array([value] * (40 - len(others)) + list(others), float)


def test_the_one_standard_error_rule():
    plain = constant(0.5)
    best = constant(0.7, 0.0, 1.0, 0.0, 1.0)  # mean 0.68, and one standard error of its lead below
    near = constant(0.66)
    lead = best - near
    assert 0 < lead.mean() < lead.std(ddof=1) / 40**0.5, "the table must stand where the rule decides"
    points = {UNDEFENDED: plain, (0.3, 8): best, (0.3, 4): near, (0.1, 4): near, (0.1, 2): constant(0.6)}
    found = choose(points)
    assert found.best == (0.3, 8) and found.chosen == found.candidate == (0.1, 4) and found.worth_it
    assert found.gain[0] == pytest.approx(best.mean() - 0.5)
    assert found.behind == pytest.approx((lead.mean(), lead.std(ddof=1) / 40**0.5))
    assert choose(points | {(0.4, 2): near}).chosen == (0.4, 2), "N comes first"
    assert choose(points | {(0.3, 4): constant(0.9)}).chosen == (0.3, 4)


def test_nothing_is_chosen_that_does_not_beat_the_undefended_network():
    noisy = np.tile([0.0, 1.0], 20)  # mean 0.5, standard error 0.08
    found = choose({UNDEFENDED: constant(0.45), (0.1, 4): noisy})
    assert found.chosen == UNDEFENDED and not found.worth_it and found.candidate == (0.1, 4)
    assert choose({UNDEFENDED: constant(0.4), (0.1, 4): noisy}).worth_it
    assert choose({UNDEFENDED: constant(0.6), (0.1, 4): noisy}).best == UNDEFENDED


def test_the_halves_are_disjoint_stratified_and_keep_to_their_seed(images):
    first, second = halves(images, 0)
    assert not set(first.ids) & set(second.ids) and set(first.ids) | set(second.ids) == set(images.ids)
    counts = [np.bincount(half.labels, minlength=4) for half in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 1 and len(first) == len(second)
    backwards = halves(images.select(np.arange(60)[::-1]), 0)
    assert set(backwards[0].ids) == set(first.ids)
    assert set(halves(images, 1)[0].ids) != set(first.ids)


def test_the_whole_answer(model, images):
    found = escrime.tune(model, images, 0.1, samples=(2, 4), seed=2, **QUICK)
    assert len(found.table) == 5 and found.table["chosen"].sum() == found.table["best"].sum() == 1
    assert found.table["front"].any() and (found.table["n"] == 30).all()
    assert set(found.records["image"]) == set(halves(images, 2)[0].ids)
    assert set(found.validation.records["image"]) == set(halves(images, 2)[1].ids)
    new, row = found.validated, found.validation.summary().query("defense == 'ppa' and threat == 'adaptive' and eps > 0")
    assert new["candidate"]["adaptive"][0] == pytest.approx(row[row.attack == "PGD"]["accuracy"].item())
    lower = min(new["candidate"]["adaptive"][0], new["candidate"]["transfer"][0])
    assert new["candidate"]["attacked"][0] == pytest.approx(lower)
    gap = new["tests"]["mean"]["difference"]
    mean = {side: (new[side]["clean"][0] + new[side]["attacked"][0]) / 2 for side in ("candidate", "undefended")}
    assert gap == pytest.approx(mean["candidate"] - mean["undefended"])
    assert found.sentence.startswith("Cannot tell") and found.undecided in found.sentence, "nothing stands out on 30 images"
    told = replace(found, validated=new | {"tests": new["tests"] | {"mean": new["tests"]["mean"] | {"high": 0.01}}})
    assert f"N = {new['samples']}" in told.sentence and "30 other images" in told.sentence
    assert "no setting is worth its cost" in told.sentence and "choose" not in told.sentence
    transfer = escrime.tune(model, images, 0.1, samples=(2, 4), seed=2, against="transfer", **QUICK)
    assert transfer.table["attacked"].equals(transfer.table["transfer"])


class Rounded(Counted):
    def forward(self, x):
        return super().forward(torch.round(x * 16) / 16)


def test_within_inference_mode_the_attacks_attack(model, images):
    outside = escrime.tune(model, images, 0.1, samples=(2,), **QUICK)
    with torch.inference_mode():
        within = escrime.tune(model, images, 0.1, samples=(2,), **QUICK)
    pd.testing.assert_frame_equal(within.records, outside.records)
    pd.testing.assert_frame_equal(within.validation.records, outside.validation.records)


def test_a_network_that_hides_its_gradients_is_attacked_all_the_same(images):
    """Rounding has no gradient: PGD on the module itself would only ever try its random start."""
    model, (pixels, labels) = Rounded(), images.batch(slice(None))
    stuck = (model(PGD(0.1, steps=3)(model, pixels, labels)).argmax(1) == labels).double().mean()
    records = measure(model, images, Grid(0.1, samples=(2,), **QUICK), MemoryStore())
    left = records[records["condition"] != "clean"].groupby(["eps_max", "condition"])["correct"].mean()
    assert (left < float(stuck) - 0.1).all(), left


class Noisy(Counted):
    def forward(self, x):
        return super().forward(x) + torch.rand(len(x), 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": (0, 2)}, "samples = 0"),
        ({"samples": (1,)}, "undefended network"),
        ({"eps_max": (0.0, 0.1)}, "noise of radius 0"),
        ({"eps_max": (-0.1,)}, "negative"),
        ({"eps": 0}, "eps = 0"),
        ({"eps": 8}, "'8/255'"),
        ({"against": "adaptative"}, "Did you mean 'adaptive'"),
        ({"steps": 0}, "steps = 0"),
        ({"data": "few"}, "19 images"),
        ({"data": "number"}, "is a int; give an ImageSet"),
        ({"model": Noisy()}, "answers differently"),
        ({"model": "callable"}, "function"),
    ],
)
def test_bad_input_is_one_sentence(model, images, change, said):
    values = {"model": model, "data": images, "eps": 0.1, "samples": (2,), **QUICK} | change
    values["data"] = {"few": images.select(range(19)), "number": 3}.get(change.get("data"), values["data"])
    values["model"] = (lambda x: x.mean((2, 3))) if change.get("model") == "callable" else values["model"]
    with pytest.raises(EscrimeError, match=said):
        escrime.tune(**values)


def test_one_value_is_a_list_of_it():
    grid = Grid(0.1, eps_max="8/255", samples=4)
    assert grid.eps_max == (8 / 255,) and grid.samples == (4,)
