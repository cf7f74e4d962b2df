"""Worst cases, paired comparisons, classes and tradeoffs on records whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from escrime import FGSM, PGD, EscrimeError, PredictionAveraging, evaluate
from escrime.results.comparisons import clearly_weaker, compare, compare_all, per_class, tradeoff
from escrime.results.crossings import crossings
from escrime.results.records import COLUMNS, frame, summarize, worst_case
from escrime.results.statistics import sign_flips, total, wilson


def rows(correct, *, case=("m", "none", "white-box"), attack="A", eps=0.1, norm="linf", preliminary=None, **more):
    """Records of one attack at one ε: image i has `correct[i]`."""
    correct = np.asarray(correct, float)
    n = len(correct)
    label = np.arange(n) % 3
    columns = dict(zip(("model", "defense", "threat"), case)) | {"attack": attack, "norm": norm, "eps": eps}
    columns |= {"image": [f"i{i}" for i in range(n)], "subsets": "", "label": label, "target": -1}
    columns |= {"clean_prediction": label, "clean_confidence": 0.9, "confidence": 0.9, "correct": correct, "hit": 0.0}
    columns |= {"prediction": np.where(correct > 0.5, label, label + 1), "draws": 1, "distance": eps, "forwards": 1.0}
    columns |= {"backwards": 1.0, "verified": True, "survives_8bit": True, "seed": 0} | more
    if preliminary is not None:
        columns["preliminary"] = preliminary
    return frame({name: np.broadcast_to(value, n) for name, value in columns.items()})


def accuracies(records) -> dict[float, float]:
    table = summarize(records)
    return dict(zip(table["eps"], table["accuracy"]))


def test_preliminary_is_filled_and_kept():
    assert list(rows([1, 0]).columns) == list(COLUMNS) and rows([1, 0])["preliminary"].tolist() == [1, 0]
    assert rows([1, 0], preliminary=[0.5, 0.25])["preliminary"].tolist() == [0.5, 0.25]


def test_each_image_falls_to_its_worst_attack():
    records = pd.concat([rows([1, 1, 0, 0], attack="A"), rows([1, 0, 1, 0], attack="B")])
    worst = worst_case(records)
    assert worst["correct"].tolist() == [1, 0, 0, 0] and worst["by"].tolist() == ["A", "B", "A", "A"]
    assert set(worst["attack"]) == {"worst case"} and list(worst.columns) == [*COLUMNS, "by", "by_threat", "by_eps"]
    table = summarize(worst)
    assert (table["n"].tolist(), table["accuracy"].tolist()) == ([4], [0.25])
    assert (table["low"][0], table["high"][0]) == wilson(1, 4)


def test_a_randomized_model_is_not_blamed_for_luck():
    """A classifier that ignores its input and errs 5 % of the time scores 95 % in the worst case over six attacks."""
    rng, n, draws, means = np.random.default_rng(0), 500, 8, []
    for _ in range(20):
        vote = lambda: rng.binomial(draws, 0.95, n) / draws  # noqa: E731
        records = pd.concat([rows(vote(), preliminary=vote(), attack=name, draws=draws) for name in "ABCDEF"])
        row = summarize(worst_case(records)).iloc[0]
        assert row.n == n and row.low < 0.95 < row.high
        means.append(row.accuracy)
        assert records.groupby("image")["correct"].min().mean() < 0.86  # what the plain minimum would say
        assert accuracies(worst_case(records.drop(columns="preliminary")))[0.1] < 0.86  # and choosing by the score itself
    assert np.mean(means) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / draws / n / 20) ** 0.5)


def test_a_worst_case_above_one_of_its_attacks_is_told_with_the_reason():
    """By luck B's scores lie lower than those of A, which the other draws chose."""
    chosen = rows([0.5, 0.5], preliminary=[0.25, 0.25], draws=4)
    records = pd.concat([chosen, rows([0.25, 0.5], preliminary=[0.5, 0.5], attack="B", draws=4)])
    (found,) = crossings(records, worst_case(records))
    assert (found.attack, found.worst, found.single, found.chance) == ("B", 0.5, 0.375, True)
    assert "other noise draws" in found.sentence and "50.0%" in found.sentence and "37.5%" in found.sentence
    # Of a deterministic model only an attack on other images can lie below.
    fixed = pd.concat([rows([1, 1, 0, 0]), rows([1, 1], attack="B")])
    (found,) = crossings(fixed, worst_case(fixed))
    assert not found.chance and found.sentence.endswith("it is of the 2 images that every attack was run on, and A saw 4.")
    rng = np.random.default_rng(0)
    plain = pd.concat([rows(rng.random(40) < 0.7, attack=a, eps=e) for a in "AB" for e in (0, 0.05, 0.1)])
    assert crossings(plain, worst_case(plain)) == []


