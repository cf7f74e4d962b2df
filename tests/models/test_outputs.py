"""What people's classifiers return, and take: every form counts as the logits in it, and nothing of theirs is copied."""

import copy
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import escrime
from escrime.attacks.core.base import Attack
from escrime.errors import EscrimeError
from escrime.evaluation.effort import Effort
from escrime.models.adapted import InItsPrecision, in_its_precision
from escrime.models.outputs import logits_in
from escrime.models.running import check_logits, in_float32
from escrime.training import TrainSettings

QUICK = Effort(images=8, steps=4, queries=20, draws=10, eot=1, doublings=0)


def network(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


class Answers(nn.Module):
    """As `AutoModelForImageClassification` and others are: a network that wraps what it returns."""

    def __init__(self, form, inside=None):
        super().__init__()
        self.inside, self.form = inside or network(), form
        self.config = SimpleNamespace(id2label={0: "cat", 1: "dog", 2: "owl"})

    def forward(self, pixel_values):
        return self.form(self.inside(pixel_values))


FORMS = {
    "an object": lambda z: SimpleNamespace(logits=z, loss=None),
    "a model output": lambda z: OrderedDict(logits=z, hidden_states=None),
    "a tuple": lambda z: (z, z.detach().mean(1)),
    "a list": lambda z: [z],
    "a dict in a tuple's place": lambda z: {"logits": (z, None)},
}


@pytest.fixture
def data():
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, network()(images).argmax(1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_entry_reads_the_logits_in_it(form, data):
    model, bare, attack = Answers(form), network(), escrime.PGD(0.1, steps=3)
    before = list(map(id, model.parameters()))
    assert torch.equal(attack(model, *data), attack(bare, *data))
    found = [escrime.evaluate(one, data, attack, checks=QUICK) for one in (model, bare)]
    assert found[0].records.equals(found[1].records)
    assert [finding.id for finding in found[0].alarms] == [finding.id for finding in found[1].alarms]
    averaged = [escrime.PredictionAveraging(one, 0.0, 2)(data[0]) for one in (model, bare)]
    assert torch.equal(*averaged)
    assert list(map(id, model.parameters())) == before and not model._forward_hooks


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_it_is_trained_as_any_other(form, data):
    settings = TrainSettings(epochs=1, batch_size=4, learning_rate=0.01)
    data = (data[0].mul(255).round() / 255, data[1])
    model, bare = Answers(form), network()
    escrime.fit(model, data, "trades", settings=settings)
    escrime.fit(bare, data, "trades", settings=settings)
    assert all(torch.equal(a, b) for a, b in zip(model.inside.parameters(), bare.parameters(), strict=True))
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_a_network_behind_a_normalization_may_return_any_form(data):
    plain, wrapped = (escrime.Normalized(one, 0.5, 0.5) for one in (network(), Answers(FORMS["an object"])))
    assert torch.equal(plain(data[0]), wrapped(data[0]))


def test_one_logit_counts_as_two(data):
    """The same binary classifier with one logit and with two has the same records."""
    one = network(1)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = copy.deepcopy(one)

        def forward(self, x):
            return torch.nn.functional.pad(self.one(x), (1, 0))

    images = data[0]
    with torch.no_grad():
        one[-1].bias -= one(images).median()
    labels = (one(images)[:, 0] > 0).long()
    found = [escrime.evaluate(model, (images, labels), escrime.PGD(0.1, steps=3), checks=QUICK) for model in (one, Both())]
    assert found[0].records.equals(found[1].records) and found[0].records["clean_prediction"].nunique() > 1
    assert check_logits(torch.tensor([[2.0], [-1.0]]), images[:2]).tolist() == [[0, 2], [0, -1]]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision_are_judged_as_they_are(kind, data):
    model = network().to(kind)
    wrapped = in_its_precision(model)
    assert isinstance(wrapped, InItsPrecision) and wrapped.model is model and in_its_precision(wrapped) is wrapped
    images = data[0]
    labels = model(images.to(kind)).argmax(1)
    moved = escrime.PGD(0.1, steps=3)(model, images, labels)
    assert moved.dtype == torch.float32 and (moved - images).abs().max() <= 0.1
    found = escrime.evaluate(model, (images, labels), escrime.PGD(0.1, steps=3), checks=QUICK)
    asked = model(moved.to(kind)).argmax(1)
    own = found.records[found.records["attack"] == "PGD"]
    assert own["prediction"].tolist() == asked.tolist() and not found.alarms
    assert {parameter.dtype for parameter in model.parameters()} == {kind}
    assert escrime.PredictionAveraging(model, 0.05, 3)(images).dtype == torch.float32
    assert escrime.Normalized(model, 0.5, 0.5)(images).shape == (8, 3)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_may_turn_images_into_its_precision_itself(kind, data):
    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = network().to(kind)

        def forward(self, images):
            return self.inside(images.sub_(0.5).to(kind)).float()

    images, model = data[0], Turning()
    with torch.no_grad():
        labels = model(images.clone()).argmax(1)
    moved = escrime.PGD(0.3, steps=5)(model, images, labels)
    assert (model(moved.clone()).argmax(1) != labels).any()
    found = escrime.evaluate(model, (images, labels), escrime.PGD(0.3, steps=5), checks=QUICK)
    own = found.records[found.records["attack"] == "PGD"]
    assert own["prediction"].tolist() == model(moved.clone()).argmax(1).tolist()
    assert not [finding for finding in found.checks if finding.id == "attack-failed" and finding.severity != "passed"]


@pytest.mark.parametrize(
    "form", [lambda z: z + 1e9, lambda z: z * 1e-60, lambda z: z * 1e60, lambda z: (1e5 * z).long() + 10**13]
)
def test_logits_out_of_float32s_reach_keep_their_class(form, data):
    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = network().double()

        def forward(self, images):
            return form(self.inside(images.double()))

    images = data[0]
    logits = form(network().double()(images.double()))
    labels = logits.argmax(1)
    read = check_logits(logits, images)
    assert read.dtype == torch.float32 and torch.equal(read.argmax(1), labels) and read.isfinite().all()
    assert torch.equal(torch.cat([check_logits(row[None], images[:1]) for row in logits]), read), "each row by itself"
    if logits.requires_grad:
        top = read.topk(2).values
        assert torch.autograd.grad((top[:, 0] - top[:, 1]).sum(), logits)[0].abs().sum(1).gt(0).all()
    found = escrime.evaluate(Sure(), (images, labels), escrime.PGD(0.0, steps=1), checks=False)
    assert found.records["correct"].all()


def test_logits_within_float32s_reach_are_only_rounded():
    logits = torch.tensor([[1e9, 1.0, float("-inf")], [0.25, 0.75, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.equal(in_float32(logits), logits.float())


def test_a_float32_model_is_taken_as_it_is():
    model = network()
    assert in_its_precision(model) is model
    assert logits_in(model) is model, "what holds no logits comes back for the caller to refuse"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"scores": torch.zeros(2, 3)}, "a dict with 'scores'"),
        ((), "a tuple"),
        (None, "a NoneType"),
        (torch.zeros(2, 3, 1), r"\(2, 3, 1\)"),
        (torch.zeros(2), r"\(2,\)"),
    ],
)
def test_what_holds_no_logits_is_said(output, said):
    with pytest.raises(EscrimeError, match=said):
        check_logits(output, torch.zeros(2, 3, 4, 4))


def test_attacks_of_others_get_logits_too(data):
    seen = []

    def theirs(model, images, labels):
        seen.append(model(images))
        return images

    assert not issubclass(type(theirs), Attack)
    escrime.evaluate(Answers(FORMS["an object"]), data, theirs, epsilons=0.1, checks=False)
    assert seen and all(isinstance(output, torch.Tensor) and output.shape == (8, 3) for output in seen)
