"""Each check of the records fires on numbers made to deserve it and stays quiet on those of an honest evaluation."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from escrime import APGD, DGSM, FGSM, FMN, PGD, AutoAttack, Effort, RandomPoints, RayS, Square, WorstCase, evaluate
from escrime.attacks import Attack
from escrime.evaluation import Evaluation
from escrime.results.checks.counting import images_for
from escrime.results.checks.records import record_findings
from escrime.results.findings import Finding, from_rows, in_order
from escrime.results.records import frame, worst_case
from escrime.results.verdicts import verdicts


def attacked(attack, right, n=200, *, defense="none", threat="white-box", target=-1, classes=4, **changes) -> pd.DataFrame:
    """Records of one attack: `right` maps ε to the share of images (the first ones) or the (n,) scores that are right."""
    frames = []
    for eps, share in right.items():
        scores = np.asarray(share, float) if np.ndim(share) else (np.arange(n) < round(share * n)).astype(float)
        labels = np.arange(n) % classes
        prediction = np.where(scores >= 0.5, labels, (labels + 1) % classes)
        rows = {
            "model": "net", "defense": defense, "threat": threat, "attack": attack, "norm": "linf", "eps": eps,
            "image": [f"d/{i:04d}" for i in range(n)], "subsets": "", "label": labels, "target": target,
            "clean_prediction": labels, "clean_confidence": 0.9, "prediction": prediction, "confidence": 0.8, "correct": scores,
            "hit": (prediction == target).astype(float), "draws": 1, "distance": eps, "forwards": 2.0, "backwards": 1.0,
            "verified": True, "survives_8bit": scores < 0.5, "seed": 0,
        }  # fmt: skip
        frames.append(frame(rows | changes))
    return pd.concat(frames, ignore_index=True)


FALL = {0.1: 0.6, 0.2: 0.3, 0.3: 0.2}
FALL_MORE = {0.1: 0.5, 0.2: 0.1, 0.3: 0.0}


def honest(n=200) -> pd.DataFrame:
    known = [attacked("FGSM", FALL, n, **case) for case in ({}, {"defense": "ppa", "threat": "adaptive"})]
    known += [attacked("PGD", FALL_MORE, n, **case) for case in ({}, {"defense": "ppa", "threat": "adaptive"})]
    ignored = [attacked(name, {0.1: 0.8, 0.2: 0.6, 0.3: 0.5}, n, defense="ppa", threat="transfer") for name in ("FGSM", "PGD")]
    return pd.concat(known + ignored, ignore_index=True)


def found(*parts) -> dict:
    """id → its most severe finding."""
    order = ["alarm", "warning", "note", "passed"]
    findings = sorted(record_findings(pd.concat(parts, ignore_index=True)), key=lambda f: order.index(f.severity), reverse=True)
    json.dumps([finding.as_dict() for finding in findings], allow_nan=False)  # evidence is plain JSON
    return {finding.id: finding for finding in findings}


def test_an_honest_evaluation_has_neither_alarm_nor_warning():
    severities = {finding.id: finding.severity for finding in found(honest()).values()}
    assert severities.pop("few-images") == "note"  # 200 images leave ±6.8 points
    assert set(severities.values()) == {"passed"}
    assert {"iterated-weaker", "accuracy-rises", "transfer-stronger", "only-transfer", "overfitting"} <= set(severities)
    assert {"unverified", "lost-in-8-bits", "single-step-only"} <= set(severities)


def test_nothing_is_said_of_clean_rows_alone():
    assert record_findings(attacked("none", {0.0: 1.0})) == []


def test_the_worst_case_is_no_attack_of_its_own():
    records = honest()
    both = found(records, worst_case(records)[records.columns])
    assert {i: f.message for i, f in both.items()} == {i: f.message for i, f in found(records).items()}


class Theirs(Attack):
    """An attack of a user's, which does not say what it is."""

    eps = 0.1


