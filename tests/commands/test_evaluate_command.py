"""`escrime evaluate`: a model and a folder of pictures in, one answer out, and exit codes for machines."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import escrime
from escrime import EscrimeError
from escrime.cli import app
from escrime.commands.evaluate.assessment import assess
from escrime.commands.evaluate.candidate import Candidate
from escrime.commands.evaluate.request import Request, short_name
from escrime.commands.shared.display import Display
from escrime.commands.shared.folder import RunFolder
from escrime.data import ImageSet
from escrime.distributed import Processes
from escrime.evaluation import read_records
from escrime.models import save_weights

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
CLASSES = ("ant", "bee", "cat")


def call(*arguments):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    return result


def ask(weights, pictures, out, *more, eps="0.05"):
    return call("--model", weights, "--data", pictures, "--eps", eps, "--out", out, "--device", "cpu", *more)


@pytest.fixture(scope="module")
def answered(weights, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return ask(weights, pictures, out, "--limit", "30", eps="0.05,0.02"), out


def test_the_answer_in_words(answered):
    result, out = answered
    assert result.exit_code == 0 and "Less often right" not in result.output  # ten images a class, about as often right
    for word in ("AutoAttack", "FGSM", "worst case of all", "ε = 0.05", "lenet keeps", "30 images right"):
        assert word in result.output, word
    page = (out / "report.html").read_text()
    assert "AutoAttack" in page and "ant" in page and "The paper" not in page.split("<main>")[0]


def test_the_answer_in_numbers(answered):
    """Every number follows from the records."""
    found = json.loads((answered[1] / "answer.json").read_text())
    records = read_records(answered[1])
    clean = records[(records.attack == "FGSM") & (records.eps == 0)]
    assert found["n"] == 30 == len(clean) and found["open"] == 0
    assert found["clean"]["accuracy"] == pytest.approx(clean.correct.mean()) and found["clean"]["accuracy"] > 0.9
    left = records[records.eps <= 0.05].groupby("image").correct.min().mean()
    assert found["robust"]["accuracy"] == pytest.approx(left) and left < found["clean"]["accuracy"]
    assert found["robust"]["low"] <= left <= found["robust"]["high"]
    assert {row["attack"] for row in found["attacks"]} >= {"FGSM", "AutoAttack", "worst case"}
    assert {row["class"] for row in found["weakest"]} == set(CLASSES)
    assert {row["eps"] for row in found["attacks"]} == {0.0, *found["settings"]["epsilons"]}, "the same floats"
    (headline,) = (row for row in found["attacks"] if row["attack"] == "worst case" and row["eps"] == found["eps"])
    assert {name: headline[name] for name in ("accuracy", "low", "high", "n")} == found["robust"]
    manifest = json.loads((answered[1] / "manifest.json").read_text())
    assert manifest["kind"] == "evaluation" and manifest["dataset"]["test"] == 30
    assert json.loads((answered[1] / "claims.json").read_text()) == []


def test_its_page_shows_what_the_records_speak_of(answered, pictures):
    """The closest call, the surest mistake and what stands, each made again to the same prediction and confidence."""
    items, records = json.loads((answered[1] / "examples" / "lenet.json").read_text()), read_records(answered[1])
    assert [item["figure"] for item in items] == ["closest call", "surest mistake", "stands", "stands", "stands"]
    for item in items:
        row = records[(records.attack == item["attack"]) & (records.image == item["image"]) & (records.eps == 0.05)].iloc[0]
        assert item["adversarial"]["prediction"] == row.prediction
        assert item["adversarial"]["confidence"] == pytest.approx(row.confidence, abs=1e-4)
        assert (item["figure"] == "surest mistake") == (row.prediction != row.label)
    page = (answered[1] / "report.html").read_text()
    heads = ["Closest call", "Surest mistake", "Stands"]
    assert all(f'<p class="head">{head}</p>' in page for head in heads) and f"{pictures.name}, 3 classes, 8 px" in page


@pytest.mark.usefixtures("undrawn")
def test_json_alone_and_the_gates(weights, pictures, answered):
    more = ("--limit", "30", "--json")
    result = ask(weights, pictures, answered[1], *more, eps="0.05,0.02")
    assert json.loads(result.stdout) == json.loads((answered[1] / "answer.json").read_text())
    left = json.loads(result.stdout)["robust"]["accuracy"]
    assert ask(weights, pictures, answered[1], *more, "--fail-under", str(left), eps="0.05,0.02").exit_code == 0
    failed = ask(weights, pictures, answered[1], *more, "--fail-under", str(min(left + 0.01, 1)), eps="0.05,0.02")
    assert failed.exit_code == 4 and "is below --fail-under" in failed.stderr


def test_a_finished_evaluation_computes_nothing_again(weights, pictures, answered):
    times = {path: path.stat().st_mtime_ns for path in (answered[1] / "records").iterdir()}
    ask(weights, pictures, answered[1], "--limit", "30", eps="0.05,0.02")
    assert times == {path: path.stat().st_mtime_ns for path in (answered[1] / "records").iterdir()}
    with pytest.raises(EscrimeError, match="belongs to another experiment .experiment.epsilons was"):
        ask(weights, pictures, answered[1], "--limit", "30", eps="0.05")


@pytest.mark.usefixtures("undrawn")
def test_part_after_part_whatever_the_processes(weights, pictures, tmp_path):
    """Two shares of the parts, one after the other, give the rows of one process."""
    request = Request(weights, str(pictures), ("0.05",), attacks=("FGSM", "PGD"), limit=None)
    whole = assess(request, tmp_path / "whole", device=CPU, quiet=True)
    shared = tmp_path / "shared"
    first, second = Processes(CPU), Processes(CPU)
    (first.rank, first.count), (second.rank, second.count) = (0, 2), (1, 2)
    waits = []

    def other():
        """What the second process does while the first waits for it the second time."""
        waits.append(None)
        if len(waits) == 2:
            assess(request, shared, device=CPU, team=second, quiet=True)

    first.wait = other
    assess(request, shared, device=CPU, team=first, quiet=True)
    keys = ["attack", "eps", "image"]
    one, two = (read_records(path).sort_values(keys, ignore_index=True) for path in (whole.folder.path, shared))
    assert len(one) == 2 * 90 + 90 and len(list((shared / "records").glob("*.parquet"))) == 4
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize("command", ["evaluate", "harden", "tune"])
def test_a_dataset_that_is_named_is_downloaded(command, weights, tmp_path, monkeypatch):
    """As `escrime run` does; a run that would want a flag for it would only be started twice."""
    monkeypatch.setenv("ESCRIME_CACHE", str(tmp_path / "cache"))
    wanted = []

    def stopped(place, what, url, get):
        wanted.append((place, what))
        raise EscrimeError("no network here")

    monkeypatch.setattr("escrime.data.cifar10.download_into", stopped)
    more = ["--model", weights, "--data", "cifar10", "--eps", "0.05", "--out", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(app, [command, *more])
    assert str(result.exception) == "no network here" and wanted == [(tmp_path / "cache" / "downloads", "CIFAR-10")]
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_of_several_ways_to_count_one_is_answered_for(weights, pictures, tmp_path, monkeypatch):
    """As of Imagenette's two test sets, which share images: every number of the answer is of the same ones, and said once."""
    from dataclasses import replace

    from escrime.commands.evaluate.result import result

    real = escrime.data.load_to_judge

    def with_subsets(*arguments, **settings):
        images = real(*arguments, **settings)
        first = np.arange(len(images)) % 3 == 0
        return replace(images, subsets={"val": first, "leak-free": ~first | (np.arange(len(images)) % 6 == 0)})

    monkeypatch.setattr(escrime.data, "load_to_judge", with_subsets)
    request = Request(weights, str(pictures), ("0.05",), attacks=("FGSM",))
    run = assess(request, tmp_path / "run", device=CPU, quiet=True)
    found, records = result(run), read_records(tmp_path / "run")
    assert records.image.nunique() == 90
    subset = json.loads((tmp_path / "run" / "verdict.json").read_text())[0]["subset"]
    mine = records[[subset in names.split() for names in records.subsets]]
    told = [(row["attack"], row["eps"]) for row in found["attacks"]]
    assert len(told) == len(set(told)) and {row["n"] for row in found["attacks"]} == {found["n"]}
    assert found["n"] == found["robust"]["n"] == mine.image.nunique() < 90 and found["open"] == 0
    assert found["clean"]["accuracy"] == pytest.approx(mine[mine.eps == 0].drop_duplicates("image").correct.mean())


