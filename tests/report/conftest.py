"""Synthetic run folders whose accuracies are known: `build_run` writes what an experiment would, without any model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from escrime import cli
from escrime.report import draw_report
from escrime.report.paper_points import POINTS
from escrime.results.records import frame

CLASSES = ["tench", "English springer", "cassette player", "chain saw", "church"]
TARGET = 1
HARDWARE = {"cpu": "Test CPU", "cores": 2, "memory_gib": 8.0, "device": "cpu"}


class RunBuilder:
    """Collects sweeps as {ε: share}; image i of n is right (or called the target) when i is below share · n."""

    def __init__(self, n: int = 50, subsets: dict[str, int] | None = None, classes=tuple(CLASSES)):
        self.n, self.classes = n, list(classes)
        self.subsets = subsets or {}  # name → how many of the n images, counted from the end
        self.models, self.parts, self.examples, self.arrays, self.analysis = {}, [], {}, {}, {}
        self.labels = np.where(np.arange(n) < round(0.12 * n), TARGET, np.arange(n) % 2 * 2)

    def model(self, name: str, stands_for: str | None = None, arch: str | None = None) -> "RunBuilder":
        self.models[name] = {"arch": arch or stands_for or name, "parameters": 12345, "stands_for": stands_for}
        return self

    def sweep(self, model, defense, threat, attack, shares: dict[float, float], *, correct=None, draws=1, verified=True):
        """`shares` are of right answers; under DGSM of images called the target (and `correct` of right answers)."""
        rng = np.random.default_rng(len(self.parts))
        for eps, share in shares.items():
            order = np.arange(self.n)
            hit = (order < round(share * self.n)).astype(float) if attack == "DGSM" else np.zeros(self.n)
            right = share if attack != "DGSM" else (correct or {}).get(eps, 1 - share)
            correct_now = (order < round(right * self.n)).astype(float)
            if attack == "DGSM" and correct is None:
                correct_now = np.where(hit > 0, self.labels == TARGET, 1.0)
            prediction = np.where(correct_now > 0, self.labels, (self.labels + 3) % len(self.classes))
            prediction = np.where(hit > 0, TARGET, prediction)
            rows = {
                "model": model,
                "defense": defense,
                "threat": threat,
                "attack": attack,
                "norm": "linf",
                "eps": eps,
                "image": [f"digits/{i:04d}" for i in order],
                "subsets": [" ".join(k for k, m in self.subsets.items() if i >= self.n - m) for i in order],
                "label": self.labels,
                "target": TARGET if attack == "DGSM" else -1,
                "clean_prediction": self.labels,
                "clean_confidence": 0.99,
                "prediction": prediction,
                "confidence": rng.beta(8, 2, self.n),
                "correct": correct_now,
                "hit": hit,
                "draws": draws,
                "distance": eps,
                "forwards": 2.0,
                "backwards": 1.0,
                "verified": verified,
                "survives_8bit": correct_now == 0,
                "seed": 0,
            }
            self.parts.append({name: np.broadcast_to(value, self.n) for name, value in rows.items()})
        return self

    def example(self, model, figure, images: dict[str, np.ndarray], **facts):
        items, arrays = self.examples.setdefault(model, []), self.arrays.setdefault(model, {})
        index = len(items)
        arrays |= {f"{name}_{index}": image.astype(np.float32) for name, image in images.items()}
        self.arrays[model] = arrays
        items.append({"figure": figure, "index": index, **facts})
        return self

    def write(self, folder: Path) -> Path:
        for name in ("records", "examples", "analysis", "training"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        half = len(self.parts) // 2  # two parts, as several workers would leave them
        for number, parts in enumerate((self.parts[:half], self.parts[half:])):
            columns = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else [])}
            if columns:
                frame(columns).to_parquet(folder / "records" / f"{number:03d}.parquet", index=False)
        for model, items in self.examples.items():
            (folder / "examples" / f"{model}.json").write_text(json.dumps(items))
            np.savez(folder / "examples" / f"{model}.npz", **self.arrays[model])
        for model, content in self.analysis.items():
            (folder / "analysis" / f"{model}.json").write_text(json.dumps(content))
        for model in self.models:
            log = "epoch,loss,accuracy\n1,0.9,0.71\n2,0.31,0.93\n"
            (folder / "training" / f"{model}--none.csv").write_text(log)
        (folder / "manifest.json").write_text(json.dumps(self.manifest()))
        return folder

    def manifest(self) -> dict:
        return {
            "name": "synthetic",
            "title": "A synthetic run",
            "created": "2026-01-02T03:04:05Z",
            "escrime": "0.1.0",
            "versions": {"torch": "2.15.0", "numpy": np.__version__},
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "python": "3.12.1",
            "hardware": HARDWARE,
            "seed": 7,
            "command": "escrime run synthetic",
            "experiment": {"name": "synthetic", "attacks": {"DGSM": {"steps": 20}}},
            "dataset": {
                "name": "digits",
                "classes": self.classes,
                "train": 100,
                "test": self.n,
                "subsets": self.subsets,
                "size": 8,
                "fingerprint": "abc123",
            },
            "models": self.models,
            "stages": [{"name": "train", "seconds": 12.5}, {"name": "sweeps", "seconds": 75.0}],
        }


def as_shares(points: dict[float, float]) -> dict[float, float]:
    return {eps: value / 100 for eps, value in points.items()}


def add_examples(builder: RunBuilder, model: str, size: int = 8) -> None:
    """One or more examples for each of figures 1, 2, 4 and 8."""
    rng = np.random.default_rng(3)
    before, after = {"prediction": 0, "confidence": 0.991}, {"prediction": 3, "confidence": 0.874}
    for figure, attack, count in ((1, "FGSM", 2), (2, "FGSM", 1), (4, "FGSM", 7), (8, "DGSM", 1)):
        for _ in range(count):
            original = rng.uniform(0.2, 0.8, (3, size, size))
            images = {"original": original, "adversarial": original + 0.2 * rng.choice([-1, 1], original.shape)}
            facts = {"original": before, "adversarial": after}
            if figure == 2:
                images["copy"] = original
                facts |= {"copy": before, "verdict": {"prediction": 0, "confidence": 0.625}}
            if figure == 1:
                facts["perturbation"] = {"prediction": 4, "confidence": 0.331}
            builder.example(
                model, figure, images, image=f"digits/{figure:04d}", label=0, attack=attack, eps=0.2,
                defense="none", threat="white-box", target=TARGET if attack == "DGSM" else -1, **facts,
            )  # fmt: skip


def add_slider(builder: RunBuilder, model: str) -> None:
    """One image at five ε, wrong from 0.2 on, and one of another class that stays right."""
    rng = np.random.default_rng(4)
    grid = [0.0, 0.1, 0.2, 0.3, 0.4]
    original = rng.uniform(0.4, 0.6, (3, 8, 8))
    frames = np.stack([original + eps * rng.choice([-1, 1], original.shape) for eps in grid])
    builder.example(
        model, "slider", {"slider": frames}, image="digits/0042", label=0, attack="FGSM", epsilons=grid,
        predictions=[0, 0, 3, 3, 3], confidences=[0.99, 0.8, 0.6, 0.9, 0.95],
    )  # fmt: skip
    says = {"prediction": 2, "confidence": 0.95}
    builder.example(
        model, "held", {"original": frames[0], "adversarial": frames[2]}, image="digits/0043", label=2, attack="FGSM",
        eps=0.2, defense="none", threat="white-box", target=-1, original=says, adversarial=says,
    )  # fmt: skip


def paper_builder(n: int = 50, **models: str) -> RunBuilder:
    """The paper's own curves as records of one network, or of each of `models`, with an adaptive attack that breaks PPA."""
    built = RunBuilder(n)
    fgsm, dgsm = POINTS["FGSM"], POINTS["DGSM"]
    for name, stands_for in (models or {"wrn": "wide_resnet50_2"}).items():
        built.model(name, stands_for)
        built.sweep(name, "none", "white-box", "FGSM", as_shares(fgsm["none"]))
        built.sweep(name, "none", "white-box", "DGSM", as_shares(dgsm["none"]))
        built.sweep(name, "ppa", "transfer", "FGSM", as_shares(fgsm["ppa"]), draws=8)
        built.sweep(name, "ppa", "adaptive", "FGSM", {e: 0.94 if e == 0 else 0.10 for e in fgsm["ppa"]}, draws=8)
        built.sweep(name, "ppa", "transfer", "DGSM", as_shares(dgsm["ppa"]), draws=8)
        built.sweep(name, "ppa", "adaptive", "DGSM", {e: 0.12 if e < 0.005 else 0.9 for e in dgsm["ppa"]}, draws=8)
        for threat in ("transfer", "adaptive"):
            built.sweep(name, "adversarial-training", threat, "FGSM", as_shares(fgsm["adversarial-training"]))
            built.sweep(name, "adversarial-training", threat, "DGSM", dict.fromkeys(dgsm["ppa"], 0.12))
    return built