@pytest.mark.parametrize(
    ("attack", "manner"),
    [
        (FGSM(0.1), "single"), (PGD(0.1, steps=1), "single"), (WorstCase(FGSM(0.1)), "single"), (PGD(0.1), "iterated"),
        (APGD(0.1), "iterated"), (DGSM(0.1), "iterated"), (AutoAttack(0.1), "iterated"), (WorstCase(PGD(0.1)), "iterated"),
        (Square(0.1), "scores"), (FMN(0.1), "distance"), (RayS(0.1), "distance"), (RandomPoints(0.1), ""), (Theirs(), ""),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_an_attack_is_what_its_class_and_settings_make_it(attack, manner):
    assert attack.manner == manner


def test_a_label_does_not_decide_what_an_attack_is():
    parts = pd.concat([attacked("many", {0.1: 0.3}), attacked("PGD", {0.1: 0.5})], ignore_index=True)
    assert "iterated-weaker" not in {finding.id for finding in record_findings(parts)}
    known = record_findings(parts, manners={"many": "single", "PGD": "iterated"})
    assert next(finding for finding in known if finding.id == "iterated-weaker").severity == "alarm"
    known = record_findings(parts, manners={"many": "iterated", "PGD": "single"})
    assert not [finding for finding in known if finding.id == "iterated-weaker" and finding.severity == "alarm"]


@pytest.mark.parametrize(("manners", "judged"), [(None, True), ({}, False), ({"FGSM": "single"}, False)])
def test_only_records_without_any_manners_are_read_by_their_labels(manners, judged):
    parts = pd.concat([attacked("FGSM", {0.1: 0.3}), attacked("PGD", {0.1: 0.5})], ignore_index=True)
    found = [finding for finding in record_findings(parts, manners=manners) if finding.id == "iterated-weaker"]
    assert bool(found) == judged


@pytest.mark.parametrize("label", ["CarliniWagner", "DeepFool", "FMN", "RayS"])
def test_the_nearest_example_of_an_older_run_is_more_than_a_single_step(label):
    assert "single-step-only" in {f.id for f in record_findings(attacked(label, FALL)) if f.severity == "passed"}


def test_an_evaluation_knows_its_attacks_whatever_they_are_called():
    """One step called PGD bounds nothing, and 20 steps called mine do."""
    images, labels = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(20, dtype=torch.long)
    linear = torch.nn.Linear(4, 2)
    with torch.no_grad():  # right about nearly all, and near the boundary for some
        linear.weight.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
        linear.bias.copy_(torch.tensor([0.0, 2.0]))
    model = torch.nn.Sequential(torch.nn.Flatten(), linear)

    def said(attacks) -> str:
        found = evaluate(model, (images, labels), attacks, checks=Effort(4, 2, 4, 4, 2, 0)).checks
        return next(finding.severity for finding in found if finding.id == "single-step-only")

    assert said({"PGD": FGSM(0.1)}) == "warning" and said({"FGSM": PGD(0.1, steps=20)}) == "passed"


# ---- Many steps against one ----


def test_many_steps_weaker_than_one_are_an_alarm():
    finding = found(attacked("FGSM", {0.1: 0.3}), attacked("PGD", {0.1: 0.5}))["iterated-weaker"]
    assert finding.severity == "alarm" and finding.model == "net" and not finding.answered
    assert "PGD leaves 50.0% right at ε = 0.1" in finding.message and "FGSM 30.0%" in finding.message


def test_a_stronger_attack_answers_it():
    finding = found(attacked("FGSM", {0.1: 0.3}), attacked("PGD", {0.1: 0.5}), attacked("stronger", {0.1: 0.1}))
    assert finding["iterated-weaker"].severity == "alarm" and finding["iterated-weaker"].answered


@pytest.mark.parametrize(
    "parts",
    [
        (attacked("FGSM", {0.1: 0.3}), attacked("PGD", {0.1: 0.34})),  # below five points
        (attacked("FGSM", {0.1: 0.3}, 20), attacked("PGD", {0.1: 0.5}, 20)),  # four images of twenty
        (attacked("FGSM", {0.1: 0.3}), attacked("PGD", {0.1: 0.5}, norm="l2")),  # another norm
        (attacked("FGSM", {0.1: 0.3}), attacked("DGSM", {0.1: 0.5}, target=1)),  # aimed at one class
        (attacked("FGSM", {0.1: 0.3}), attacked("mine", {0.1: 0.5})),  # who knows what it does
        # Single steps carry over to other networks better than many.
        [attacked(name, {0.1: right}, defense="ppa", threat="transfer") for name, right in (("FGSM", 0.3), ("PGD", 0.5))],
    ],
)
def test_many_steps_may_be_weaker_where_that_proves_nothing(parts):
    assert found(*parts).get("iterated-weaker", None) is None or found(*parts)["iterated-weaker"].severity == "passed"


def test_averages_over_noise_are_compared_too():
    certain, noisy = np.full(200, 0.25), np.full(200, 0.75)
    parts = [attacked(name, {0.1: s}, draws=8) for name, s in (("FGSM", certain), ("PGD", noisy))]
    assert found(*parts)["iterated-weaker"].severity == "alarm"


def test_resisting_one_step_only_is_overfitting():
    finding = found(attacked("FGSM", {0.1: 0.9}), attacked("PGD", {0.1: 0.1}))["overfitting"]
    assert finding.severity == "alarm" and "90.0%" in finding.message and "10.0%" in finding.message


@pytest.mark.parametrize(("one", "many"), [(0.9, 0.65), (0.7, 0.1)])
def test_a_smaller_gap_or_a_network_that_one_step_hurts_is_not(one, many):
    assert found(attacked("FGSM", {0.1: one}), attacked("PGD", {0.1: many}))["overfitting"].severity == "passed"


@pytest.mark.parametrize("norm", ["l1", "l0", "patch"])
def test_one_step_that_moves_few_values_proves_no_overfitting(norm):
    """An honest MobileNetV2 of 89 % keeps 76 % under FGSM in l0 and nothing under AutoAttack."""
    assert "overfitting" not in found(attacked("FGSM", {12: 0.8}, norm=norm), attacked("PGD", {12: 0.0}, norm=norm))


def test_examples_made_for_another_network_prove_no_overfitting():
    parts = [attacked(name, {0.1: s}, defense="ppa", threat="transfer") for name, s in (("FGSM", 0.9), ("PGD", 0.1))]
    assert "overfitting" not in found(*parts)


def test_single_steps_alone_bound_nothing():
    finding = found(attacked("FGSM", FALL))["single-step-only"]
    assert finding.severity == "warning" and "FGSM" in finding.message
    assert "single-step-only" not in found(attacked("FGSM", FALL), attacked("mine", FALL))  # it may be anything
    for name in ("PGD", "Square", "FMN", "stronger"):
        assert found(attacked("FGSM", FALL), attacked(name, FALL_MORE))["single-step-only"].severity == "passed"


# ---- Growing ε ----

RISES = {0.1: 0.4, 0.2: 0.3, 0.3: 0.6}


def test_a_single_step_that_overshoots_is_a_note():
    finding = found(attacked("FGSM", RISES))["accuracy-rises"]
    assert finding.severity == "note" and "from 30.0% at ε = 0.2 to 60.0% at ε = 0.3" in finding.message
    assert "label leaking" in finding.message and "worst case" in finding.remedy


def test_many_steps_that_rise_are_a_warning():
    finding = found(attacked("FGSM", FALL), attacked("PGD", RISES))["accuracy-rises"]
    assert finding.severity == "warning" and "under PGD rises from 30.0%" in finding.message and not finding.answered
    answered = found(attacked("PGD", RISES), attacked("stronger", {0.3: 0.1}))["accuracy-rises"]
    assert answered.severity == "warning" and answered.answered


@pytest.mark.parametrize(
    ("right", "n"), [({0.1: 0.4, 0.2: 0.42}, 200), ({0.1: 0.4, 0.2: 0.5}, 20), ({0.1: 0.6, 0.2: 0.3, 0.3: 0.3}, 200)]
)
def test_a_rise_of_noise_is_none(right, n):
    assert found(attacked("PGD", right, n))["accuracy-rises"].severity == "passed"


def test_an_attack_aimed_at_a_class_may_rise():
    assert "accuracy-rises" not in found(attacked("DGSM", RISES, target=1))


# ---- Where every image must fall ----


def test_half_the_color_range_must_be_enough():
    finding = found(attacked("PGD", {0.1: 0.9, 0.5: 0.4}, classes=10))["no-full-success"]
    assert finding.severity == "alarm" and "leaves 40.0% of 200 images right" in finding.message
    assert finding.evidence["median distance of those that stand"] == 0.5


@pytest.mark.parametrize(
    ("eps", "left", "fires"), [(0.5, 0.12, True), (0.5, 0.08, False), (1.0, 0.08, True), (1.0, 0.04, False)]
)
def test_any_image_must_be_more_than_enough(eps, left, fires):
    finding = found(attacked("PGD", {eps: left}, classes=10))["no-full-success"]
    assert (finding.severity == "alarm") == fires


def test_the_class_of_gray_may_stand_where_there_are_two():
    assert found(attacked("PGD", {0.5: 0.45}, classes=2))["no-full-success"].severity == "passed"


@pytest.mark.parametrize("changes", [{"norm": "l2"}, {"defense": "ppa", "threat": "transfer"}, {"target": 1}])
def test_full_success_is_not_asked_of_everyone(changes):
    assert "no-full-success" not in found(attacked("PGD", {0.5: 0.9}, **changes))
    assert "no-full-success" not in found(attacked("FGSM", {0.5: 0.9}))


def test_a_stronger_attack_that_takes_all_answers_it():
    parts = attacked("PGD", {0.5: 0.9}), attacked("stronger", {0.5: 0.0})
    assert found(*parts)["no-full-success"].severity == "alarm" and found(*parts)["no-full-success"].answered
    assert not found(parts[0], attacked("stronger", {0.5: 0.8}))["no-full-success"].answered


# ---- Subsets ----


def test_a_worst_case_is_chosen_within_its_subset_wherever_it_is_told():
    """A randomized model whose images of one subset fall to one attack, those of the other to another."""
    rng, half = np.random.default_rng(0), np.arange(200) < 100
    subsets = np.where(half, "first", "second")

    def under(attack, first, second):
        rows = attacked(attack, {0.1: np.where(half, first, second) + 0.0}, subsets=subsets, draws=8)
        chance = np.where(half, first, second)
        return rows.assign(correct=rng.binomial(8, chance) / 8, preliminary=rng.binomial(8, chance) / 8)

    records = pd.concat([under("PGD", 0.3, 0.6), under("Square", 0.8, 0.5)], ignore_index=True)
    said = {verdict.subset: verdict.accuracy for verdict in verdicts(records, [])}
    table = Evaluation(records).summary()
    table = table[table["attack"] == "worst case"].set_index("subset")["accuracy"]
    assert said == pytest.approx(table.to_dict())
    assert worst_case(records)["correct"][~half].mean() != pytest.approx(said["second"]), "where it matters"


# ---- Two norms ----


def test_what_is_found_in_one_norm_is_not_of_the_other():
    """In l2 many steps and an examination; in linf a single step, of which nobody has said more."""
    parts = attacked("FGSM", FALL), attacked("PGD", FALL_MORE, norm="l2")
    records = pd.concat(parts, ignore_index=True)
    looked = Finding("attack-strength", "passed", "looked").of("net", "none", "white-box", "l2")
    findings = in_order([looked, *record_findings(records)])
    single = next(finding for finding in findings if finding.id == "single-step-only")
    assert (single.norm, single.severity, single.answered) == ("linf", "warning", False)
    believed = {verdict.norm: verdict.believe for verdict in verdicts(records, findings)}
    assert believed == {"linf": False, "l2": True}


def test_a_check_speaks_once_for_each_norm():
    rises = {"linf": {0.1: 0.3, 0.2: 0.8}, "l2": {0.1: 0.3, 0.2: 0.9}}
    records = pd.concat([attacked("PGD", right, norm=norm) for norm, right in rises.items()], ignore_index=True)
    risen = [finding for finding in in_order(record_findings(records)) if finding.id == "accuracy-rises"]
    assert sorted(finding.norm for finding in risen) == ["l2", "linf"]


def test_what_holds_in_every_norm_is_said_once():
    zero = [Finding("gradient-zero", "alarm", "no gradient").of("net", "none", "white-box", norm) for norm in ("linf", "l2")]
    assert [(finding.id, finding.norm) for finding in in_order(zero)] == [("gradient-zero", "")]
    assert len(in_order([zero[0], zero[1].of("other", "none", "white-box", "l2")])) == 2


def test_what_holds_in_some_norms_says_nothing_of_the_others():
    near = [Finding("converged", "warning", "not yet").of("net", "none", "white-box", norm) for norm in ("linf", "l2")]
    other = Finding("attack-strength", "passed", "enough").of("net", "none", "white-box", "l1")
    found = [(finding.id, finding.norm) for finding in in_order([*near, other])]
    assert sorted(found) == [("attack-strength", "l1"), ("converged", "l2"), ("converged", "linf")]


def test_findings_of_an_earlier_version_are_about_the_norm_there_was(tmp_path):
    """Else they would stand beside those that the records give again, and an examination would be nobody's."""
    now = [Finding("attack-strength", "passed", "looked"), Finding("single-step-only", "warning", "one step", answered=True)]
    rows = [finding.of("net", "none", "white-box", "linf").as_dict() for finding in now]
    for row in rows:
        del row["norm"]
    rows.append({"id": "near-duplicates", "severity": "note", "message": "twins", "unheard-of": 1})
    old = from_rows(rows, "linf")
    assert [finding.norm for finding in old] == ["linf", "linf", ""]
    again = record_findings(attacked("FGSM", FALL))
    single = [finding for finding in in_order([*old, *again]) if finding.id == "single-step-only"]
    assert len(single) == 1 and single[0].answered


def test_a_defense_known_in_one_norm_is_not_known_in_the_other():
    ignored = attacked("FGSM", FALL, defense="ppa", threat="transfer")
    knows = attacked("FGSM", FALL, defense="ppa", threat="adaptive", norm="l2")
    assert found(ignored, knows)["only-transfer"].severity == "warning"


# ---- Two levels of knowledge ----


def levels(transfer, adaptive, attack="FGSM", n=200, **changes):
    yield attacked(attack, transfer, n, defense="ppa", threat="transfer", **changes)
    yield attacked(attack, adaptive, n, defense="ppa", threat="adaptive", **changes)


def test_an_adaptive_attack_weaker_than_transfer_is_named():
    finding = found(*levels({0.1: 0.3}, {0.1: 0.9}))["transfer-stronger"]
    assert finding.severity == "warning" and "ε = 0.1: 90.0% against 30.0% right" in finding.message
    assert (finding.model, finding.defense, finding.threat) == ("net", "ppa", "adaptive")


def test_one_that_hits_its_target_less_often_too():
    near, far = (np.where(np.arange(200) % 4 == 0, np.arange(200) >= reach, 1.0) for reach in (160, 20))
    finding = found(*levels({0.1: near}, {0.1: far}, "DGSM", target=1))["transfer-stronger"]
    assert finding.severity == "warning" and "called the target" in finding.message
    assert found(*levels({0.1: far}, {0.1: near}, "DGSM", target=1))["transfer-stronger"].severity == "passed"


def test_a_difference_a_few_images_cannot_show_is_not():
    assert found(*levels({0.1: 0.5}, {0.1: 0.55}, n=20))["transfer-stronger"].severity == "passed"


def test_a_defense_attacked_by_nobody_who_knows_it_is_named():
    ignored = attacked("FGSM", FALL, defense="ppa", threat="transfer")
    finding = found(ignored)["only-transfer"]
    assert finding.severity == "warning" and "FGSM" in finding.message and finding.defense == "ppa"
    aimed = attacked("DGSM", FALL, defense="ppa", threat="adaptive", target=1)
    assert found(ignored, aimed)["only-transfer"].severity == "warning"
    stronger = attacked("AutoAttack", FALL, defense="ppa", threat="adaptive")
    assert found(ignored, stronger)["only-transfer"].severity == "passed"


# ---- Targeted against untargeted ----


def test_what_only_a_targeted_attack_finds_is_counted():
    aimed = np.arange(200) >= 30  # gets the first thirty misclassified, of which PGD leaves all
    finding = found(attacked("PGD", FALL_MORE), attacked("DGSM", {0.1: aimed}, target=1))["targeted-disagrees"]
    assert finding.severity == "warning" and "30 of 200 images" in finding.message
    assert finding.evidence["some of them"][:2] == ["d/0000", "d/0001"]


@pytest.mark.parametrize(("n", "missed"), [(200, 9), (20, 2)])
def test_a_few_images_are_not(n, missed):
    aimed = np.arange(n) >= missed
    finding = found(attacked("PGD", {0.1: 0.5}, n), attacked("DGSM", {0.1: aimed}, n, target=1))["targeted-disagrees"]
    assert finding.severity == "passed"


def test_what_the_stronger_attack_found_is_not_missed():
    parts = attacked("PGD", {0.1: 0.5}), attacked("DGSM", {0.1: np.arange(200) >= 30}, target=1)
    assert found(*parts, attacked("stronger", {0.1: 0.0}))["targeted-disagrees"].severity == "passed"


# ---- The records themselves ----


def test_what_breaks_its_budget_is_counted():
    broken = attacked("mine", {0.1: 0.5}, verified=np.arange(200) >= 7)
    finding = found(attacked("PGD", FALL_MORE), broken)["unverified"]
    assert finding.severity == "warning" and "Only 193 of 200 attacked images" in finding.message
    assert finding.evidence["mine"] == {"broken": 7, "images": 200}
    assert found(honest())["unverified"].message.startswith("3,600 of 3,600 attacked images")


def test_examples_lost_in_8_bits_are_counted():
    lost = attacked("PGD", {0.25 / 255: 0.5}, survives_8bit=False)
    finding = found(lost, attacked("PGD", FALL_MORE))["lost-in-8-bits"]
    assert finding.severity == "note" and "480 of 580 successful" in finding.message  # 100, 180 and 200 at the others
    assert finding.message.endswith("; the smallest share is that at ε = 0.25/255: 0.0%")
    assert finding.evidence["share by eps"] == {"0.25/255": 0.0, "0.1": 1.0, "0.2": 1.0, "0.3": 1.0}


def test_an_epsilon_of_another_norm_is_another():
    lost = attacked("PGD", {1.0: 0.5}, survives_8bit=False)
    finding = found(lost, attacked("Spatial", {1.0: 0.2}, norm="spatial"))["lost-in-8-bits"]
    assert finding.evidence["share by eps"] == {"l_inf, ε = 1": 0.0, "spatial, ε = 1 (±30°, ±10 %)": 1.0}
    assert finding.message.startswith("160 of 260") and "that at ε = 1: 0.0%" in finding.message


def test_images_that_were_wrong_before_are_no_successes_of_an_attack():
    """They "survive" any rounding: of many the check would pass where every success is lost."""
    wrong = np.arange(200) < 150
    labels = np.arange(200) % 4
    records = attacked("PGD", {0.001: np.where(np.arange(200) < 160, 0.0, 1.0)})
    records["clean_prediction"] = np.where(wrong, (labels + 1) % 4, labels)
    records["survives_8bit"] = wrong
    finding = found(records)["lost-in-8-bits"]
    assert finding.severity == "note" and finding.message.startswith(
        "None of the 10 successful adversarial images still succeeds after"
    )


@pytest.mark.parametrize(
    ("n", "severity", "half"), [(18, "warning", "±21.0"), (50, "note", "±13.4"), (200, "note", "±6.9"), (400, "passed", "±4.9")]
)
def test_few_images_are_said_to_be_few(n, severity, half):
    finding = found(attacked("PGD", {0.1: 0.5}, n))["few-images"]
    assert finding.severity == severity and f"n = {n}: {half} points at 50.0%" in finding.message


def test_few_images_say_what_they_cannot_tell_and_how_many_could():
    finding = found(attacked("PGD", {0.1: 0.5}, 50))["few-images"]
    assert "below 12.0 points (6 images)" in finding.message and "n ≥ 381" in finding.remedy
    assert images_for(0.05, 0.5) == 381  # 1.96² / (4 · 0.05²) = 384.1, less 1.96² that Wilson's interval takes off


def test_a_case_with_fewer_images_speaks_for_itself():
    few = attacked("PGD", {0.1: 0.5}, 50, defense="ppa", threat="adaptive")
    findings = record_findings(pd.concat([attacked("PGD", {0.1: 0.5}, 400), few]))
    few_images = {(f.defense, f.severity) for f in findings if f.id == "few-images"}
    assert few_images == {("ppa", "note"), ("", "passed")}


def test_a_case_that_is_good_for_nothing_does_not_spoil_one_that_is_only_wide():
    few = attacked("PGD", {0.1: 0.5}, 12, defense="ppa", threat="adaptive")
    findings = record_findings(pd.concat([attacked("PGD", {0.1: 0.5}, 50), few]))
    few_images = {(f.defense, f.severity) for f in findings if f.id == "few-images"}
    assert few_images == {("ppa", "warning"), ("none", "note")}


def test_nineteen_images_of_which_none_is_left_are_still_few():
    """Wilson's interval is narrow there, and yet nobody would quote it."""
    assert found(attacked("PGD", {0.1: 0.0}, 12))["few-images"].severity == "warning"
    assert found(attacked("PGD", {0.1: 0.0}, 40))["few-images"].severity == "passed"


def test_imagenettes_known_leak_is_stated():
    n = 200
    subsets = ["val" if i % 2 else "val leak-free" for i in range(n)]
    wrong = (np.arange(n) + np.arange(n) % 2) % 4  # right on the even ones
    finding = found(attacked("PGD", FALL_MORE, subsets=subsets, clean_prediction=wrong))["imagenet-leak"]
    assert finding.severity == "note" and "3,791 of Imagenette's 3,925" in finding.message
    assert finding.evidence["clean accuracy"] == {"net, none, val": 0.5, "net, none, leak-free": 1.0}
    names = [f"val/n01440764/{i}.JPEG" for i in range(n)]
    assert "imagenet-leak" in found(attacked("PGD", FALL_MORE, subsets="val", image=names))


@pytest.mark.parametrize("subsets", ["", "val", "easy"])
def test_other_data_has_no_such_leak(subsets):
    assert "imagenet-leak" not in found(attacked("PGD", FALL_MORE, subsets=subsets))


def test_the_report_need_not_wait_for_torch():
    code = "import sys, escrime.results.checks.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
