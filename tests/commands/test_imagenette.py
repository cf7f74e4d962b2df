"""`run imagenette` end to end on generated images: a folder, a local weight file with 1,000 classes, the leak-free subset."""

import numpy as np
import pytest
import torch
from PIL import Image

from escrime.commands.run import run_experiment
from escrime.commands.run.files import shipped
from escrime.commands.shared.folder import RunFolder
from escrime.data import WNIDS
from escrime.evaluation import read_records, summarize
from escrime.models import build, load_weights, save_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten classes of flat color: three training photos, one leak-free one among them, and two of val, one leak-free."""
    root = tmp_path_factory.mktemp("imagenette")
    noise = np.random.default_rng(0)
    for k, wnid in enumerate(WNIDS):
        names = [f"train/{wnid}/{wnid}_{i}.JPEG" for i in range(2)] + [f"train/{wnid}/ILSVRC2012_val_{k:08d}.JPEG"]
        names += [f"val/{wnid}/{wnid}_9.JPEG", f"val/{wnid}/ILSVRC2012_val_{k + 100:08d}.JPEG"]
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            color = np.array([25 * k, 255 - 25 * k, 128]) + noise.integers(-20, 20, (40, 40, 3))
            Image.fromarray(color.clip(0, 255).astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module", autouse=True)
def coarse_surfaces():
    """Of the loss, 3 × 3 points in place of 13 × 13, which took longer than all the rest; no test here looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("escrime.evaluation.flatness.AXIS", (-2.0, 0.0, 2.0))
        yield


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """The shipped experiment with GoogLeNet, its grids and passes cut so that two cores need seconds."""
    here = tmp_path_factory.mktemp("run")
    pretrained = build("googlenet", 1000, seed=3)
    save_weights(pretrained.network, here / "pretrained.safetensors")
    text = shipped()["imagenette"].read_text()
    dgsm = ", ".join(["0", *(f"0.{k:03d}" for k in range(1, 16))])
    cuts = {
        "[checks]\nimages = 64": "[checks]\nenabled = false\nimages = 8",
        "samples = 16": "samples = 2",
        "steps = 20": "steps = 2",
        f"[{dgsm}]": "[0, 0.015]",
        "[0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.275, 0.3]": "[0, 0.025, 0.3]",
    }
    for old, new in cuts.items():
        assert old in text
        text = text.replace(old, new)
    (here / "imagenette.toml").write_text(text)
    changes = {
        "data": folder,
        "models": "googlenet",
        "weights": [str(here / "pretrained.safetensors")],
        "size": 32,
        "epochs": 1,
        "adversarial_epochs": 1,
    }
    return run_experiment(str(here / "imagenette.toml"), changes, out=here / "run", quiet=True, device="cpu")


def test_leak_free_images_are_tested_and_never_trained_on(run):
    dataset = RunFolder(run).manifest["dataset"]
    assert (dataset["train"], dataset["test"]) == (20, 30)
    assert dataset["subsets"] == {"val": 20, "leak-free": 20}
    table = summarize(read_records(run))
    assert set(zip(table["subset"], table["n"])) == {("val", 20), ("leak-free", 20)}


def test_springers_are_left_as_they_are_and_counted(run):
    springers = read_records(run).query("attack == 'DGSM' and label == 1")
    assert len(springers) and (springers["distance"] == 0).all() and (springers["target"] == 1).all()


def test_the_output_layer_is_cut_and_the_auxiliary_heads_are_gone_at_inference(run):
    network = load_weights(build("googlenet", 10), run / "checkpoints" / "googlenet.safetensors").eval()
    logits = network(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 10)


def test_both_subsets_have_their_claims(run):
    import json

    claims = json.loads((run / "claims.json").read_text())
    assert {claim["subset"] for claim in claims if claim["id"] == "C1"} == {"val", "leak-free"}


@pytest.mark.shared
@pytest.mark.usefixtures("undrawn")
def test_real_images_and_real_weights(imagenette_folder, shared, tmp_path):
    """MobileNetV2 on real photos, output layer cut to ten of its 1,000 classes, before any training."""
    text = shipped()["imagenette"].read_text()
    head, tail = text.split("[models.wide_resnet50_2]")
    tail = "[training]" + tail.split("[training]", 1)[1]
    tail = tail.split("[defenses.ppa]")[0] + "[attacks.fgsm]\nepsilons = [0, 0.025]\n[attacks.dgsm]\n"
    tail += 'target = "English springer"\nepsilons = [0, 0.015]\nsteps = 3\n'
    tail += "[checks]\nimages = 16\nsteps = 10\nqueries = 50\ndraws = 20\ndoublings = 1\n"
    weights = shared / "models" / "mobilenet_v2-imagenet1k.safetensors"
    model = (
        f'[models.mobilenet_v2]\narch = "mobilenet_v2"\nweights = "{weights}"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n'
    )
    settings = "freeze_batchnorm = true\nclip_gradient = 0.5\n"
    path = tmp_path / "real.toml"
    path.write_text(head + model + tail.replace("[training]", "[training]\n" + settings, 1))
    changes = {"data": _sample(imagenette_folder, tmp_path / "sample"), "size": 128, "epochs": 1}
    folder = run_experiment(str(path), changes, out=tmp_path / "run", quiet=True, device="cpu")
    table = summarize(read_records(folder)).query("subset == 'val' and attack == 'FGSM'").set_index("eps")
    assert table["accuracy"][0.0] > 0.85 and table["accuracy"][0.025] < table["accuracy"][0.0] - 0.3


def _sample(source, target):
    """A few photos of every class, as links."""
    for split, count in (("train", 4), ("val", 6)):
        for wnid in WNIDS:
            (target / split / wnid).mkdir(parents=True)
            for photo in sorted((source / split / wnid).iterdir())[-count:]:
                (target / split / wnid / photo.name).symlink_to(photo)
    return target