def test_an_equal_choice_is_never_made_by_the_score():
    records = pd.concat([rows([1.0], preliminary=[0.5], attack=a, draws=2) for a in "AB"])
    records.loc[records["attack"] == "B", "correct"] = 0.0
    assert worst_case(records)["by"].tolist() == ["A"]  # the first attack, though B's score is lower
    assert worst_case(records[::-1])["by"].tolist() == ["B"]


def test_the_envelope_never_rises_and_the_grids_are_united():
    """A overshoots: what falls at 0.1 recovers at 0.3. B stands at an ε of its own."""
    records = [rows([1, 1, 1, 0], eps=0.0), rows([1, 0, 0, 0], eps=0.1), rows([1, 1, 1, 1], eps=0.3)]
    records = pd.concat([*records, rows([0, 1, 1, 1], attack="B", eps=0.2)])
    worst = worst_case(records)
    assert accuracies(worst) == {0.0: 0.75, 0.1: 0.25, 0.2: 0.0, 0.3: 0.0}
    last = worst[worst["eps"] == 0.3]
    assert last["by"].tolist() == ["B", "A", "A", "A"] and last["by_eps"].tolist() == [0.2, 0.1, 0.1, 0.1]


def test_a_worst_case_is_of_the_images_that_faced_every_attack():
    """B, the only one that fools, saw two images: of four, the other two would look robust."""
    both = pd.concat([rows([1, 1, 1, 1], eps=e) for e in (0.0, 0.1)] + [rows([0, 0], attack="B")])
    worst = worst_case(both)
    assert accuracies(worst) == {0.0: 1.0, 0.1: 0.0} and set(worst["image"]) == {"i0", "i1"}
    # A targeted attack leaves out its target's images; what answers the checks has taken all the others' examples.
    assert len(worst_case(both.assign(target=(both["attack"] == "B").astype(int) - 1)).query("eps == 0.1")) == 4
    stronger = rows([0, 1, 1], attack="stronger")
    assert accuracies(worst_case(pd.concat([both, stronger])))[0.1] == 1 / 3
    # Another threat level, norm or defense has images of its own; attacks on other images have none in common.
    assert set(worst_case(pd.concat([both, rows([1] * 3, case=("m", "p", "adaptive"))]))["defense"].value_counts()) == {3, 4}
    l2 = worst_case(pd.concat([both, rows([1] * 4, norm="l2")]))
    assert l2.query("eps == 0.1").groupby("norm").size().to_dict() == {"l2": 4, "linf": 2}
    apart = pd.concat([rows([0]), rows([1], attack="B").assign(image="i9")])
    assert set(worst_case(apart)["image"]) == {"i0", "i9"}


def test_a_random_table_is_monotone_in_eps_and_in_attacks():
    rng = np.random.default_rng(2)
    parts = [rows(rng.random(60) < 0.8, attack=a, eps=e) for a in "ABC" for e in (0, 0.05, 0.1, 0.2)]
    worst = worst_case(pd.concat(parts))
    by_eps = worst.pivot(index="image", columns="eps", values="correct").to_numpy()
    assert (np.diff(by_eps, axis=1) <= 0).all() and (by_eps[:, 0] > by_eps[:, -1]).any()
    fewer = worst_case(pd.concat(parts[:4])).pivot(index="image", columns="eps", values="correct").to_numpy()
    assert (by_eps <= fewer).all()


