"""The verdict's sentence is true of the records and findings that it is made of, in each of its branches."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from escrime.results.findings import Finding
from escrime.results.reasons import REASONS, in_words
from escrime.results.records import frame, worst_case
from escrime.results.statistics import wilson
from escrime.results.verdicts import Verdict, left_more, verdict_eps, verdicts

CASE = {"model": "net", "defense": "none", "threat": "white-box", "norm": "linf"}
EXAMINED = Finding("attack-strength", "passed", "no stronger one finds more", **CASE)
CONVERGED = Finding("converged", "passed", "twice the steps take 0.0% more off", **CASE)


def rows(attack, right, n=200, eps=0.1, wrong=0, **changes) -> pd.DataFrame:
    """Records of one attack at one ε: the first `right` images stand, the last `wrong` were wrong from the start."""
    labels, images = np.arange(n) % 4, np.arange(n)
    clean = np.where(images < n - wrong, labels, (labels + 1) % 4)
    stands = (images < right) & (images < n - wrong)
    known = CASE | {
        "attack": attack, "eps": eps, "image": [f"d/{i:04d}" for i in images], "subsets": "", "label": labels, "target": -1,
        "clean_prediction": clean, "clean_confidence": 0.9, "prediction": np.where(stands, labels, (labels + 1) % 4),
        "confidence": 0.8, "correct": stands.astype(float), "hit": 0.0, "draws": 1, "distance": eps, "forwards": 2.0,
        "backwards": 1.0, "verified": True, "survives_8bit": ~stands, "seed": 0,
    }  # fmt: skip
    return frame(known | changes)


def alarm(id, **changes) -> Finding:
    return Finding(id, "alarm", "something", **CASE | changes)


def warning(id, **changes) -> Finding:
    return Finding(id, "warning", "something", **CASE | changes)


def verdict(*parts, findings=(EXAMINED,), **settings) -> Verdict:
    (found,) = verdicts(pd.concat(parts, ignore_index=True), list(findings), **settings)
    assert found.sentence.endswith(".") and ".." not in found.sentence
    return found


def test_the_numbers_are_those_of_the_worst_case():
    """Of two attacks that fool different images, neither has the number."""
    reverse = rows("PGD", 80)
    reverse["correct"] = reverse["preliminary"] = reverse["correct"].to_numpy()[::-1].copy()
    found = verdict(rows("FGSM", 150, wrong=10), reverse)
    assert found.accuracy == 30 / 200 and found.n == 200 and found.eps == 0.1
    assert (found.low, found.high) == wilson(30, 200)
    assert found.sentence.startswith("net keeps 15.0% of 200 images right at ε = 0.1 (95 % interval 10.7% to 20.6%; ")


def test_nothing_to_object_is_believed():
    found = verdict(rows("PGD", 80), findings=[EXAMINED, CONVERGED])
    assert found.believe and found.sentence.endswith("100.0% without attack), and no check objects.")


def test_nobody_looked():
    found = verdict(rows("PGD", 80), findings=[])
    assert not found.believe and found.sentence.endswith("; nobody has looked for a stronger attack.")


def test_what_the_attacks_asked_for_left_is_their_worst_case_on_the_same_images():
    """Two of them, each with images of its own, and a stronger attack that ran on a part of the images only."""
    first, second = rows("FGSM", 150), rows("PGD", 120)
    second.loc[second["image"] < "d/0010", ["correct", "preliminary"]] = 0.0
    stronger = rows("stronger", 60)
    found = verdict(first, second, stronger)
    asked = worst_case(pd.concat([first, second]))["correct"].mean()
    assert asked == 110 / 200
    assert f"; the attacks that were asked for left {asked:.1%}, and this is the stronger one's number." in found.sentence
    assert found.accuracy == 50 / 200 and found.believe


def test_where_the_stronger_one_found_nothing_it_is_not_said_to_have_the_number():
    found = verdict(rows("PGD", 80), rows("stronger", 80))
    assert "asked for" not in found.sentence and found.sentence.endswith("no check objects.")
    one = verdict(rows("PGD", 80), rows("stronger", 79))
    assert "left 40.0%" in one.sentence and one.accuracy == 79 / 200
    assert left_more(0.5, 0.51, 100) and not left_more(0.5, 0.503, 100)


@pytest.mark.parametrize("level", [1, 2, 3, 7, 8, 11, 16, 23])
def test_an_epsilon_written_with_nine_digits_is_the_same(level):
    """Earlier versions recorded it so."""
    eps = level / 255
    found = verdict(rows("PGD", 80, eps=round(eps, 9)), rows("stronger", 60, eps=eps))
    assert "the attacks that were asked for left 40.0%" in found.sentence and found.accuracy == 0.3


def test_attacks_that_did_not_run_at_this_epsilon_left_what_was_right_without_attack():
    found = verdict(rows("PGD", 150, eps=0.2, wrong=20), rows("stronger", 60, eps=0.1, wrong=20), headlines={"linf": 0.1})
    assert found.eps == 0.1 and "left 90.0%" in found.sentence and found.clean == 0.9


def test_an_open_warning_forbids_belief_and_is_named():
    found = verdict(rows("PGD", 80), findings=[EXAMINED, warning("converged"), warning("weak-attack")])
    assert not found.believe and found.sentence.endswith(
        "; it may be lower, for more steps still find more (converged) and the check weak-attack objects."
    )
    answered = verdict(rows("PGD", 80), findings=[EXAMINED, warning("weak-attack", answered=True)])
    assert answered.believe and "stronger attacks were tried on some of the images and found no more" in answered.sentence


@pytest.mark.parametrize("id", ["near-chance", "one-class"])
def test_a_model_that_may_not_look_has_no_robustness(id):
    found = verdict(rows("PGD", 80), findings=[EXAMINED, warning(id)])
    assert not found.believe and found.sentence.endswith(f"; that says nothing yet, for {REASONS[id]} ({id}).")


def test_few_images_say_nothing_yet():
    found = verdict(rows("PGD", 1, n=2))
    assert not found.believe and found.sentence.endswith("; that says nothing yet, for there are too few images (few-images).")


def test_a_randomized_model_is_an_expectation():
    found = verdict(rows("PGD", 80), findings=[EXAMINED, warning("randomized", answered=True)])
    assert found.believe and "that is the expectation over its noise, which the attacks knew" in found.sentence
    stronger = verdict(rows("PGD", 80), rows("stronger", 60), findings=[EXAMINED, warning("randomized", answered=True)])
    assert "the attacks that were asked for left 40.0%" in stronger.sentence, "which is not: found no more"


def test_an_alarm_without_an_answer_leaves_an_upper_bound():
    found = verdict(rows("PGD", 80), findings=[EXAMINED, alarm("gradient-zero"), alarm("full-success", answered=True)])
    assert not found.believe
    expected = "; do not believe it: 2 alarms (gradient-zero, full-success); it is an upper bound, and nobody knows the rest."
    assert found.sentence.endswith(expected)


def test_an_alarm_that_was_gone_around_leaves_an_upper_bound_too():
    found = verdict(rows("PGD", 80), rows("stronger", 20), findings=[EXAMINED, alarm("gradient-zero", answered=True)])
    assert not found.believe and found.accuracy == 0.1
    assert found.sentence.endswith(
        "; 1 alarm (gradient-zero): attacks that go around it left this, an upper bound, for a better one may leave less."
    )


@pytest.mark.parametrize("answered", [True, False])
def test_less_than_nothing_cannot_be_left(answered):
    found = verdict(rows("PGD", 80), rows("stronger", 0), findings=[EXAMINED, alarm("gradient-zero", answered=answered)])
    assert found.accuracy == 0 and "upper bound" not in found.sentence and "gradient-zero" in found.sentence


def test_numbers_that_are_wrong_are_no_upper_bound():
    found = verdict(rows("PGD", 80), findings=[EXAMINED, alarm("outside-budget")])
    assert not found.believe and found.sentence.endswith("; do not believe it: 1 alarm (outside-budget).")


def test_an_alarm_whose_cause_was_taken_away_is_told_and_the_number_believed():
    exact = alarm("gradient-saturated", answered=True, exact=True)
    found = verdict(rows("PGD", 80), rows("stronger", 20), findings=[EXAMINED, CONVERGED, exact])
    assert found.believe
    assert found.sentence.endswith("; 1 alarm (gradient-saturated): its cause was taken away, and the number has converged.")
    for others in ([warning("converged")], [alarm("gradient-false", answered=True)], [warning("near-chance")]):
        assert not verdict(rows("PGD", 80), findings=[EXAMINED, exact, *others]).believe
    assert not verdict(rows("PGD", 80), findings=[exact]).believe, "nobody has looked for a stronger attack"


def test_convergence_is_claimed_only_where_it_was_seen():
    untried = Finding("converged", "note", "was not tried", **CASE)
    exact = alarm("gradient-saturated", answered=True, exact=True)
    assert "converged" not in verdict(rows("PGD", 80), findings=[EXAMINED, untried, exact]).sentence


def test_findings_about_others_are_none_of_its_own():
    others = [alarm("gradient-zero", model="another"), alarm("gradient-zero", defense="ppa"), alarm("gradient-zero", norm="l2")]
    assert verdict(rows("PGD", 80), findings=[EXAMINED, *others]).believe
    everywhere = alarm("gradient-zero", model="", defense="", threat="", norm="")
    assert not verdict(rows("PGD", 80), findings=[EXAMINED, everywhere]).believe


def test_a_defense_is_quoted_at_the_threat_level_that_knows_it():
    known, ignored = (
        rows("PGD", right, defense="ppa", threat=threat) for right, threat in ((40, "adaptive"), (90, "transfer"))
    )
    found = verdict(known, ignored, findings=[])
    assert found.threat == "adaptive" and found.accuracy == 0.2
    alone = verdict(ignored, findings=[])
    assert "against an attacker who does not know the defense" in alone.sentence and alone.threat == "transfer"


def test_every_number_of_a_sentence_is_one_of_the_verdict():
    for right, left in ((200, 200), (137, 20), (1, 0), (80, 79)):
        found = verdict(rows("PGD", right, wrong=3), rows("stronger", left, wrong=3))
        told = {float(number) for number in re.findall(r"([\d.]+)%", found.sentence)}
        clean = min(right, 197) / 200
        known = {round(100 * share, 1) for share in (found.accuracy, found.low, found.high, found.clean, clean)}
        assert told <= known, (told, known)


def test_the_headline_is_where_half_of_the_clean_accuracy_stands():
    parts = pd.concat([rows("PGD", right, eps=eps) for eps, right in ((0.1, 180), (0.2, 90), (0.3, 10))])
    assert verdict_eps(worst_case(parts), parts) == 0.2 and verdict_eps(worst_case(parts), parts, 0.28) == 0.3


def test_where_nothing_was_right_attacks_left_nothing_is_not_said():
    """Answered alarms about a model that gets no image right: no attack took anything away."""
    answered = alarm("gradient-zero", answered=True)
    nothing, some = (
        verdict(rows("PGD", 0, wrong=200), findings=[EXAMINED, answered]),
        verdict(rows("PGD", 0), findings=[EXAMINED, answered]),
    )
    assert not nothing.believe and nothing.sentence.endswith(
        "no image is right without attack, so there was nothing to attack."
    )
    assert some.sentence.endswith("attacks that go around it left nothing.")


@pytest.mark.parametrize("id", ["budget", "attack-strength", "converged", "few-queries", "accuracy-rises"])
def test_a_doubt_about_strength_is_none_where_nothing_is_left(id):
    doubt = Finding(id, "warning", "a stronger attack may find more", {}, "try harder")
    none, one = (verdict(rows("PGD", right), findings=[EXAMINED, doubt]) for right in (0, 1))
    assert none.believe and none.sentence.endswith(", and no attack could leave less.")
    assert not one.believe and one.sentence.endswith(f"; it may be lower, for {in_words([id])}.")


def test_nothing_left_is_not_believed_of_a_model_that_may_be_blind_or_fed_wrongly():
    chance = Finding("near-chance", "warning", "too few images")
    for objection in (chance, alarm("input-range"), alarm("stateful")):
        assert not verdict(rows("PGD", 0), findings=[EXAMINED, objection]).believe
    assert not verdict(rows("PGD", 0), findings=[Finding("budget", "warning", "no check was made")]).believe


def test_who_sees_outputs_only_and_left_nothing_has_left_nothing():
    none, one = (verdict(rows("Square", right, threat="black-box"), findings=[EXAMINED]) for right in (0, 1))
    assert "may leave less" in one.sentence and "may leave less" not in none.sentence and none.accuracy == 0


def test_every_reason_is_of_a_check_that_the_documentation_tells_of():
    told = (Path(__file__).parents[2] / "docs" / "ideas" / "checks.md").read_text()
    assert all(f"`{id}`" in told for id in REASONS)