@pytest.fixture(scope="session")
def builder():
    """The class that writes synthetic runs."""
    return RunBuilder


@pytest.fixture(scope="session")
def paper_curves():
    """A function (n, network="whom it stands for", …) → RunBuilder with the paper's own curves on n images."""
    return paper_builder


@pytest.fixture(scope="session")
def with_examples():
    return add_examples


def add_surfaces(built: RunBuilder, model: str) -> None:
    """Bowls around images and weights, a steep one and a flat one, and their measures."""
    axis = [-2.0, -1.0, 0.0, 1.0, 2.0]

    def bowl(height: float) -> list[list[float]]:
        return [[0.1 + height * (a * a + b * b) for b in axis] for a in axis]

    both = {"none": bowl(0.5), "adversarial-training": bowl(0.05)}
    means = {"none": {"mean": 2.2, "low": 1.1, "high": 3.5}}
    means["adversarial-training"] = {"mean": 0.2, "low": 0.1, "high": 0.4, "ratio": 0.09, "ratio_low": 0.05, "ratio_high": 0.2}
    means["adversarial-training"]["p"] = 0.001
    built.analysis[model] = {
        "C12": {
            "n": 64,
            "eps": 0.025,
            "ascent": 0.02,
            "random": 0.5,
            "measures": {"loss_rise": means, "weight_ascent": means},
            "surfaces": {"images": both, "weights": both, "axis": axis, "n": 32},
        }
    }