def test_an_image_wrong_without_any_attack_is_wrong_at_every_eps():
    records = rows([1, 1, 1], clean_prediction=[0, 1, 0])  # the label of the third is 2, and the attack "mended" it
    worst = worst_case(records)
    assert worst["correct"].tolist() == [1, 1, 0] and worst["by"].tolist() == ["A", "A", "none"]
    assert worst["prediction"].tolist() == [0, 1, 0] and worst["eps"].tolist() == [0.1] * 3
    # The clean prediction of a randomized model is a majority, and no score of its own.
    assert worst_case(records.assign(draws=8))["correct"].tolist() == [1, 1, 1]
    # One draw each, and chance shows where the same clean image is answered twice.
    twice = pd.concat([rows([1, 1, 1], attack=a, eps=0.0, preliminary=[1, k, 1]) for k, a in enumerate("AB")])
    noisy = pd.concat([records, twice.assign(correct=twice["preliminary"])])
    assert worst_case(noisy).query("eps == 0.1")["by"].tolist() == ["A", "A", "A"]


def test_whoever_knows_the_defense_may_ignore_it():
    ppa = ("m", "ppa")
    records = pd.concat(
        [
            rows([1, 1, 0, 1], case=(*ppa, "adaptive"), eps=0.2),
            rows([1, 0, 1, 1], case=(*ppa, "transfer"), eps=0.1),
            rows([0, 0, 0, 0], case=("m", "none", "white-box"), eps=0.1),
            rows([0, 0, 0, 0], case=("m", "other", "transfer"), eps=0.1),
        ]
    )
    worst = worst_case(records)
    adaptive = worst[worst["threat"] == "adaptive"]
    assert adaptive[adaptive["eps"] == 0.2]["correct"].tolist() == [1, 0, 0, 1]
    assert adaptive[adaptive["eps"] == 0.1]["correct"].tolist() == [1, 0, 1, 1]  # ε of the transfer attack
    assert adaptive[adaptive["correct"] == 0]["by_threat"].tolist() == ["transfer", "transfer", "adaptive"]
    transfer = worst[(worst["threat"] == "transfer") & (worst["defense"] == "ppa")]
    assert transfer["correct"].tolist() == [1, 0, 1, 1]  # which learns nothing from the adaptive one


def test_what_broke_its_budget_is_no_choice_but_its_image_counts():
    records = pd.concat([rows([1, 1, 1]), rows([0, 0, 0], attack="B", verified=[False, False, True])])
    assert worst_case(records)["correct"].tolist() == [1, 1, 0]
    alone = worst_case(rows([0, 1], verified=False, draws=8, preliminary=[0.5, 1]))
    assert len(alone) == 2 and alone["by"].tolist() == ["none", "none"]


def test_norms_stay_apart():
    records = pd.concat([rows([1, 0]), rows([0, 1], attack="B", norm="l2"), rows([1, 1], eps=0.0)])
    worst = worst_case(records)
    assert set(worst["attack"]) == {"worst case, linf", "worst case, l2"} and len(worst) == 8
    assert worst[(worst["norm"] == "l2") & (worst["eps"] == 0.1)]["correct"].tolist() == [0, 1]


def test_a_real_evaluation(linear, data):
    models = {"m": linear, "m+ppa": PredictionAveraging(linear, 0.1, 4)}
    records = evaluate(
        models, data, {"FGSM": FGSM(0.1), "PGD": PGD(0.1, steps=5)}, epsilons=[0, 0.02, 0.05], checks=False
    ).records
    worst = summarize(worst_case(records))
    singles = summarize(records)
    for row in worst[worst["defense"] == "none"].itertuples():
        same = singles[(singles["defense"] == "none") & (singles["eps"] == row.eps)]
        assert row.n == 150 and row.accuracy <= same["accuracy"].min()
    assert len(compare_all(records, eps=0.05, attack="PGD")) == 3
    assert compare(worst_case(records), *[("m", "none", "white-box")] * 2, attack="worst case", eps=0.05).difference == 0