@pytest.mark.parametrize("threat, attack", [("scores", "Square"), ("labels", "RayS")])
def test_from_outside(threat, attack, weights, pictures, tmp_path):
    result = ask(weights, pictures, tmp_path / "run", "--access", threat, "--limit", "12", eps="0.3")
    assert result.exit_code == 0 and f"Threat model: {threat} only" in result.output
    page = (tmp_path / "run" / "report.html").read_text()
    assert "undefended, black-box" in page and "undefended, white-box" not in page
    found = read_records(tmp_path / "run")
    assert set(found["threat"]) == {"black-box"}
    asked = found[found.attack == attack]
    assert len(asked) == 24 and (found.backwards == 0).all() and asked[asked.eps > 0].correct.mean() < 0.7
    checks = {finding["id"] for finding in json.loads((tmp_path / "run" / "checks.json").read_text())}
    assert "black-box" in checks and "probabilities" not in checks and "returns probabilities" not in result.output
    with pytest.raises(EscrimeError, match="'PGD' needs gradients"):
        ask(weights, pictures, tmp_path / "other", "--access", threat, "--attack", "PGD")


WRONG = [
    (("--eps", "0"), "at least one ε above 0"),
    (("--eps", "8"), "write '8/255'"),
    (("--eps", "x"), "is not a number"),
    (("--attack", "FSGM"), "Did you mean 'FGSM'"),
    (("--access", "grey"), "access 'grey' is unknown"),
    (("--norm", "l3"), "norm 'l3' is unknown"),
    (("--budget", "soon"), "'soon' is no time"),
    (("--budget", "0s"), "leaves no time"),
    (("--fail-under", "40"), "a number from 0 to 1"),
    (("--data", "nowhere"), "does not exist"),
    (("--model", "lenet@nothing.safetensors"), "does not exist"),
    (("--model", "nothing"), "no known kind"),
    (("--limit", "0"), "limit = 0 is no number of images; give a whole number from 1"),
    (("--size", "0"), "no number of pixels"),
    (("--device", "cuda:9"), "not available"),
    (("--mean", "grey", "--std", "0.5"), "--mean 'grey' is neither a number nor three"),
    (("--mean", "0.5"), "--mean without --std"),
    (("--mean", "0.5", "--std", "-1"), "not positive"),
    (("--attack", "RayS", "--norm", "l2"), "l_inf only"),
]


