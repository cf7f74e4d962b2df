"""[threats.NORM]: attacks by the norm that bounds them."""

import pytest

from escrime import EscrimeError
from escrime.commands.run.files import read_experiment
from escrime.commands.run.schema import check_experiment


@pytest.fixture
def raw():
    return read_experiment("digits")[1]


def test_a_threat_is_the_usual_attacks_in_its_norm_at_its_epsilons(raw):
    plain = check_experiment(raw, "plain")
    found = check_experiment(
        raw | {"threats": {"l2": {"epsilons": [1, 0.5]}, "l1": {"epsilons": ["12"], "attacks": ["PGD"]}}}, "x"
    )
    new = {name: section for name, section in found.attacks.by_label.items() if name not in plain.attacks.by_label}
    assert {name: (section.attack, section.norm, section.epsilons) for name, section in new.items()} == {
        "FGSM-l2": ("FGSM", "l2", [0.5, 1.0]),
        "AutoAttack-l2": ("AutoAttack", "l2", [0.5, 1.0]),
        "PGD-l1": ("PGD", "l1", [12.0]),
    }
    assert found.headlines == plain.headlines | {"l2": 1.0, "l1": 12.0}, "the first ε of each"
    assert new["AutoAttack-l2"].build(None).eps == 1.0


def test_it_may_be_all_that_an_experiment_runs(raw):
    only = {name: value for name, value in raw.items() if name != "attacks"} | {"threats": {"linf": {"epsilons": [0.1]}}}
    assert list(check_experiment(only, "x").attacks.by_label) == ["FGSM", "AutoAttack"]


WRONG = [
    ({"l3": {"epsilons": [1]}}, "norm 'l3' is unknown"),
    ({"l2": {}}, "threats.l2.epsilons"),
    ({"l2": {"epsilons": []}}, "threats.l2.epsilons"),
    ({"l2": {"epsilons": [1], "atacks": []}}, "Did you mean 'attacks'"),
    ({"l2": {"epsilons": [1], "attacks": ["PDG"]}}, "Did you mean 'PGD'"),
    ({"l0": {"epsilons": [1], "attacks": ["RayS"]}}, "RayS does not work in l0"),
    ({"linf": {"epsilons": [8]}}, "write '8/255'"),
    ({"linf": {"epsilons": [0.1]}}, "so does [attacks.fgsm]"),
    (3, "threats"),
]


@pytest.mark.parametrize(("threats", "sentence"), WRONG)
def test_refused(raw, threats, sentence):
    with pytest.raises(EscrimeError) as error:
        check_experiment(raw | {"threats": threats}, "mine.toml")
    assert sentence in str(error.value) and "mine.toml" in str(error.value), str(error.value)