@pytest.fixture(scope="session")
def with_slider():
    return add_slider


@pytest.fixture(scope="session")
def paper_run(tmp_path_factory) -> Path:
    """A run folder that holds the paper's own curves (n = 50) and examples for every figure, not yet drawn."""
    built = paper_builder()
    add_examples(built, "wrn")
    add_slider(built, "wrn")
    add_surfaces(built, "wrn")
    return built.write(tmp_path_factory.mktemp("paper") / "run")


@pytest.fixture(scope="session")
def drawn_run(paper_run, once, tmp_path_factory) -> Path:
    """The same folder with its report, drawn once for all pytest workers, each of which has a copy."""
    drawn = once("drawn", lambda folder: draw_report(shutil.copytree(paper_run, folder)))
    return shutil.copytree(drawn, tmp_path_factory.mktemp("drawn") / "run")


@pytest.fixture
def blank_figures(monkeypatch):
    """Every figure is a white pixel, for tests that read the page: drawing takes longer than all the rest."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><g/></svg>'

    def savefig(figure, path, **_):
        if path.suffix == ".svg":
            path.write_text(svg)
        else:
            Image.new("RGB", (1, 1), "white").save(path)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)


@pytest.fixture
def escrime(monkeypatch, capsys):
    """Call the command line with words: (exit code, what it said, what it complained of)."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["escrime", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call
