"""An evaluation on a GPU says what it says on the CPU."""

import copy

import pytest
import torch

from escrime import FGSM, PGD, Effort, MajorityVote, PredictionAveraging, certify, evaluate

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA GPU here", allow_module_level=True)

QUICK = Effort(images=32, steps=20, queries=200, draws=50, eot=4, doublings=1)


def test_the_same_summary_and_verdicts(linear, data):
    def judge(model, device):
        images, labels = (t.to(device) for t in data)
        models = {"bare": model, "ppa": PredictionAveraging(model, eps_max=0.05, samples=4)}
        return evaluate(models, (images, labels), [FGSM(0.02), PGD(0.02, steps=10)], checks=QUICK, device=device)

    there, here = judge(copy.deepcopy(linear).cuda(), "cuda"), judge(linear, "cpu")
    keys = ["model", "defense", "threat", "attack", "eps"]
    joined = there.summary().merge(here.summary(), on=keys, suffixes=("", "_cpu"))
    assert len(joined) == len(here.summary()) == len(there.summary())
    plain = joined[joined.defense == "none"]
    assert (plain.accuracy - plain.accuracy_cpu).abs().max() <= 2 / 150
    assert (joined.accuracy - joined.accuracy_cpu).abs().max() <= 0.1  # the noise is another one on a GPU
    assert [v.believe for v in there.verdicts] == [v.believe for v in here.verdicts]
    assert there.records.verified.all()


def test_votes_and_certificates(linear, data):
    images, labels = data[0][:20].cuda(), data[1][:20].cuda()
    linear.cuda()
    vote = MajorityVote(linear, eps_max=0.05, samples=9)
    assert (vote(images).argmax(1) == labels).float().mean() > 0.8
    found = certify(linear, images, labels, eps_max=0.05, samples=200)
    table = found.summary([0.0, 1e9])
    assert table.accuracy[0] > 0.8 and table.accuracy[1] == 0


def test_what_a_callable_draws_follows_the_seed(linear, data):
    def noise(model, images, labels):
        return (images + 0.05 * torch.rand_like(images).sub(0.5).sign()).clamp(0, 1)

    images, labels = (t.cuda() for t in data)
    linear.cuda()
    before = torch.cuda.get_rng_state()
    found = [
        evaluate(linear, (images, labels), {"noise": noise}, epsilons=0.05, checks=False, seed=s).records for s in (1, 1, 2)
    ]
    assert found[0].equals(found[1]) and not found[0].confidence.equals(found[2].confidence)
    assert torch.equal(before, torch.cuda.get_rng_state())
