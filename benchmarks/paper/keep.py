"""Of a finished run, what the page shows: claims, curves, verdicts, paired tests, analysis, and how it was made."""

import json
import re
import shlex
from pathlib import Path

from escrime.files import write_whole
from escrime.report.document import as_document, plain
from escrime.report.run import Run, read_run

DIGITS = 4  # of a share: a hundredth of a percent


def keep_any(source: Path, out: Path) -> Path:
    """A run folder, a folder of `escrime tune` or a JSON file, as `out`."""
    if (source / "manifest.json").exists():
        return keep(source, out)
    found = json.loads((source if source.is_file() else source / "tune.json").read_text(encoding="utf-8"))
    for picture in source.glob("pareto.*"):
        write_whole(out.with_name(f"{out.stem}{picture.suffix}"), picture.read_bytes())
    text = json.dumps(rounded(found | {"command": portable(found["command"])}), ensure_ascii=False, separators=(",", ":"))
    write_whole(out, re.sub(r"@/[^\"\s]*/", "@", text) + "\n")  # weights by their name
    return out


def keep(folder: Path, out: Path) -> Path:
    """Write the run's part of the page, some ten kB of JSON per defense."""
    run = read_run(folder)
    found = as_document(run)
    manifest = found["manifest"]
    told = ("title", "created", "command", "seed", "escrime", "commit", "versions", "hardware", "models", "stages")
    settings = manifest["experiment"]
    content = {
        "about": {name: manifest[name] for name in told}
        | {"data": {name: manifest["dataset"][name] for name in ("name", "size", "train", "test", "subsets")}}
        | {"command": portable(manifest["command"])}
        | {"pretrained": any(model["weights"] != "none" for model in settings["models"].values())}
        | {"training": settings["training"], "defenses": settings["defenses"], "attacks": settings["attacks"]},
        "eps": found["eps"],
        "claims": found["claims"],
        "verdicts": found["verdicts"],
        "tests": found["tests"],
        "curves": [curve for model in run.models for curve in curves(run, model)],
        "analysis": {model: run.analysis(model) for model in run.models},
    }
    write_whole(out, json.dumps(rounded(plain(content)), separators=(",", ":"), ensure_ascii=False) + "\n")
    return out


def portable(command: str) -> str:
    """The command without the places of one machine: files by their names, the images in DIR, the folder by its default."""
    words, kept = shlex.split(command), []
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if "--out" not in (word, before):
            kept.append("DIR" if before in ("--data", "--images") and Path(word).is_absolute() else word)
    return shlex.join(re.sub(r"(^|[@=])/\S*/(?=[^/\s]+$)", r"\1", word) for word in kept)


def machine(hardware: dict) -> str:
    """What a run went on, from its manifest: the name of the GPU, or "2 CPU cores"."""
    cores = hardware["cores"]
    return hardware.get("gpu") or f"{cores} CPU core{'s' if cores != 1 else ''}"


def curves(run: Run, model: str) -> list[dict]:
    """% right of every sweep, % called the target of the targeted ones."""
    rows = []
    for subset in run.subsets:
        for defense, threat in run.defenses(model):
            about = {"model": model, "subset": subset, "defense": defense, "threat": threat}
            for attack in run.attacks(model):
                sweep = run.sweep(model, defense, threat, attack, subset)
                if sweep is not None and sweep.n:
                    for score in ("correct", "hit") if sweep.targeted else ("correct",):
                        rows.append(about | {"attack": attack, "score": score, "points": points(sweep, score)})
    return rows


def points(sweep, score: str) -> list[list]:
    """[ε, share, low, high, n] of every ε that was measured."""
    return [[round(float(p.eps), 6), p.value, p.low, p.high, p.n] for p in sweep.points(score) if p.n]


def rounded(value):
    """Floats to DIGITS decimals, small ones to as many digits."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, DIGITS) if abs(value) >= 0.01 else float(f"{value:.{DIGITS}g}")
    return value