BARE, PPA = ("m", "none", "white-box"), ("m", "ppa", "adaptive")


@pytest.fixture
def pair():
    """40 images both get right, 9 only PPA, 1 only the bare network, 10 neither."""
    bare = rows([1] * 40 + [0] * 9 + [1] + [0] * 10)
    return pd.concat([bare, rows([1] * 40 + [1] * 9 + [0] + [0] * 10, case=PPA)])


def test_compare_by_hand(pair):
    found = compare(pair, PPA, BARE, attack="A", eps=0.1)
    assert (found.n, found.gained, found.lost, found.test) == (60, 9, 1, "McNemar, exact")
    assert found.p == pytest.approx(22 / 1024)
    assert (found.accuracy_first, found.accuracy_second) == (pytest.approx(49 / 60), pytest.approx(41 / 60))
    assert found.difference == pytest.approx(8 / 60) and 0 < found.low < found.difference < found.high
    back = compare(pair, (*BARE, "A"), (*PPA, "A"), eps="1/10")
    assert (back.p, back.gained, back.lost) == (pytest.approx(found.p), 1, 9)
    assert (back.low, back.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_only_shared_images_are_compared_whatever_their_order(pair):
    shuffled = pd.concat([pair[pair["defense"] == "ppa"].sample(frac=1, random_state=0), pair[pair["defense"] == "none"]])
    assert compare(shuffled, PPA, BARE, attack="A", eps=0.1) == compare(pair, PPA, BARE, attack="A", eps=0.1)
    some = pair[(pair["defense"] == "none") | pair["image"].isin([f"i{i}" for i in range(38, 52)])]
    found = compare(some, PPA, BARE, attack="A", eps=0.1)
    assert (found.n, found.gained, found.lost) == (14, 9, 1)
    with pytest.raises(EscrimeError, match="share no image"):
        compare(pair[(pair["defense"] == "none") ^ (pair["image"] < "i3")], PPA, BARE, attack="A", eps=0.1)


def test_averages_over_draws_are_compared_by_sign_flips():
    """Right 3 times in 4 on every image, against certainty on 90 % of them: by majority PPA would be better."""
    rng = np.random.default_rng(0)
    bare, ppa = np.arange(200) % 10 > 0, rng.binomial(40, 0.75, 200) / 40
    found = compare(pd.concat([rows(bare), rows(ppa, case=PPA, draws=40)]), PPA, BARE, attack="A", eps=0.1)
    assert (ppa > 0.5).mean() > bare.mean() and found.difference < 0 and found.high < 0
    assert found.test == "sign flips, exact" and found.p == pytest.approx(sign_flips(ppa, bare)) and found.p < 0.001
    assert found.gained == int((ppa > bare).sum()) and found.lost == int((ppa < bare).sum())


def test_compare_all_corrects_for_the_number_of_pairs(pair):
    third = rows([0] * 60, case=("m", "ppa", "transfer"))
    table = compare_all(pd.concat([pair, third]), eps=0.1, attack="A")
    p = [binomtest(1, 10).pvalue, binomtest(0, 41).pvalue, binomtest(0, 49).pvalue]
    assert table["p"].tolist() == pytest.approx(p)
    assert table["p_holm"].tolist() == pytest.approx([p[0], 2 * p[1], 3 * p[2]])
    assert table["first"].tolist()[0] == (*BARE, "A") and (table["n"] == 60).all()
    both = compare_all(pd.concat([pair, rows([0] * 60, attack="B")]), eps=0.1)
    assert len(both) == 3  # every attack is a column of its own
    apart = compare_all(pair[(pair["defense"] == "none") ^ (pair["image"] < "i3")], eps=0.1)
    assert apart["n"].tolist() == [0] and apart["p_holm"].isna().all()


@pytest.mark.parametrize(
    ("first", "how", "words"),
    [
        (("n", "none", "white-box"), {}, "model 'n' is not in these records; they hold m"),
        (("m", "pppa", "adaptive"), {}, "they hold none, ppa. Did you mean 'ppa'"),
        (("m", "ppa", "transfer"), {}, "threat 'transfer' .* they hold adaptive"),
        (PPA, {"attack": "PGD"}, "attack 'PGD' .* they hold A"),
        (PPA, {"attack": "worst case"}, r"give worst_case\(records\)"),
        (PPA, {"attack": None}, "names no attack; give attack=..., one of A"),
        (PPA, {"eps": 0.2}, r"ε = 0.2 was not measured; the records hold 0.1\."),
        ("m", {}, "is not \\(model, defense, threat\\)"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(pair, first, how, words):
    with pytest.raises(EscrimeError, match=words):
        compare(pair, first, BARE, **({"attack": "A", "eps": 0.1} | how))


def test_unknown_attacks_and_eps_of_the_tables(pair):
    for call in (lambda **k: compare_all(pair, **k), lambda **k: tradeoff(pair, **k)):
        with pytest.raises(EscrimeError, match="attack 'B' .* hold A"):
            call(attack="B", eps=0.1)
        with pytest.raises(EscrimeError, match="ε = 0.3 was not measured"):
            call(attack="A", eps=0.3)


def test_a_doubled_image_is_an_error(pair):
    with pytest.raises(EscrimeError, match="image 'i0' twice"):
        compare(pd.concat([pair, pair[:1]]), PPA, BARE, attack="A", eps=0.1)


def test_classes_add_up_to_the_whole(pair):
    table, whole = per_class(pair), summarize(pair)
    assert list(table.columns) == ["model", "defense", "threat", "attack", "eps", "class", "n", "accuracy", "low", "high"]
    for row in whole.itertuples():
        mine = table[table["defense"] == row.defense]
        assert mine["class"].tolist() == [0, 1, 2] and mine["n"].sum() == row.n == 60
        assert (mine["n"] * mine["accuracy"]).sum() == pytest.approx(row.n * row.accuracy)
    first = table.iloc[0]
    right = pair[(pair["defense"] == "none") & (pair["label"] == 0)]["correct"].sum()
    assert (first.low, first.high) == wilson(right, 20)


def by_class(counts):
    """Records of one attack at one ε: label → (right, of how many)."""
    rows = [{"label": label, "correct": float(i < right)} for label, (right, n) in counts.items() for i in range(n)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("counts", "weaker"),
    [
        ({0: (30, 40), 1: (31, 40), 2: (5, 40)}, {2}),
        ({0: (30, 40), 1: (31, 40), 2: (26, 40)}, set()),  # noise
        ({0: (30, 40), 1: (31, 40), 2: (0, 9)}, set()),  # too few to tell
        ({0: (30, 40), 1: (31, 40), 2: (0, 12)}, {2}),
        ({label: (2, 4) if label % 2 else (1, 4) for label in range(10)}, set()),
        ({0: (0, 40), 1: (0, 40)}, set()),
        ({7: (3, 40)}, set()),  # there are no others
        ({**{label: (36, 40) for label in range(20)}, 20: (31, 40)}, set()),  # one in twenty-one lies that low by chance
    ],
)
def test_a_class_is_called_weaker_only_beyond_chance(counts, weaker):
    assert clearly_weaker(by_class(counts)) == weaker


def test_sums_do_not_depend_on_the_order():
    scores = [0.1, 0.7, 0.3, 0.9, 0.2] * 7
    assert total(scores) == total(sorted(scores)) == total(scores[::-1])


def test_tradeoff_stands_on_the_same_images():
    clean = rows([1, 1, 1, 0, 0], eps=0.0, case=PPA)
    records = pd.concat([clean, rows([1, 0, 0, 0], case=PPA), rows([1, 0], clean_prediction=[0, 0])])
    table = tradeoff(records, "A", 0.1).set_index("defense")
    assert table.loc["ppa", ["n", "clean", "robust"]].tolist() == [4, 0.75, 0.25]
    assert (table.loc["ppa", "clean_low"], table.loc["ppa", "robust_high"]) == (wilson(3, 4)[0], wilson(1, 4)[1])
    assert table.loc["none", ["n", "clean", "robust"]].tolist() == [2, 0.5, 0.5]  # no row at ε = 0: its clean predictions
