"""The registry: which classes are attacks, how they describe themselves, and how one is made by name."""

import pytest

from escrime import PGD, AutoAttack, CarliniWagner, EscrimeError, Square
from escrime.attacks import ATTACKS
from escrime.attacks.core.registry import by_name, find_attacks, make, named, sees
from escrime.norms import NORMS

FILE = """
from dataclasses import dataclass
from escrime.attacks.core.base import Attack

class Base(Attack):
    pass

@dataclass(frozen=True)
class Odd(Attack):
    eps: float
{described}

@dataclass(frozen=True)
class _Private(Attack):
    eps: float
"""
DESCRIBED = {"norms": ("l2",), "access": "scores", "kind": "nearest", "paper": "Nobody (2020), Nothing"}


def package(folder, monkeypatch, name, **described) -> dict:
    (folder / name).mkdir()
    (folder / name / "odd.py").write_text(
        FILE.format(described="".join(f"    {key} = {value!r}\n" for key, value in described.items()))
    )
    monkeypatch.syspath_prepend(str(folder))
    return find_attacks(name, [str(folder / name)])


def test_the_public_dataclasses_of_a_folder_are_its_attacks(tmp_path, monkeypatch):
    (odd,) = package(tmp_path, monkeypatch, "whole", **DESCRIBED).items()
    assert odd[0] == "Odd" and (odd[1].norms, odd[1].access, odd[1].kind) == (("l2",), "scores", "nearest")


@pytest.mark.parametrize(
    "wrong", [{"norms": ()}, {"norms": ("l3",)}, {"access": None}, {"access": "weights"}, {"kind": "fast"}, {"paper": ""}]
)
def test_an_attack_that_does_not_describe_itself_is_named(wrong, tmp_path, monkeypatch):
    (what,) = wrong
    name = f"wrong_{what}_{len(str(wrong))}"
    with pytest.raises(TypeError, match=rf"{name}.odd.Odd.{what} = .* does not describe the attack"):
        package(tmp_path, monkeypatch, name, **DESCRIBED | wrong)


def test_who_takes_another_attack_is_not_made_by_name():
    assert set(ATTACKS) - set(by_name()) == {"Transfer", "WorstCase"}


@pytest.mark.parametrize(
    ("attack", "seen"), [(PGD, ["gradients"]), (AutoAttack, ["gradients"]), (Square, ["gradients", "scores"])]
)
def test_what_runs_on_which_model(attack, seen):
    assert [given for given in ("gradients", "scores", "labels") if sees(attack, given)] == seen


def test_each_attack_is_made_in_each_of_its_norms():
    for attack in by_name().values():
        for norm in attack.norms:
            assert make(attack, 1 if NORMS[norm].grain else 0.1, norm).norm == norm


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("PGD", {"stepz": 3}, "PGD has no setting 'stepz'; it takes steps, .* Did you mean 'steps'?"),
        ("PGD", {"steps": 5.5}, "steps = 5.5 is not a whole number"),
        ("PGD", {"steps": True}, "steps = True"),
        ("PGD", {"early_stop": 1}, "early_stop = 1 is no switch; give true or false"),
        ("PGD", {"step_size": float("nan")}, "step_size = nan is not a finite number"),
        ("PGD", {"restarts": 0}, "restarts = 0"),
        ("RayS", {"norm": "l2"}, "RayS works in l_inf only, not in l2; leave it out, or use norm linf."),
        ("CarliniWagner", {"norm": "linf"}, "CarliniWagner works in l2 only"),
        ("FSGM", {}, "attack 'FSGM' is unknown; use .* Did you mean 'FGSM'?"),
        ("WorstCase", {}, "attack 'WorstCase' is unknown"),
    ],
)
def test_what_cannot_be_made_is_named(name, settings, message):
    with pytest.raises(EscrimeError, match=message):
        make(named(name), 0.1, **settings)


def test_settings_that_are_given_are_used():
    assert make(PGD, "8/255", "l2", steps=3, step_size="1/255") == PGD("8/255", norm="l2", steps=3, step_size="1/255")
    assert make(CarliniWagner, None, "l2") == CarliniWagner()
