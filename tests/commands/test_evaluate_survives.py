"""What an evaluation survives: kill -9 at any moment, and models and pictures as bad as they come."""

import multiprocessing
import os
import random
import time

import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from escrime import EscrimeError
from escrime.cli import app
from escrime.commands.evaluate import assessment as assessing
from escrime.commands.evaluate.assessment import assess
from escrime.commands.evaluate.request import Request
from escrime.evaluation import Effort, read_records

CPU = torch.device("cpu")


def run(request: Request, out: str) -> None:
    torch.set_num_threads(1)
    assessing.EFFORT = Effort(images=8, steps=5, queries=20, draws=5, eot=2, doublings=0)  # in a process of its own
    assess(request, out, device=CPU, quiet=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_ten_random_moments(weights, pictures, tmp_path):
    """The records in the end are those of an undisturbed run, and no finished part is ever written again."""
    request = Request(weights, str(pictures), ("0.05",), attacks=("FGSM", "APGD"))
    run(request, str(tmp_path / "whole"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["escrime.commands.evaluate.assessment", "escrime.report"])
    warm = context.Process(target=run, args=(request, str(tmp_path / "warm")))
    begin = time.monotonic()
    warm.start(), warm.join()
    usual, rng, out = time.monotonic() - begin, random.Random(0), tmp_path / "killed"
    finished: dict[str, int] = {}
    for _ in range(10):
        child = context.Process(target=run, args=(request, str(out)))
        child.start()
        child.join(rng.uniform(0.02, 0.6) * usual)
        child.kill()
        child.join()
        times = {path.name: path.stat().st_mtime_ns for path in out.glob("records/*.parquet")}
        assert finished.items() <= times.items()
        finished = times
    run(request, str(out))
    assert finished.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("records/*.parquet")}.items()
    keys = ["attack", "eps", "image"]
    one, two = (read_records(path).sort_values(keys, ignore_index=True) for path in (tmp_path / "whole", out))
    pd.testing.assert_frame_equal(one, two)
    assert not list(out.rglob("*.partial"))


MODELS = """
import torch, escrime
from pathlib import Path
from torch import nn
inner = escrime.load_model("WEIGHTS").model
class Base(nn.Module):
    classes, size = ["ant", "bee", "cat"], 8
    def __init__(self):
        super().__init__()
        self.inner = inner
class Raises(Base):
    def forward(self, x): raise RuntimeError("boom")
class NotANumber(Base):
    def forward(self, x): return self.inner(x) * float("nan")
class Probabilities(Base):
    def forward(self, x): return self.inner(x).softmax(1)
class Shape(Base):
    def forward(self, x): return self.inner(x)[..., None]
class Elsewhere(Base):
    def forward(self, x): return self.inner(x).to("meta")
class Empty(Base):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(3, 3, device="meta")
    def forward(self, x): return self.more(self.inner(x))
class Larger(Base):
    size = 16
    def forward(self, x): return nn.functional.linear(x.flatten(1), torch.zeros(3, 192))
class TwoClasses(Base):
    def forward(self, x): return self.inner(x)[:, :2]
class Interrupted(Base):
    def forward(self, x):
        if any((Path(__file__).parent / "run" / "records").glob("*.parquet")): raise KeyboardInterrupt
        return self.inner(x)
"""


@pytest.fixture
def models(weights, tmp_path):
    (tmp_path / "mine.py").write_text(MODELS.replace("WEIGHTS", weights))
    return tmp_path / "mine.py"


def ask(model, pictures, out, *more):
    arguments = ["evaluate", "--model", model, "--data", pictures, "--eps", "0.05", "--out", out, "--device", "cpu", *more]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, EscrimeError):
        raise result.exception
    return result


@pytest.mark.parametrize(
    "name, said",
    [
        ("Raises", "fails on an image of 3 × 8 × 8.*RuntimeError: boom"),
        ("NotANumber", "NaN or infinite"),
        ("Shape", r"returned \(1, 3, 1\) for 1 images"),
        ("Elsewhere", "logits are on device meta.*images on cpu"),
        ("Empty", "weights that are on no device.*more.weight"),
        ("Larger", "fails on an image of 3 × 16 × 16.*--size"),
    ],
)
def test_a_broken_model_is_refused_before_anything_is_written(name, said, models, pictures, tmp_path):
    with pytest.raises(EscrimeError, match=said):
        ask(f"{models}:{name}", pictures, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_probabilities_are_said_and_judged(models, pictures, tmp_path):
    result = ask(f"{models}:Probabilities", pictures, tmp_path / "run", "--attack", "FGSM", "--limit", "30")
    assert result.exit_code == 0 and "probabilities" in result.output


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_evaluation_keeps_its_parts(models, pictures, weights, tmp_path):
    result = ask(f"{models}:Interrupted", pictures, tmp_path / "run", "--attack", "FGSM,PGD", "--limit", "30")
    assert result.exit_code != 0
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "records").glob("*.parquet")}
    assert kept and not list((tmp_path / "run").rglob("*.partial"))
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace("raise KeyboardInterrupt", "pass"))
    assert ask(f"{models}:Interrupted", pictures, tmp_path / "run", "--attack", "FGSM,PGD", "--limit", "30").exit_code == 0
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "records").iterdir()}.items()