@pytest.mark.parametrize("arguments, said", WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_wrong_input_leaves_nothing_behind(arguments, said, weights, pictures, tmp_path):
    usual = {"--model": weights, "--data": str(pictures), "--eps": "0.05", "--out": str(tmp_path / "run"), "--device": "cpu"}
    usual |= dict(zip(arguments[::2], arguments[1::2]))
    with pytest.raises(EscrimeError, match=said):
        call(*[word for pair in usual.items() for word in pair])
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_another_normalization_is_used_and_kept(weights, pictures, tmp_path):
    ask(
        weights,
        pictures,
        tmp_path / "run",
        "--limit",
        "30",
        "--mean",
        "0.4",
        "--std",
        "0.3,0.4,0.5",
        "--attack",
        "FGSM",
        "--anyway",
    )
    settings = json.loads((tmp_path / "run" / "manifest.json").read_text())["experiment"]
    assert settings["mean"] == [0.4] and settings["std"] == [0.3, 0.4, 0.5]
    fed = next(f for f in json.loads((tmp_path / "run" / "checks.json").read_text()) if f["id"] == "input-range")
    assert fed["evidence"]["fed"] == "mean 0.4, std 0.3,0.4,0.5"
    with pytest.raises(EscrimeError, match="another experiment"):
        ask(weights, pictures, tmp_path / "run", "--limit", "30", "--attack", "FGSM")


@pytest.mark.usefixtures("undrawn")
def test_a_model_loaded_wrongly_is_refused_before_the_hour_is_spent(pictures, tmp_path):
    path = tmp_path / "w.safetensors"
    model = escrime.build("lenet", 3, seed=5)
    torch.nn.init.zeros_(model.network.fc.weight)
    save_weights(model, path, {"classes": list(CLASSES), "size": 8})
    with pytest.raises(EscrimeError, match="clean images are right.*--anyway"):
        ask(f"lenet@{path}", pictures, tmp_path / "run", "--attack", "FGSM")
    assert not (tmp_path / "run").exists()
    assert ask(f"lenet@{path}", pictures, tmp_path / "run", "--attack", "FGSM", "--anyway", "--strict").exit_code == 3
    save_weights(model, path, {"classes": ["ant", "bee", "cow"], "size": 8})
    with pytest.raises(EscrimeError, match="class 'cat' that lenet@.*ant, bee, cat.*ant, bee, cow"):
        ask(f"lenet@{path}", pictures, tmp_path / "run2")


def test_a_second_evaluation_in_the_same_folder_is_refused(weights, pictures, answered):
    with RunFolder(answered[1]).lock():
        with pytest.raises(EscrimeError, match="another escrime run is working"):
            ask(weights, pictures, answered[1], "--limit", "30", eps="0.05,0.02")


def test_an_epsilon_that_is_given_twice_counts_once():
    assert Request("m", "d", ("0.05", "1/20", 0.02, "0.05")).epsilons == (0.05, 0.02)


def test_a_question_has_a_folder_of_its_own_and_finds_it_again(weights, pictures, tmp_path, monkeypatch, undrawn):
    """Nobody is told that a folder which nobody chose belongs to another experiment."""
    monkeypatch.chdir(tmp_path)
    more = ("--data", pictures, "--limit", "9", "--attack", "FGSM", "--device", "cpu")
    ask = lambda eps, *rest: call("--model", weights, "--eps", eps, *more, *rest)  # noqa: E731
    made = lambda: sorted(path.name for path in (tmp_path / "runs").iterdir())  # noqa: E731
    assert ask("0.05").exit_code == 0 and made() == ["evaluate-lenet"]
    told = ask("0.02").output
    assert made() == ["evaluate-lenet", "evaluate-lenet-2"] and "holds another question" in told
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/records/*")}
    assert "another question" not in ask("0.05").output and ask("0.02").exit_code == 0
    assert made() == ["evaluate-lenet", "evaluate-lenet-2"]
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/records/*")}, "nothing is done again"
    assert ask("0.05", "--name", "mine").exit_code == 0 and made()[-1] == "evaluate-mine"
    with pytest.raises(EscrimeError, match="runs/evaluate-lenet belongs to another experiment"):
        ask("0.02", "--out", "runs/evaluate-lenet")
    with pytest.raises(EscrimeError, match="made with a model called lenet, and this one is called mine"):
        ask("0.05", "--out", "runs/evaluate-lenet", "--name", "mine")
    with pytest.raises(EscrimeError, match="--name 'a/b' cannot be part of a file's name; write it as 'a-b'"):
        ask("0.05", "--name", "a/b")


def test_labels_alone_are_counted_by_the_images_and_named_by_a_file(pictures, tmp_path):
    (tmp_path / "mine.py").write_text("def load():\n    return lambda pixels: (pixels[:, 0, 0, 0] * 0).astype(int)\n")
    (tmp_path / "names.txt").write_text("cat\nbee\nant\n")
    for classes, places in ((None, [0, 1, 2]), (str(tmp_path / "names.txt"), [2, 1, 0])):
        request = Request(f"{tmp_path / 'mine.py'}:load", str(pictures), (0.1,), size=8, classes=classes)
        candidate = Candidate(request, Display(quiet=True), CPU)
        images = candidate.images()
        assert candidate.access == "labels" and set(images.labels.tolist()) == set(places)
        assert images.classes == (("cat", "bee", "ant") if classes else CLASSES)


OWN_NAMES = """
import torchvision
from torch import nn

import escrime


class PhotoNet(nn.Linear):
    pass


def load():
    return PhotoNet(1, 3)


def get_model():
    return escrime.Normalized(PhotoNet(1, 3), 0.5, 0.5)


def bare():
    return nn.Sequential(nn.Flatten())


def make_model_2():
    return nn.Sequential(nn.Flatten())


def resnet_v3():
    return PhotoNet(1, 3)


def build_classifier():
    return lambda pixels: pixels[:, :, 0, 0]
"""


@pytest.mark.parametrize(
    "function, name",
    [
        ("load", "PhotoNet"),
        ("get_model", "PhotoNet"),
        ("bare", "bare"),
        ("make_model_2", "mine"),
        ("resnet_v3", "resnet_v3"),
        ("build_classifier", "mine"),
    ],
)
def test_a_model_of_one_s_own_has_its_own_name(function, name, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_NAMES)
    request = Request(f"{tmp_path / 'mine.py'}:{function}", "digits", (0.1,))
    assert Candidate(request, Display(quiet=True), CPU).name == name


def test_short_names():
    names = ("torchvision:resnet50@V2", "timm:vit_tiny", "hf:org/net", "lenet@a/b.pt", "x/m.pt2", "n.onnx")
    assert [short_name(name) for name in names] == ["resnet50", "vit_tiny", "net", "lenet", "m", "n"]


def test_torchrun_gives_the_rows_of_one_process(weights, pictures, tmp_path):
    """Those of the stronger attack too, which a model that hides its gradients calls for."""
    (tmp_path / "mine.py").write_text(MASKED + QUICKLY)
    arguments = ["-m", "escrime", "evaluate", "--model", f"{tmp_path / 'mine.py'}:Masked", "--data", str(pictures)]
    arguments += ["--eps", "0.05", "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NETWORK": weights}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    for name, start in (("one", [sys.executable]), ("two", launch)):
        command = [*start, *arguments, "--attack", "FGSM,PGD", "--out", str(tmp_path / name)]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
        assert ran.returncode == 0, ran.stderr
    keys = ["attack", "eps", "image"]
    one, two = (read_records(tmp_path / name).sort_values(keys, ignore_index=True) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
    assert one[one.attack == "stronger"].image.nunique() == 90
    written = [json.loads((tmp_path / name / "checks.json").read_text()) for name in ("one", "two")]
    assert written[0] == written[1]


MASKED = """
import os
import torch
from escrime.models import load_model

class Masked(torch.nn.Module):
    size = 8
    classes = ("ant", "bee", "cat")

    def __init__(self):
        super().__init__()
        self.network = load_model(os.environ["NETWORK"]).model
        with torch.no_grad():
            next(self.network.parameters()).mul_(float(os.environ.get("WEIGHTS", "1")))

    def forward(self, x):
        return float(os.environ.get("CODE", "1")) * self.network((x * 64).round() / 64)
"""


QUICKLY = """
from escrime.commands.evaluate import assessment
from escrime.evaluation import Effort

assessment.EFFORT = Effort(images=16, steps=5, queries=20, draws=5, eot=2, doublings=0)  # as quick_checks, in each process
"""


@pytest.fixture
def changing(weights, tmp_path, monkeypatch):
    """A model whose weights and code depend on the environment. It hides no gradient, and calls for no stronger attack."""
    (tmp_path / "mine.py").write_text(MASKED.replace("(x * 64).round() / 64", "x"))
    monkeypatch.setenv("NETWORK", str(weights))
    return f"{tmp_path / 'mine.py'}:Masked"


@pytest.mark.usefixtures("undrawn")
def test_a_model_that_has_changed_does_not_get_the_old_answer(changing, pictures, tmp_path, monkeypatch):
    request = Request(changing, str(pictures), ("0.05",), attacks=("FGSM",), limit=12)
    assess(request, tmp_path / "run", device=CPU, quiet=True)
    before = (tmp_path / "run" / "verdict.json").read_bytes()
    assess(request, tmp_path / "run", device=CPU, quiet=True)
    for changed, what in (("WEIGHTS", "weights"), ("CODE", "answers")):
        with monkeypatch.context() as patch:
            patch.setenv(changed, "0.8")
            with pytest.raises(EscrimeError, match=f"when it had other {what}; give another folder with --out"):
                assess(request, tmp_path / "run", device=CPU, quiet=True)
        assert (tmp_path / "run" / "verdict.json").read_bytes() == before


def test_epsilons_that_agree_to_nine_digits_are_one():
    request = Request("lenet", "photos", ("8/255", "0.031372549", "4/255"))
    assert request.epsilons == (8 / 255, 4 / 255)
    with pytest.raises(EscrimeError, match="too small to be told from 0"):
        Request("lenet", "photos", ("1e-10",))


@pytest.mark.usefixtures("undrawn")
def test_how_a_model_is_fed_is_looked_at_once(weights, pictures, tmp_path, monkeypatch):
    """Before the attacks, to refuse what is fed wrongly; the checks after them quote it."""
    from escrime.evaluation.checks import inputs

    real, looks = inputs.input_range, []
    monkeypatch.setattr(inputs, "input_range", lambda *given: looks.append(None) or real(*given))
    run = assess(
        Request(weights, str(pictures), ("0.05",), attacks=("FGSM",), limit=20), tmp_path / "run", device=CPU, quiet=True
    )
    checks = json.loads((run.folder.path / "checks.json").read_text())
    assert len(looks) == 1 and [check["severity"] for check in checks if check["id"] == "input-range"] == ["passed"]


def test_a_dataset_has_the_size_of_its_own_unless_the_model_has_one(tmp_path):
    (tmp_path / "mine.py").write_text("from torch import nn\n\ndef load():\n    return nn.Identity()\n")
    spec = f"{tmp_path / 'mine.py'}:load"
    sizes = {
        name: Candidate(Request(spec, name, (0.1,)), Display(quiet=True), "cpu").size for name in ("digits", str(tmp_path))
    }
    assert sizes == {"digits": 8, str(tmp_path): 224}
    assert Candidate(Request(spec, "digits", (0.1,), size=16), Display(quiet=True), "cpu").size == 16


@pytest.mark.parametrize(("size", "told"), [(None, 1), (16, 0)])
def test_a_size_that_only_custom_chose_is_told_once(size, told, tmp_path):
    """Pictures of 64 pixels for a network of 64 would else be judged at 224, and nobody would know."""
    (tmp_path / "own.py").write_text(
        "from torch import nn\ndef load():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n"
    )
    shown = io.StringIO()
    candidate = Candidate(
        Request(f"{tmp_path / 'own.py'}:load", str(tmp_path), (0.1,), size=size), Display(Console(file=shown)), "cpu"
    )
    assert candidate.size == candidate.size == (size or 224)
    assert shown.getvalue().count("note: ") == told


def test_only_usual_attacks_of_the_norm_are_run_and_none_is_a_sentence(tmp_path):
    (tmp_path / "mine.py").write_text("from torch import nn\n\ndef load():\n    return nn.Identity()\n")
    spec = f"{tmp_path / 'mine.py'}:load"
    assert list(Candidate(Request(spec, "digits", (0.1,), "l2"), Display(quiet=True), "cpu").attacks) == ["FGSM", "AutoAttack"]
    labels = Candidate(Request(spec, "digits", (0.1,), "l1", "labels"), Display(quiet=True), "cpu")
    with pytest.raises(
        EscrimeError, match="no attack that is usual for labels alone works in l1; choose one with --attack: Random"
    ):
        labels.attacks  # noqa: B018


def test_a_nameless_model_of_a_thousand_classes_knows_a_golf_ball(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef load():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 1000))\n"
    )
    request = Request(f"{tmp_path / 'mine.py'}:load", str(tmp_path), (0.1,))
    candidate = Candidate(request, Display(quiet=True), torch.device("cpu"))
    pixels, ids = np.zeros((2, 3, 8, 8), np.uint8), ("a", "b")
    found = candidate.with_labels(ImageSet("folder", pixels, [0, 1], ids, ("golf ball", "tench")))
    assert found.labels.tolist() == [574, 0] and found.classes[574] == "golf ball"
    counted = ImageSet("folder", pixels, [3, 1], ids, tuple(f"class {n}" for n in range(1000)))
    assert candidate.with_labels(counted).labels.tolist() == [3, 1], "as many as the model's, and not ImageNet's"


def test_a_mask_is_part_of_the_question_and_named_in_the_answer(weights, pictures, tmp_path):
    from PIL import Image

    white = np.zeros((8, 8), np.uint8)
    white[:4] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    masked = ("--mask", tmp_path / "mask.png", "--limit", "12", "--attack", "FGSM,PGD")
    result = ask(weights, pictures, tmp_path / "run", *masked)
    said = "only pixels of mask mask.png may change, 50 % of the image"
    assert result.exit_code == 0 and said in " ".join(result.output.split())
    assert said in (tmp_path / "run" / "report.html").read_text()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert set(manifest["experiment"]["mask"]) == {"file", "share", "sha256"}
    with pytest.raises(EscrimeError, match="belongs to another experiment"):
        ask(weights, pictures, tmp_path / "run", "--limit", "12", "--attack", "FGSM,PGD")
    Image.fromarray(255 - white).save(tmp_path / "mask.png")
    with pytest.raises(EscrimeError, match="belongs to another experiment .*mask"):
        ask(weights, pictures, tmp_path / "run", *masked)
    Image.fromarray(white[:5]).save(tmp_path / "mask.png")
    with pytest.raises(EscrimeError, match="8 × 5 pixels, and the model sees images of 8 × 8"):
        ask(weights, pictures, tmp_path / "other", *masked)


REMEMBERS = '''
import torch
from torch import nn


class Remembers(nn.Module):
    """Bright rows, as long as no query is near one of before, whose prediction it then repeats."""

    def __init__(self):
        super().__init__()
        self.seen, self.said = [], []

    def forward(self, x):
        rows = [x[:, :, 2 * k : 2 * k + 3].mean((1, 2, 3)) for k in range(3)]
        out = []
        for image, own in zip(x, 30 * torch.stack(rows, 1)):
            near = [i for i, other in enumerate(self.seen) if (other - image.detach()).abs().max() < 0.3]
            if near:
                own = self.said[near[0]] + 0.001 * own
            else:
                self.seen.append(image.detach().clone())
                self.said.append(own.detach().clone())
            out.append(own)
        return torch.stack(out)


def load():
    return Remembers()
'''


def test_a_model_that_remembers_is_found_though_it_was_looked_at_before(pictures, tmp_path):
    """What escrime itself asks first must not fill the memory that it then looks for."""
    (tmp_path / "mine.py").write_text(REMEMBERS)
    result = call(
        *("--model", f"{tmp_path / 'mine.py'}:load", "--data", pictures, "--eps", "0.1", "--attack", "FGSM", "--size", "8"),
        *("--limit", "12", "--out", tmp_path / "run", "--device", "cpu", "--budget", "2min", "--anyway"),
    )
    checks = {row["id"]: row["severity"] for row in json.loads((tmp_path / "run" / "checks.json").read_text())}
    assert result.exit_code == 0 and checks.get("stateful") == "alarm", checks
