"""What a newcomer adds is one file: it is then in every list, on the command line, in experiments, in the tables of the docs.

Each file of newcomers/ is put into a copy of the package, which a fresh process then imports.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import escrime

ROOT, NEW = Path(__file__).parents[1], Path(__file__).parent / "newcomers"


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A folder with a copy of the package, of the script that makes the tables, and the newcomers where they belong."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(Path(escrime.__file__).parent, folder / "src" / "escrime")
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "tables.py", folder / "docs")
    rooms = {"simba": "attacks", "stripes": "data", "label_smoothing": "training", "classes": "cli"}
    rooms |= {"sure_when_fooled": "results/checks", "mirrored": "evaluation/checks"}
    for name, room in rooms.items():
        shutil.copy(NEW / f"{name}.py", folder / "src" / "escrime" / room)
    return folder


def process(house: Path, *words: str) -> subprocess.CompletedProcess:
    place = os.environ | {"PYTHONPATH": str(house / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=house, env=place, capture_output=True, text=True, timeout=120)


EVERYWHERE = """
import contextlib, io, json, runpy, sys
import torch

import escrime
from escrime import cli
from escrime.attacks import ATTACKS, SimBA
from escrime.data import load
from escrime.commands.run.files import read_experiment
from escrime.commands.run.schema import check_experiment
from escrime.training import TrainSettings

assert escrime.SimBA is SimBA is ATTACKS["SimBA"] and "SimBA" in escrime.__all__ and "SimBA" in dir(escrime)


def call(*words):
    sys.argv, out, err = ["escrime", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0, out.getvalue(), err.getvalue()


_, listed, _ = call("list", "--json")
listed = json.loads(listed)
assert (listed["attacks"]["SimBA"]["access"], listed["attacks"]["SimBA"]["norms"]) == ("scores", ["linf"])
assert "stripes" in listed["datasets"] and "label-smoothing" in listed["objectives"]
assert "SimBA" in call("list")[1]
assert "classes" in call("--help")[1] and call("classes", "stripes")[0] == 0 and call("classes", "nothing")[0] == 2

train, test = load("stripes")
model = escrime.build("lenet", 2, seed=0)
escrime.fit(model, train, "label-smoothing", settings=TrainSettings(epochs=1, learning_rate=0.02, batch_size=20))
result = escrime.evaluate(model, test, [SimBA(0.9, queries=300), escrime.FGSM(0.1)], checks=False)
right = result.summary().set_index("attack")["accuracy"]
assert right["SimBA"] < 0.8, right
quick = escrime.Effort(images=16, steps=3, queries=10, draws=10, doublings=0)
found = escrime.evaluate(model, test, escrime.FGSM(0.1), checks=quick).checks
assert {"sure-when-fooled", "mirrored", "few-images"} <= {finding.id for finding in found}, found

evaluate = ["evaluate", "--model", "mine.py:load", "--data", "stripes", "--eps", "0.1", "--attack", "SimBA", "--size", "8"]
open("mine.py", "w").write("import escrime\\ndef load():\\n    return escrime.build('lenet', 2)\\n")
for words, said in (
    (("--norm", "l2"), "SimBA works in l_inf only"),
    (("--access", "labels"), "'SimBA' needs scores"),
    (("--attack", "Simba"), "Did you mean 'SimBA'?"),
):
    code, _, complaint = call(*evaluate, *words)
    assert code == 2 and said in complaint, complaint

_, raw = read_experiment("digits")
raw["attacks"]["simba"] = {"queries": 300, "epsilons": ["8/255", 0.1], "target": 3}
section = check_experiment(raw, "mine.toml").attacks.by_label["SimBA"]
assert section.build(3) == SimBA(0.1, queries=300, target=3)

made = runpy.run_path("docs/tables.py")
tables = {name: make() for name, make in made["TABLES"].items()}
assert "from ..simba import SimBA as SimBA" in made["attack_stub"]()
assert "| `SimBA(eps)` |" in tables["attacks"] and "::: escrime.attacks.simba.SimBA" in tables["attack-reference"]
assert "arXiv:1905.07121" in tables["papers"]
assert "`stripes`" in tables["datasets"] and "`label-smoothing`" in tables["objectives"]
"""


def test_an_attack_a_dataset_an_objective_and_a_check_are_one_file_each(house):
    done = process(house, "-c", EVERYWHERE)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_one_row_holds_an_attack_to_all_laws(house, tmp_path):
    shutil.copytree(house, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "tests" / "attacks", tmp_path / "tests" / "attacks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    words = ("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/attacks/test_laws.py")
    words += ("tests/attacks/test_one_image_one_answer.py", "-k", "SimBA or every_attack", "-m", "")
    done = process(tmp_path, *words)
    assert done.returncode == 1 and "SimBA has no row" in done.stdout, "the registry asks for the row"
    cases = tmp_path / "tests" / "attacks" / "attack_cases.py"
    text = cases.read_text().replace("ATTACKS = [\n", "ATTACKS = [\n    SimBA(0.1, queries=60),\n", 1)
    cases.write_text(text.replace("from escrime.attacks import (\n", "from escrime.attacks import (\n    SimBA,\n", 1))
    done = process(tmp_path, *words)
    assert done.returncode == 0 and int(re.search(r"(\d+) passed", done.stdout)[1]) > 10, done.stdout