def broken_pictures(folder, kind):
    target = folder / "ant" / "0.png"
    content = target.read_bytes()
    if kind == "empty":
        target.write_bytes(b"")
    elif kind == "cut off":
        target.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        target.write_text("not a picture")
    elif kind == "wide":
        Image.new("RGB", (20_000, 2)).save(target)
    elif kind == "huge":
        header = bytearray(content)
        header[16:24] = (60_000).to_bytes(4, "big") * 2  # what its header claims: a decompression bomb
        target.write_bytes(bytes(header))


BROKEN = {"empty": "is empty", "cut off": "not a readable image", "text": "no image format", "huge": "pixels|no image format"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind, said", BROKEN.items(), ids=BROKEN)
def test_a_broken_picture_is_named_or_left_out(kind, said, weights, pictures, tmp_path):
    import shutil

    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    broken_pictures(folder, kind)
    with pytest.raises(EscrimeError, match=f"1 of 90 images.*({said}).*leave them out"):
        ask(weights, folder, tmp_path / "run", "--attack", "FGSM")
    assert not (tmp_path / "run").exists()
    with pytest.warns(UserWarning, match="1 of 90 images"):
        assert ask(weights, folder, tmp_path / "run", "--attack", "FGSM", "--skip-unreadable").exit_code == 0
    assert read_records(tmp_path / "run").image.nunique() == 89


@pytest.mark.usefixtures("undrawn")
def test_a_very_wide_picture_is_cropped(weights, pictures, tmp_path):
    import shutil

    shutil.copytree(pictures, tmp_path / "pictures")
    broken_pictures(tmp_path / "pictures", "wide")
    assert ask(weights, tmp_path / "pictures", tmp_path / "run", "--attack", "FGSM").exit_code == 0
    assert read_records(tmp_path / "run").image.nunique() == 90


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(weights, pictures, tmp_path):
    import shutil

    shutil.copytree(pictures, tmp_path / "pictures")
    (tmp_path / "pictures" / "bee").chmod(0)
    with pytest.raises(EscrimeError, match="cannot be read.*permission"):
        ask(weights, tmp_path / "pictures", tmp_path / "run")


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: folder.write_text("x"), "is a file"),
        (lambda folder: (folder / "ant").mkdir(parents=True), "holds no images"),
    ],
    ids=["empty", "a file", "an empty class"],
)
def test_folders_that_are_none(make, said, weights, tmp_path):
    make(tmp_path / "pictures")
    with pytest.raises(EscrimeError, match=said):
        ask(weights, tmp_path / "pictures", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_loses_nothing(weights, pictures, tmp_path, monkeypatch):
    """The third part cannot be written; the two before it stay, and the next run goes on from there."""
    from escrime.commands.shared import folder as module

    written, real = [], module.write_part

    def full(frame, path):
        if len(written) == 2:
            raise EscrimeError(f"{path} could not be written (No space left on device); free some space.")
        written.append(path)
        real(frame, path)

    monkeypatch.setattr(module, "write_part", full)
    with pytest.raises(EscrimeError, match="No space left"):
        ask(weights, pictures, tmp_path / "run", "--attack", "FGSM,PGD")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "records").iterdir()}
    assert set(kept) == set(written)
    monkeypatch.setattr(module, "write_part", real)
    assert ask(weights, pictures, tmp_path / "run", "--attack", "FGSM,PGD").exit_code == 0
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_a_slash_behind_the_folder_is_no_other_question(weights, pictures):
    """Completion at the prompt adds one; the work would be lost for it."""
    plain, slashed = (Request(weights, f"{pictures}{end}", ("0.05",)) for end in ("", "/"))
    assert plain == slashed and plain.settings() == slashed.settings()
