"""What bounds the attacker, as it is written on the command line."""

import re

import pytest
import torch
from typer.testing import CliRunner

from escrime import EscrimeError
from escrime.budgets import eps_text
from escrime.cli import app
from escrime.commands.evaluate.candidate import Candidate
from escrime.commands.evaluate.request import Request
from escrime.commands.shared.display import Display
from escrime.commands.shared.threats import Threat, read_threats, usual_in_words
from escrime.norms import NORMS

MINE = """
from torch import nn

def load():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10)).eval()
"""


def bounds(text):
    return [(threat.norm, threat.epsilons) for threat in read_threats(text)]


def test_norms_and_their_epsilons():
    assert bounds("linf:4/255,l2:0.5") == [("linf", (4 / 255,)), ("l2", (0.5,))]
    assert bounds("l2:0.5,1,.25,linf") == [("l2", (0.5, 1.0, 0.25)), ("linf", ())]
    assert bounds(" linf : 4/255 , 8/255 ") == [("linf", (4 / 255, 8 / 255))]


def test_all_is_every_norm_once_the_named_ones_first():
    assert bounds("all") == [(name, ()) for name in NORMS]
    found = read_threats("l2:1,all")
    assert (found[0].norm, found[0].epsilons, found[0].named) == ("l2", (1.0,), True)
    assert sorted(threat.norm for threat in found) == sorted(NORMS) and not any(threat.named for threat in found[1:])


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_has_usual_epsilons_which_are_larger_than_none(name):
    small, large = Threat(name).on(32), Threat(name).on(224)
    assert small.headline > 0 and large.headline > 0 and len(small.epsilons) == 1
    assert Threat(name, (small.headline,)).on(224) == Threat(name, (small.headline,)), "what was asked for stays"


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_takes_an_epsilon_of_one_s_own(name, tmp_path):
    (eps,) = Threat(name).on(8).epsilons
    (tmp_path / "mine.py").write_text(MINE)
    request = Request(f"{tmp_path}/mine.py:load", "digits", size=8, threats=read_threats(f"{name}:{eps}"))
    candidate = Candidate(request, Display(quiet=True), torch.device("cpu"))
    assert [(threat.norm, threat.epsilons) for threat in candidate.threats] == [(name, (eps,))]


def test_only_an_attack_of_several_norms_is_called_by_its_norm():
    assert Threat("l2").label("PGD", ("linf", "l2")) == "PGD-l2" and Threat("linf").label("PGD", ("linf", "l2")) == "PGD"
    assert Threat("corruption").label("fog", ("corruption",)) == "fog"


WRONG = {
    "0.1": "belongs to no norm",
    "all,0.1": "belongs to no norm",
    "linf:4/255,": "belongs to no norm",
    "linf,linf:4/255": "names linf twice",
    "all:4/255": "takes the usual ε",
    "lnf:4/255": "Did you mean 'linf'",
    "rotation": "Did you mean 'spatial'",
    "translations:0.1": "Did you mean 'spatial'",
    "common-corruptions": "Did you mean 'corruption'",
    "pixels:3": "Did you mean 'l0'",
    "every": "use one of",
    "spatial:2": "counts no degrees but the share of 30° of rotation and 10 % of shift and of size; use at most 1",
    "scores": "is --access gradients, scores or labels",
    "white-box": "is --access gradients, scores or labels",
    "linf:8": "write '8/255'",
    "linf:0": "at least one ε above 0",
    "l2:x": "is not a number",
}


@pytest.mark.parametrize(("text", "sentence"), WRONG.items())
def test_refused(text, sentence):
    with pytest.raises(EscrimeError, match=sentence):
        read_threats(text)


def test_a_request_of_one_threat_is_what_it_was_before():
    one = Request("lenet", "digits", ("0.1", 0.05), "l2")
    assert (one.norm, one.epsilons, one.threats) == ("l2", (0.1, 0.05), (Threat("l2", (0.1, 0.05)),))
    assert "threats" not in one.settings()
    several = Request("lenet", "digits", threats=read_threats("linf:0.1,l2"))
    assert several.settings()["threats"] == {"linf": [0.1], "l2": []} and several.norm == "linf"
    with pytest.raises(EscrimeError, match="no ε is given"):
        Request("lenet", "digits")


def test_help_says_which_epsilons_all_takes():
    said = usual_in_words()
    assert said.startswith("linf 8/255 (4/255), l2 0.5 (3), ") and "spatial 1" in said and said.endswith("above 64 px")
    for name in NORMS:
        small, large = Threat(name).on(64), Threat(name).on(65)
        wanted = f"{name} {eps_text(small.headline, name == 'linf')}"
        wanted += "" if small == large else f" ({eps_text(large.headline, name == 'linf')})"
        assert wanted in said.partition(";")[0].split(", ")
    text = " ".join(
        re.sub(r"[│\n]", " ", CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "120"}).output).split()
    )
    assert "8/255 (4/255)" in text
