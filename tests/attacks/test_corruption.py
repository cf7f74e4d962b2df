"""Corruptions as attacks: the laws that hold for what asks the model nothing, and how they are verified and recorded."""

from dataclasses import replace

import pytest
import torch
from attack_cases import CORRUPTIONS, Counted
from torch import nn

from escrime import EscrimeError, PredictionAveraging, evaluate
from escrime.attacks import Corruption
from escrime.corruptions import COMMON, corrupt
from escrime.corruptions import CORRUPTIONS as NAMES
from escrime.norms import NORMS
from escrime.norms.corruption import parameters_of
from escrime.results.corruptions import by_corruption, corruption_errors
from escrime.results.verdicts import verdicts

NORM = NORMS["corruption"]
EVERY = pytest.mark.parametrize("attack", CORRUPTIONS, ids=lambda attack: attack.name)


@pytest.fixture
def photos():
    return (torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(0)) * 255).round() / 255


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 10 * 8, 4))


@EVERY
def test_it_is_that_corruption_and_asks_nothing(attack, model, photos):
    counted, before = Counted(model), photos.clone()
    labels, ids = torch.zeros(6, dtype=torch.long), [f"photo-{k}" for k in range(6)]
    moved = attack(counted, photos, labels, seed=3, ids=ids)
    assert torch.equal(moved, corrupt(photos, attack.name, int(attack.eps), seed=3, ids=ids))
    assert counted.tally.forwards == 0 and torch.equal(photos, before)


@EVERY
def test_one_image_one_answer_in_a_sweep_and_per_image(attack, model, photos):
    labels = torch.zeros(6, dtype=torch.long)
    own = (0, 1, 2, 3, 4, 5)
    whole = replace(attack, eps=own)(model, photos, labels)
    for k, eps in enumerate(own):
        alone = attack.sweep(model, photos[k : k + 1], labels[:1], [eps], ids=[k])[0]
        assert torch.equal(alone.adversarial[0], whole[k]) and not alone.forwards.any()
        good, far = NORM.keeps(alone.adversarial, photos[k : k + 1], eps, alone.parameters)
        assert good.all() and far.tolist() == [eps]
    assert torch.equal(whole[0], photos[0])
    assert attack.sweep(model, photos, labels, []) == []


@pytest.mark.parametrize("attack", [Corruption(3, name) for name in NAMES], ids=lambda attack: attack.name)
def test_no_trace_and_nothing_of_the_callers_matters(attack, model, photos):
    labels = torch.zeros(6, dtype=torch.long)
    wanted, state = attack(model, photos, labels), torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(attack(model, photos, labels), wanted) and wanted.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        assert torch.equal(attack(model, photos, labels), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attack(model, photos, labels), wanted)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("eps", [6, -1, 2.5, "8/255", float("nan")])
def test_a_severity_is_a_whole_number_up_to_5(eps):
    with pytest.raises(EscrimeError):
        Corruption(eps, "fog")
    with pytest.raises(EscrimeError, match="'fgo' is unknown.*'fog'"):
        Corruption(3, "fgo")


def test_parameters_hold_all_that_was_drawn():
    """Keys have 63 bits, a float64 holds 53: two halves hold every one."""
    keys = torch.tensor([0, 1, 2**32 - 1, 2**62 + 12345, 2**63 - 1])
    made = parameters_of("saturate", torch.full((5,), 4.0), keys)
    assert made.dtype == torch.float64 and made[0].tolist() == [NAMES.index("saturate"), 4, 0, 0]
    assert torch.equal((made[:, 2].long() << 32) + made[:, 3].long(), keys) and NORM.size(made).tolist() == [4] * 5


def test_what_was_not_rendered_so_is_not_verified(model, photos):
    outcome = Corruption(3, "fog").sweep(model, photos, torch.zeros(6, dtype=torch.long), [3])[0]
    touched = outcome.adversarial.clone()
    touched[0, 0, 0, 0] = 1 - touched[0, 0, 0, 0]
    good, _ = NORM.keeps(touched, photos, 3, outcome.parameters)
    assert good.tolist() == [False] + [True] * 5
    assert not NORM.keeps(outcome.adversarial, photos, 2, outcome.parameters)[0].any(), "more severe than ε"
    assert not NORM.keeps(outcome.adversarial, photos, 3)[0].any(), "without parameters nothing is shown"


def test_an_evaluation_of_the_fifteen(model, photos):
    labels = model(photos).argmax(1)
    found = evaluate(model, (photos, labels), Corruption.fifteen(), epsilons=[1, 5])
    assert found.records["verified"].all() and (found.records["distance"] == found.records["eps"]).all()
    assert set(found.records["attack"]) == set(COMMON) and len(by_corruption(found.records)) == 30
    (means,) = corruption_errors(found.records).to_dict("records")
    assert (means["n"], means["corruptions"], means["severities"], means["clean"]) == (6, 15, 2, 0)
    assert means["worst"] >= means["error"] and not found.records["forwards"].any()
    (verdict,) = verdicts(found.records, [])
    assert "at corruption severity 1 of 5" in verdict.sentence


def test_a_randomized_model_gets_the_same_images(model, photos):
    noisy = PredictionAveraging(model, 0.1, samples=2)
    found = evaluate({"m": noisy}, (photos, torch.zeros(6, dtype=torch.long)), Corruption(3, "fog"), draws=2, eot=2)
    assert found.records["verified"].all() and found.records["draws"].unique().tolist() == [2]


def test_a_callable_cannot_claim_it(model, photos):
    def own(model, images, labels):
        return images

    own.norm, own.eps = "corruption", 3
    with pytest.raises(EscrimeError, match="cannot be seen from the image"):
        evaluate(model, (photos, torch.zeros(6, dtype=torch.long)), own)
