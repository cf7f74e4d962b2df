"""A run small enough to repeat: digits, one network, a few images, every stage."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import escrime
from escrime.models import save_weights

TINY = """
title = "A tiny run"
headline_eps = 0.15
[data]
name = "digits"
limit = 30
[models.lenet]
arch = "lenet"
stands_for = "googlenet"
[training]
epochs = 3
learning_rate = 0.05
[defenses.ppa]
eps_max = 0.3
samples = 3
[defenses.adversarial-training]
objective = { name = "fgsm-mixed", eps = 0.15 }
training = { epochs = 2 }
[attacks.fgsm]
epsilons = [0, 0.15, 0.3]
[attacks.dgsm]
target = "1"
limit = 25
adaptive_limit = 20
epsilons = [0, 0.2]
steps = 4
[checks]
images = 12
steps = 5
queries = 40
draws = 20
eot = 2
doublings = 1
"""


@pytest.fixture
def undrawn():
    """No report at the end of a run, for tests that do not look at it: drawing one takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("escrime.report", "escrime.report.draw"):
            patch.setattr(f"{place}.draw_report", lambda folder, *args, **kwargs: [Path(folder) / "report.html"])
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The TOML file of the tiny experiment."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(tiny, once):
    """The folder of a finished tiny run, of all pytest workers. Copy it before changing anything."""
    from escrime.commands.run import run_experiment

    return once("finished", lambda folder: run_experiment(str(tiny), out=folder, quiet=True, device="cpu"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """90 small photos: each class is bright in a row of its own, in noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee", "cat")):
        (folder / name).mkdir()
        for number in range(30):
            pixels = rng.integers(60, 160, (8, 8, 3))
            pixels[2 * label : 2 * label + 3] += 30
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def quick_checks():
    """What looks for a stronger attack, on a few images, and AutoAttack with few of its 5,000 queries, which cost more than all
    the rest: these tests ask whether it runs, not what it finds."""
    from escrime.commands.evaluate import assessment as assess
    from escrime.commands.run import rates
    from escrime.evaluation import Effort

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(escrime.AutoAttack, "usual", {"queries": 300})
        patch.setattr(rates, "_best", partial(rates._best, budget=0.01))
        patch.setattr(assess, "EFFORT", Effort(images=8, steps=5, queries=20, draws=5, eot=2, doublings=0))
        yield


@pytest.fixture(scope="session")
def weights(pictures, quick_checks, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lenet.safetensors"
    model = escrime.build("lenet", 3, seed=0)
    train = escrime.data.load_to_judge(pictures, 8)
    escrime.fit(model, train, settings=escrime.training.TrainSettings(epochs=12, learning_rate=0.05, batch_size=16))
    save_weights(model, path, {"classes": ["ant", "bee", "cat"], "size": 8})
    return f"lenet@{path}"
