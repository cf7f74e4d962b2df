"""An evaluation that is printed fits 80 columns, and hides neither the attack nor ε."""

import pandas as pd
import pytest
import torch
from torch import nn

import escrime
from escrime.results.printed import MOST, WIDTH


@pytest.fixture
def evaluated():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images = torch.rand(6, 3, 4, 4)

    def run(names=("mine",), **settings):
        attacks = [escrime.FGSM("8/255"), escrime.PGD("0.1", steps=2)]
        models = {name: escrime.PredictionAveraging(model, 0.05, 2) if "PPA" in name else model for name in names}
        return escrime.evaluate(models, (images, model(images).argmax(1)), attacks, checks=False, draws=1, eot=1, **settings)

    return run


def test_a_printed_result_is_a_table_and_its_verdicts(evaluated):
    text = str(evaluated())
    head, *rows = text.splitlines()
    assert head.split() == ["model", "defense", "threat", "attack", "ε", "accuracy", "95", "%", "interval", "n"]
    assert rows[0].split()[:5] == ["mine", "none", "none", "0", "100.0%"]
    assert any("FGSM" in row and "8/255" in row for row in rows) and any("PGD" in row and " 0.1 " in row for row in rows)
    assert "mine keeps" in text and max(map(len, text.splitlines())) <= WIDTH


def test_long_names_are_shortened_and_still_differ(evaluated):
    names = "a model with a very long name indeed 1", "a model with a very long name indeed 2 PPA"
    found = evaluated(names)
    lines = str(found).splitlines()
    firsts = {line.split("  ")[0] for line in lines[1:] if "%" in line and "interval" not in line and "–" in line}
    assert max(map(len, lines)) <= WIDTH and len(firsts) == 2
    html = found._repr_html_()
    assert names[1] in html and html.count("<tr>") == len([line for line in lines if "–" in line]) + 1


def test_names_are_shown_and_not_obeyed(evaluated):
    found = evaluated(("<b>bad\x1b[2J",))
    assert "\x1b" not in str(found) and "<b>" not in found._repr_html_()


def test_a_summary_prints_every_column_and_stays_a_table(evaluated):
    table = evaluated().summary()
    assert isinstance(table, pd.DataFrame) and isinstance(table.query("n > 0"), pd.DataFrame)
    for one in (table, table[table["attack"] == "FGSM"]):
        text = repr(one)
        assert "..." not in text and "attack" in text and "eps" in text and max(map(len, text.splitlines())) <= WIDTH


def test_of_many_rows_the_worst_cases_are_shown(evaluated):
    grid = [k / 100 for k in range(1, 26)]
    text = str(evaluated(epsilons=grid))
    table = text.split("The worst cases")[0]
    assert "FGSM" not in table and table.count("worst case") == 25 and f"of {3 * 25} rows" in text and 3 * 25 > MOST
