"""evaluate() doubts its own numbers: what it finds wrong, what it runs because of it, and what it says then."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from escrime import FGSM, PGD, EscrimeError, PredictionAveraging, RayS, Square, evaluate
from escrime.evaluation import Effort, Finding
from escrime.evaluation.checks import examine

QUICK = Effort(images=32, steps=20, queries=200, draws=50, eot=4, doublings=1)
HASTY = Effort(images=16, steps=5, queries=20, draws=10, eot=2, doublings=0)  # where the search need not find anything


class Wrapped(nn.Module):
    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x):
        return self.change(self.network, x)


@pytest.fixture
def few(data):
    return data[0][:40], data[1][:40]


def alarms(evaluation):
    return {finding.id for finding in evaluation.alarms}


def stands(evaluation, eps=0.1):
    table = evaluation.summary().query("attack == 'worst case' and eps == @eps")
    return table["accuracy"].item()


def test_an_honest_model_raises_no_alarm(linear, few):
    found = evaluate(linear, few, [FGSM(0.1), PGD(0.1, steps=10)], checks=QUICK)
    assert not found.alarms and {f.severity for f in found.checks} <= {"passed", "note", "warning"}
    verdict = found.verdicts[0]
    assert verdict.believe and "no check objects" in verdict.sentence and f"{verdict.n} images" in verdict.sentence


def test_where_a_stronger_attack_found_no_more_none_was_run_on_every_image(linear, few):
    found = evaluate(linear, few, FGSM(0.1), checks=replace(QUICK, images=40))
    assert set(found.records["attack"]) == {"FGSM"}
    assert found.verdicts[0].believe and "tried on some of the images and found no more" in found.verdicts[0].sentence


def test_the_few_images_that_were_no_part_of_the_sample_are_attacked_too(linear, few):
    """One of the eight falls to a loss other than cross-entropy, and the sentence tells of both numbers."""
    found = evaluate(linear, few, FGSM(0.1), checks=replace(QUICK, images=32))
    verdict, step = found.verdicts[0], found.records.query("attack == 'FGSM'")["correct"].mean()
    assert verdict.believe and verdict.accuracy == pytest.approx(step - 1 / 40)
    assert f"the attacks that were asked for left {step:.1%}" in verdict.sentence


def test_of_many_images_a_sample_speaks_for_the_others(linear, data):
    assert set(evaluate(linear, data, FGSM(0.1), checks=replace(QUICK, images=30)).records["attack"]) == {"FGSM"}


def test_how_far_the_attacks_asked_for_were_from_the_best(linear, few):
    """Half of ε is a weak attack; a single step on a linear model is the best there is."""

    def half(model, images, labels):
        return images + (FGSM(0.1)(model, images, labels) - images) / 2

    for attack, severity in ((half, "note"), (FGSM(0.1), "passed")):
        found = evaluate(linear, few, {"asked": attack}, epsilons=[0.1], checks=QUICK)
        quality = next(f for f in found.checks if f.id == "attack-quality")
        assert quality.severity == severity
        left = found.records.query("attack == 'asked'")["correct"].mean()
        assert quality.evidence["asked for leave"] == pytest.approx(left, abs=0.15)
        assert quality.evidence["best leaves"] <= quality.evidence["asked for leave"]
        assert 0 < quality.evidence["median ε, nearest"] < 0.2


@pytest.mark.parametrize("doublings, said", [(0, "note"), (1, "passed")])
def test_what_was_not_tried_has_not_passed(linear, few, doublings, said):
    found = evaluate(linear, few, [PGD(0.1, steps=10)], checks=replace(QUICK, images=16, doublings=doublings))
    assert [finding.severity for finding in found.checks if finding.id == "converged"] == [said]


HIDDEN = {
    "detached": (lambda net, x: net(x.detach()), "gradient-zero"),
    "rounded": (lambda net, x: net((x * 255).round() / 255), "gradient-zero"),
    "saturated": (lambda net, x: 1e4 * net(x), "gradient-saturated"),
}


@pytest.mark.parametrize("change, id", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_gradient_is_found_and_gone_around(linear, few, change, id):
    attacks = [FGSM(0.05), PGD(0.05, steps=10)]
    true = stands(evaluate(linear, few, attacks, checks=QUICK), 0.05)
    model = Wrapped(linear, change)
    naive = PGD(0.05, steps=10, random_start=False)(model, *few)
    assert (model(naive).argmax(1) == few[1]).float().mean() > true + 0.3, "the hiding must look like a defense"
    found = evaluate(model, few, attacks, checks=QUICK)
    assert id in alarms(found) and stands(found, 0.05) <= true + 0.05
    verdict = found.verdicts[0]
    assert id in verdict.sentence
    # Logits that are too far apart are divided, and nothing else is different; what was rounded has only an upper bound.
    exact = id == "gradient-saturated"
    assert verdict.believe == exact and ("taken away" if exact else "upper bound") in verdict.sentence


def test_a_weak_attack_is_answered_by_a_stronger_one(few, linear):
    def lazy(model, images, labels):
        return images

    found = evaluate(linear, few, {"lazy": lazy}, epsilons=[0.1], checks=QUICK)
    finding = next(f for f in found.checks if f.id == "attack-strength")
    assert finding.severity == "warning" and finding.answered
    assert stands(found) < 0.2 and (found.records.query("attack == 'lazy'")["correct"] == 1).all()
    stronger = found.records.query("attack == 'stronger'")
    assert len(stronger) == 40 and stronger["verified"].all() and (stronger["distance"] <= 0.1 + 1e-7).all()
    assert found.verdicts[0].believe and "stronger" in found.verdicts[0].sentence


def test_what_had_fallen_keeps_the_row_that_says_so(linear, few):
    def half(model, images, labels):
        moved = images.clone()
        moved[:20] = PGD(0.1, steps=20)(model, images[:20], labels[:20])
        return moved

    records = evaluate(linear, few, {"half": half}, epsilons=[0.1], checks=QUICK).records
    before, after = (records.query("attack == @name").set_index("image") for name in ("half", "stronger"))
    already_fooled = before.index[before["correct"] == 0]
    assert len(already_fooled) >= 10 and (after.loc[already_fooled, "backwards"] == 0).all()
    assert (after.loc[already_fooled, "prediction"] == before.loc[already_fooled, "prediction"]).all()
    assert (after.loc[~after.index.isin(already_fooled), "backwards"] > 0).all()


@pytest.mark.parametrize("share", [1, 3])
def test_an_image_wrong_from_the_start_counts_also_where_its_attack_left_the_ball(linear, few, share):
    """All images of such an attack are those that it was run on, not those that still stand."""
    images, labels = few
    with torch.no_grad():
        answers = linear(images).argmax(1)
    labels = torch.where(torch.arange(len(labels)) % 2 == 0, (answers + 1) % 3, answers)

    def beyond(model, images, labels):
        moved = PGD(0.02, steps=10)(model, images, labels)
        moved[::share] = PGD(0.04, steps=10)(model, images[::share], labels[::share])
        return moved

    found = evaluate(linear, (images, labels), {"beyond": beyond}, epsilons=[0.02], checks=QUICK)
    honest = evaluate(linear, (images, labels), PGD(0.02, steps=10), checks=QUICK)
    verdict = found.verdicts[0]
    assert not found.records.query("attack == 'beyond'")["verified"].all()
    assert (verdict.n, verdict.clean) == (len(labels), 0.5)
    assert verdict.accuracy == pytest.approx(honest.verdicts[0].accuracy, abs=0.03)


@pytest.mark.parametrize("share", [1, 3])
def test_a_randomized_model_and_an_attack_that_leaves_the_ball(linear, few, share):
    def away(model, images, labels):
        moved = images.clone()
        moved[::share] = (images[::share] + 0.5).clamp(0, 1)
        return moved

    averaged = PredictionAveraging(linear, 0.1, 2)
    found = evaluate(averaged, few, {"away": away}, epsilons=0.02, checks=HASTY, draws=2, eot=2)
    assert found.verdicts[0].n == len(few[1]) and "unverified" in found.verdicts[0].sentence


@pytest.mark.parametrize("eps, left", [(0.02, True), (0.5, False)])
def test_what_has_not_converged_is_not_answered_while_anything_is_left(linear, few, monkeypatch, eps, left):
    falling = Finding("converged", "warning", "twice the steps still take more off")
    monkeypatch.setattr(examine, "_converged", lambda search: falling)
    found = evaluate(linear, few, {"lazy": lambda model, images, labels: images}, epsilons=[eps], checks=QUICK)
    finding, verdict = next(f for f in found.checks if f.id == "converged"), found.verdicts[0]
    assert "stronger" in set(found.records["attack"]) and (stands(found, eps) > 0) is left
    assert finding.answered is not left and verdict.believe is not left
    assert ("may be lower, for more steps still find more (converged)" in verdict.sentence) is left


def softmax(logits):
    return logits.softmax(1)


def labels_only(logits):
    return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


@pytest.mark.parametrize("answer", [softmax, labels_only])
def test_what_a_black_box_has_no_gradients_for_is_no_alarm(linear, few, answer):
    found = evaluate(lambda x: answer(linear(x.detach()).detach()), few, RayS(0.03, queries=100), checks=HASTY)
    assert "black-box" in {f.id for f in found.checks} and "probabilities" not in {f.id for f in found.checks}
    assert not any(f.severity == "alarm" for f in found.checks)
    assert found.verdicts[0].sentence.endswith("asked too few times (few-queries)."), found.verdicts[0].sentence
    with_gradients = evaluate(lambda x: linear(x).softmax(1), few, PGD(0.03, steps=5), checks=HASTY)
    assert "probabilities" in alarms(with_gradients)


@pytest.mark.parametrize(("norm", "eps", "alarm"), [("l1", 2.0, True), ("l2", 0.4, False), ("linf", 0.05, False)])
def test_labels_of_a_black_box_mislead_a_search_by_scores(linear, few, norm, eps, alarm):
    """In l_inf and l2 labels alone are followed too; elsewhere nobody followed anything, and nothing can be believed."""
    labels = lambda x: nn.functional.one_hot(linear(x).argmax(1), 4).float().detach()  # noqa: E731
    attack = Square(eps, queries=1200, norm=norm)
    found = evaluate(labels, few, attack, checks=QUICK, progress=False)
    assert ("scores-flat" in alarms(found)) is alarm
    assert not (alarm and found.verdicts[0].believe)
    scores = evaluate(lambda x: linear(x).detach(), few, attack, checks=QUICK, progress=False)
    assert "scores-flat" not in alarms(scores)


def test_images_that_are_given_again_and_again_are_noted(linear, few):
    def duplicates(data):
        found = evaluate(linear, data, PGD(0.1, steps=5), checks=HASTY)
        (finding,) = (f for f in found.checks if f.id == "duplicates")
        return finding.severity, "duplicates" in found.verdicts[0].sentence and not found.verdicts[0].believe

    assert duplicates(few) == ("passed", False)
    again = torch.cat([few[0], few[0][:2]]), torch.cat([few[1], few[1][:2]])
    assert duplicates(again) == ("note", False), "two of 42"
    assert duplicates((few[0][:10].repeat(4, 1, 1, 1), few[1][:10].repeat(4))) == ("warning", True)


@pytest.mark.slow
def test_a_classifier_that_ignores_its_input_scores_what_it_is_worth(few):
    """It errs 5 % of the time, whatever the attack: no search over attacks and draws may make that 85 %."""

    class Chance(nn.Module):
        def forward(self, x):
            errs = torch.rand(len(x)) < 0.05
            return torch.stack([errs.float(), (~errs).float(), torch.zeros(len(x))], dim=1)

    images = torch.rand(100, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    data = images, torch.ones(100, dtype=torch.long)
    found = evaluate(Chance(), data, [FGSM(0.1), PGD(0.1, steps=5)], checks=QUICK)
    assert "randomized" in {f.id for f in found.checks}
    assert stands(found) == pytest.approx(0.95, abs=0.03)  # 800 draws: a standard error of 0.8 points
    assert found.verdicts[0].accuracy == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
def test_a_defense_known_by_its_noise_falls_further_than_a_single_draw_shows(linear, few):
    models = {"net": linear, "ppa": PredictionAveraging(linear, eps_max=0.2, samples=4)}
    found = evaluate(models, few, [FGSM(0.1)], checks=QUICK)
    said = {(v.model, v.threat) for v in found.verdicts}
    assert said == {("net", "white-box"), ("ppa", "adaptive")}
    adaptive = found.summary().query("model == 'ppa' and attack == 'worst case'").set_index("threat")["accuracy"]
    assert adaptive["adaptive"] <= adaptive["transfer"] + 0.05


@pytest.mark.slow
def test_the_answer_depends_on_nothing_but_the_seed(linear, few):
    model = Wrapped(linear, HIDDEN["rounded"][0])
    first, second = (evaluate(model, few, PGD(0.05, steps=5), checks=QUICK, seed=3) for _ in range(2))
    assert first.records.equals(second.records) and first.checks == second.checks


def test_training_images_among_the_test_images_forbid_belief(linear, few):
    found = evaluate(linear, few, PGD(0.1, steps=10), checks=QUICK, train=few)
    assert "train-test-overlap" in alarms(found) and not found.verdicts[0].believe


def test_checks_can_be_left_out_and_are_refused_by_name(linear, few):
    found = evaluate(linear, few, FGSM(0.1), checks=False)
    assert found.checks == [] and "stronger" not in set(found.records["attack"])
    assert "nobody has looked" in found.verdicts[0].sentence and not found.verdicts[0].believe
    with pytest.raises(EscrimeError, match="Effort.steps = 0 is not a whole number from 1"):
        evaluate(linear, few, FGSM(0.1), checks=Effort(steps=0))


def rising(logits):
    """(…, K): the surer, the nearer to the boundary."""
    first, second = logits.topk(2, -1).values.unbind(-1)
    ahead = logits - torch.where(logits == first[..., None], second[..., None], first[..., None])
    return ahead.sign() * (torch.exp(-ahead.abs()) * (1 - torch.exp(-50 * ahead.abs())))


@pytest.mark.parametrize("table", [True, False])
def test_confidence_that_rises_towards_the_boundary_is_gone_around(linear, few, table):
    """Gradients and scores are true and lead away; logits inside the model lead where the plain network falls, or where there
    is no table of them the classes alone."""

    def without_table(network, x):
        return rising(x.flatten(1)[:, None] @ network.weight.T[None])[:, 0]

    model = Wrapped(linear, (lambda network, x: rising(network(x))) if table else without_table)
    found = evaluate(model, few, PGD(0.1, steps=10), checks=QUICK)
    plain = evaluate(linear, few, PGD(0.1, steps=10), checks=False)
    verdict = found.verdicts[0]
    assert verdict.accuracy <= plain.verdicts[0].accuracy + 0.1 < found.records.query("attack == 'PGD'")["correct"].mean()
    assert table or not verdict.believe and "gradient-misleads" in alarms(found)


class Astray(nn.Module):
    """The classes of the network, behind margins that are nearly flat until close to the boundary, times a factor that rises
    along a pattern: the gradient is true everywhere, and leads to a corner where no class changes. table: whether there is one
    of the network's logits."""

    def __init__(self, network, flat, slope, table=True):
        super().__init__()
        self.network, self.flat, self.slope, self.table = network, flat, slope, table

    def forward(self, x):
        logits = self.network(x)[:, None] if self.table else x.flatten(1)[:, None] @ self.network.weight.T[None]
        top = logits.sort(-1, descending=True)
        gaps = top.values[..., :-1] - top.values[..., 1:]
        gaps = gaps / (gaps + self.flat)
        pattern = torch.ones(x[0].numel()).cumsum(0).mul(2.1).sin().sign().view(x.shape[1:])
        factor = nn.functional.softplus(6 + self.slope * (pattern * (x - 0.5)).flatten(1).sum(1)[:, None, None])
        gaps = torch.cat([gaps[..., :1] * factor, gaps[..., 1:]], -1)
        values = torch.cat([gaps.flip(-1).cumsum(-1).flip(-1), torch.zeros_like(gaps[..., :1])], -1)
        return torch.zeros_like(logits).scatter(-1, top.indices, values)[:, 0]


