"""What is mistyped is refused in one sentence, with what may have been meant, and before torch is imported."""

import json
import subprocess
import sys

import pytest

from escrime.cli import app
from escrime.cli.command import name_of
from escrime.cli.refusals import CHECKS, refuse
from escrime.commands.catalog import attacks, catalog, check_settings
from escrime.errors import EscrimeError

EVALUATE = ("evaluate", "--model", "hf:org/m", "--data", "digits", "--eps", "4/255")
TRAIN = ("train", "lenet", "--data", "digits")
TUNE = ("tune", "--model", "hf:org/m", "--data", "digits", "--eps", "0.1")
HARDEN = ("harden", "--model", "hf:org/m", "--data", "digits", "--eps", "0.1")
ATTACK = ("attack", ".", "--model", "hf:org/m")
REFUSED = [
    (("evaluate", "--model", "hf:org/m", "--data", "digits", "--eps", "four"), "ε = 'four' is not a number"),
    ((*EVALUATE, "--eps", "8"), "write '8/255'"),
    ((*EVALUATE, "--attack", "fgsm"), "Did you mean 'FGSM'?"),
    ((*EVALUATE, "--attack", "FGSM,auto-attack"), "Did you mean 'AutoAttack'?"),
    ((*EVALUATE, "--norm", "Linf"), "Did you mean 'linf'?"),
    ((*EVALUATE, "--norm", "l2", "--eps", "-1"), "negative"),
    ((*EVALUATE, "--access", "label"), "Did you mean 'labels'?"),
    ((*EVALUATE, "--limit", "0"), "limit = 0 is no number of images"),
    ((*EVALUATE, "--size", "-3"), "size = -3 is no number of pixels"),
    ((*EVALUATE, "--budget", "soon"), "--budget = 'soon' is no time"),
    ((*EVALUATE, "--device", "coda"), "Did you mean 'cuda'?"),
    ((*EVALUATE, "--seed", "-1"), "seed = -1"),
    ((*EVALUATE, "--mean", "0.5"), "--mean without --std"),
    ((*EVALUATE, "--std", "a", "--mean", "0.5"), "--std 'a' is neither a number nor three"),
    ((*EVALUATE, "--fail-under", "40"), "--fail-under = 40"),
    ((*EVALUATE, "--data", "digts"), "Did you mean 'digits'?"),
    ((*EVALUATE, "--set", "steps=3"), "no option --set; it is one of harden and train"),
    ((*EVALUATE, "--strict=3"), "does not take a value"),
    ((*EVALUATE, "--out"), "requires an argument"),
    ((*EVALUATE, "--eps", "-4/255"), "write 4/255"),
    ((*EVALUATE, "--eps", "0"), "at least one ε above 0"),
    ((*EVALUATE, "--eps", ""), "--threat all for the usual"),
    ((*EVALUATE, "--threat", "linf:4/255"), "leave that out, or --threat"),
    (("evaluate", "--model", "m.py:load", "--data", "digits", "--threat", "lnf:8/255"), "Did you mean 'linf'?"),
    (
        (*EVALUATE[:5], "--threat", "corruption:3", "--attack", "PGD"),
        "patch only, not in corruption",
    ),
    ((*EVALUATE, "--norm", "l2", "--attack", "FGSM,RayS"), "RayS works in l_inf only, not in l2"),
    ((*EVALUATE, "--mask", "none.png"), "the mask none.png does not exist"),
    ((*EVALUATE[:5], "--threat", "linf,spatial", "--mask", "."), "threat 'spatial' changes the whole image"),
    ((*EVALUATE, "--name", "a/b"), "write it as 'a-b'"),
    ((*EVALUATE, "--name", ""), "write it as 'model'"),
    ((*TRAIN, "--set", "epoch=3"), "Did you mean 'epochs'?"),
    ((*TRAIN, "--set", "epochs"), "write NAME=VALUE"),
    ((*HARDEN, "--set", "sigma=0.1"), "given with --goal"),
    ((*TRAIN, "--set", "beta=6"), "a setting of the objective trades: give it with --goal beta="),
    ((*TRAIN, "--objective", "trades", "--goal", "ema=0.9"), "a setting of training: give it with --set ema="),
    ((*TRAIN, "--objective", "TRADE"), "Did you mean 'trades'?"),
    ((*TRAIN, "--epochs", "0"), "epochs = 0"),
    ((*TRAIN, "--learning-rate", "-1"), "learning_rate = -1"),
    ((*TRAIN, "--eps", "8/"), "ε = '8/'"),
    (("train", "lenet", "--data", "digit"), "Did you mean 'digits'?"),
    ((*TUNE, "--samples", "two"), "--samples 'two' is no list of whole numbers"),
    ((*TUNE, "--eps-max", "0.1,x"), "ε = 'x'"),
    ((*TUNE, "--against", "adaptiv"), "Did you mean 'adaptive'?"),
    ((*TUNE, "--steps", "0"), "steps = 0"),
    ((*HARDEN, "--objective", "nfgsm"), "Did you mean 'n-fgsm'?"),
    ((*HARDEN, "--attack", "pgdd"), "Did you mean 'PGD'?"),
    ((*ATTACK, "--eps", "0,1"), "ε = '0,1' is not a number"),
    ((*ATTACK, "--attack", "apgdd"), "Did you mean 'APGD'?"),
    (("run", "digit"), "Did you mean 'digits'?"),
    (("run", "digits", "--limit", "0"), "data.limit = 0"),
    (("compare", ".", ".", "--eps", "x"), "ε = 'x' is not a number"),
    (("report", ".", "--format", "jsn"), "Did you mean 'json'?"),
    ((*EVALUATE, "--fail-under", "x"), "--fail-under 'x' is not a number; write one, such as 0.4."),
    ((*EVALUATE, "--fail-under=40%"), "--fail-under '40%' is not a number; write 0.4."),
    ((*EVALUATE, "--fail-under", "0,4"), "write 0.4."),
    ((*EVALUATE, "--limit", "x"), "--limit 'x' is not a whole number; write one, such as 8."),
    ((*EVALUATE, "--limit", "1,000"), "write 1000."),
    ((*EVALUATE, "--seed", "1.5"), "--seed '1.5' is not a whole number"),
    ((*EVALUATE, "--seed", "inf"), "--seed 'inf' is not a whole number"),
    ((*TRAIN, "--learning-rate", "small"), "--learning-rate 'small' is not a number"),
    ((*EVALUATE, "--model", "m.py:load"), "model file m.py does not exist"),
    ((*HARDEN, "--model", "m.onnx"), "model file m.onnx does not exist"),
    ((*TUNE, "--model", "m.pt2"), "model file m.pt2 does not exist"),
    ((*ATTACK, "--model", "resnet50@w.pth"), "weights file w.pth does not exist"),
    ((*ATTACK, "--model", "timm:vit_tiny@w.pth"), "weights file w.pth does not exist"),
    ((*ATTACK, "--model", "torchvision:resnet50@a/w"), "weights file a/w does not exist"),
    ((*EVALUATE, "--model", "resnet55@w.pth"), "architecture 'resnet55' is unknown"),
    ((*EVALUATE, "--model", "torchvision:mobilenetv2"), "Did you mean 'mobilenet_v2'?"),
    ((*EVALUATE, "--model", "torchvsion:resnet50"), "is of no known kind"),
    ((*EVALUATE, "--model", "resnet18"), "write torchvision:resnet18"),
    ((*EVALUATE, "--model", "mine.py"), "Name the function too: mine.py:FUNCTION."),
    ((*EVALUATE, "--classes", "names.txt"), "the file of class names names.txt does not exist"),
    ((*ATTACK, "--classes", "."), "the file of class names . cannot be read"),
    (("train", "lenett", "--data", "digits"), "Did you mean 'lenet'?"),
    ((*TRAIN, "--weights", "w.safetensors"), "weights file w.safetensors does not exist"),
    ((*TRAIN, "--teacher", "lenet@w.pth"), "weights file w.pth does not exist"),
    (("train", "lenet", "--data", "folder", "--folder", "photos"), "the folder 'photos' does not exist"),
    (("run", "digits", "--weights", "lenet=w.pth"), "weights file w.pth does not exist"),
    (("run", "imagenette", "--data", "photos"), "the folder 'photos' does not exist"),
    (("attack", "cat.jpg", "--model", "torchvision:resnet50"), "the photo cat.jpg does not exist"),
    (("report", "runs/x"), "the folder 'runs/x' does not exist"),
    (("compare", "runs/x", "runs/y"), "the folder 'runs/x' does not exist"),
    (("evalute",), "Did you mean 'evaluate'?"),
    ((*EVALUATE, "--norm", "corruption", "--eps", "6"), "is no severity of a corruption"),
    ((*EVALUATE, "--norm", "spatial", "--eps", "2"), "more than the full range of rotations"),
    ((*EVALUATE, "--norm", "patch", "--eps", "2.5"), "is no side of a patch"),
    ((*EVALUATE, "--model", "d@x/net.onnx"), "model file d@x/net.onnx does not exist"),
    ((*EVALUATE, "--model", "resnet18@"), "model 'resnet18@' breaks off; write ARCH@FILE"),
    ((*EVALUATE, "--model", "resnet18@torchvision_w.pth"), "weights file torchvision_w.pth does not exist"),
    ((*EVALUATE, "--model", "hf:"), "model 'hf:' breaks off; write hf:NAME"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Every line's exit code and what it said, and whether torch was imported for it: one process for all."""
    code = """
import contextlib, io, json, sys
from escrime.cli import main
found = []
for words in json.loads(sys.stdin.read()):
    sys.argv, told, code = ["escrime", *words], io.StringIO(), None
    with contextlib.redirect_stderr(told):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    found.append([code, told.getvalue(), "torch" in sys.modules or "pandas" in sys.modules])
print(json.dumps(found))
"""
    lines = json.dumps([words for words, _ in REFUSED])
    here = tmp_path_factory.mktemp("empty")
    done = subprocess.run([sys.executable, "-c", code], input=lines, capture_output=True, text=True, cwd=here, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(here.iterdir())
    return dict(zip((words for words, _ in REFUSED), json.loads(done.stdout)))


@pytest.mark.parametrize(("words", "sentence"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_refused_at_once(words, sentence, said):
    code, text, waited = said[words]
    assert code == 2 and sentence in text and "Traceback" not in text
    assert not waited, "torch was imported for a refusal"


def test_names_of_torchvision_are_read_from_its_files():
    from torchvision import models

    from escrime.specifications import of_torchvision

    assert set(models.list_models(module=models)) <= of_torchvision()


def test_every_check_is_about_an_option_that_exists():
    options = {option for info in app.registered_commands for option in info.callback.__annotations__}
    assert set(CHECKS) <= options
    assert {name_of(info) for info in app.registered_commands} >= {"evaluate", "list"}


def test_what_is_fine_passes():
    refuse("evaluate", {"eps": "4/255,0.5/255", "attack": "FGSM, PGD", "norm": "linf", "data": "digits", "device": "cuda:1"})
    refuse("compare", {"eps": "3", "attack": "worst case", "limit": None})
    refuse("evaluate", {"eps": "3", "norm": "l2"})
    refuse("train", {"data": "digits", "objective": "trades", "goal": ["beta=6"], "set_": ["ema=0.9"], "eps": "8/255"})
    for objective, entry in catalog()["objectives"].items():
        check_settings(entry["settings"], objective)
    check_settings(catalog()["settings"])
    assert catalog()["objectives"]["trades"]["settings"] == ["eps", "eps_distribution", "step_size", "steps", "beta"]
    with pytest.raises(EscrimeError, match="epochs = 5 already"):
        refuse("train", {"epochs": 5, "set_": ["epochs=6"]})


def test_the_catalog_names_what_code_can_make():
    from escrime.attacks.core.registry import by_name

    assert list(attacks()) == list(by_name())
    assert {name for name, entry in attacks().items() if entry["needs_target"]} == {
        name for name, kind in by_name().items() if kind.needs_target
    }