@pytest.mark.parametrize("table", [True, False])
def test_a_true_gradient_that_leads_into_a_dead_end_is_not_believed(linear, few, table):
    truth = evaluate(linear, few, PGD(0.05, steps=20), checks=False).verdicts[0].accuracy
    found = evaluate(Astray(linear, 0.02, 2.0, table), few, PGD(0.05, steps=20), checks=QUICK)
    step = found.records.query("attack == 'PGD'")["correct"].mean()
    assert step > truth + 0.2, "or the case would prove nothing"
    verdict = found.verdicts[0]
    assert verdict.accuracy <= truth + 0.1 and (table or "gradient-misleads" in alarms(found))


@pytest.mark.parametrize("norm, eps", [("linf", 0.03), ("l2", 0.2)])
def test_logits_inside_a_model_are_climbed_where_they_are_more_than_its_own(linear, few, norm, eps):
    attack = PGD(eps, steps=20, norm=norm)
    honest = evaluate(linear, few, attack, checks=QUICK)
    found = evaluate(Astray(linear, 0.02, 2.0), few, attack, checks=QUICK)
    step = found.records.query("attack == 'PGD'")["correct"].mean()
    assert step > honest.verdicts[0].accuracy + 0.15, "or the case would prove nothing"
    assert found.verdicts[0].accuracy <= honest.verdicts[0].accuracy + 0.03
