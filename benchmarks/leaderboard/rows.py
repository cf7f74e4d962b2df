"""One network's row: judged by `escrime evaluate`, once per norm, and kept as a small file of JSON."""

import json
import shlex
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from escrime.budgets import same
from escrime.files import write_whole
from escrime.norms import norm
from escrime.report.document import as_document
from escrime.report.run import read_run

from ..paper.keep import portable, rounded
from .threats import ATTACKS, HEADLINE, THREATS, grids

LEAST = 200  # images of a row, as many of each class
PREFIX = "ILSVRC2012_val_"  # of the files that ImageNet's training set does not hold


@dataclass(frozen=True)
class Entry:
    """What is entered: network, training: in words, as the table shows them. model: a specification as `escrime evaluate` takes
    it, of ten classes. options: more of its options, such as --size 160."""

    name: str
    network: str
    training: str
    model: str
    options: tuple[str, ...] = ()


def leak_free(source: Path, out: Path) -> int:
    """Link the images of Imagenette's folder `source` that ImageNet's training set does not hold into out/WNID; returns how
    many there are.

    Errors: SystemExit where there are not 500 of them, as in Imagenette v2.
    """
    found = sorted(source.glob(f"*/*/{PREFIX}*"))
    if len(found) != 500:
        raise SystemExit(f"{source} holds {len(found)} images named {PREFIX}*, not the 500 of Imagenette v2; give its folder.")
    for path in found:
        link = out / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path.resolve())
    return len(found)


def commands(entry: Entry, images: Path, limit: int, runs: Path) -> dict[str, list[str]]:
    """Norm → the arguments of `escrime` that judge the entry under it."""
    return {
        kind: [
            *("evaluate", "--model", entry.model, "--data", str(images), "--eps", ",".join(grid), "--norm", kind),
            *("--attack", ATTACKS, "--limit", str(limit), *entry.options, "--out", str(runs / f"{entry.name}-{kind}")),
        ]
        for kind, grid in grids().items()
    }


def judge(entry: Entry, images: Path, limit: int, runs: Path, norms: Collection[str]) -> dict[str, Path]:
    """Run those commands for `norms`; norm → run folder, those that earlier calls finished
    too. What is there already goes on.

    Errors: SystemExit with the exit code of the command that failed.
    """
    folders = {}
    for kind, arguments in commands(entry, images, limit, runs).items():
        folder = Path(arguments[-1])
        if kind in norms:
            print("escrime", shlex.join(arguments), flush=True)
            if code := subprocess.run([sys.executable, "-m", "escrime", *arguments]).returncode:
                raise SystemExit(code)
        if (folder / "answer.json").exists():  # a run that was stopped has none
            folders[kind] = folder
    return folders


def row(entry: Entry, folders: dict[str, Path]) -> dict:
    """The row as JSON values, from the run folders of its norms; without those of a norm it was not judged in.

    Errors: SystemExit for a run on too few images, with another model, or of another headline.
    """
    found = {kind: as_document(read_run(folder)) for kind, folder in folders.items()}
    one = next(iter(found.values()))
    weights = {about["weights"] for document in found.values() for about in document["manifest"]["models"].values()}
    if len(weights) != 1:
        raise SystemExit(f"the runs of {entry.name} judged {len(weights)} different networks; judge one.")
    manifest = one["manifest"]
    checks = [finding for document in found.values() for finding in document["checks"]]
    cells = {"clean": cell(one["worst_case"], 0.0)}
    for threat in (one for one in THREATS if one.norm in found):
        document, geometry = found[threat.norm], norm(threat.norm)
        rows = document["worst_case"] if threat.attack is None else document["summary"]
        rows = [r for r in rows if threat.attack in (None, r["attack"])]
        (verdict,) = [v for v in document["verdicts"] if v["norm"] == threat.norm]
        if not same(verdict["eps"], geometry.epsilon(HEADLINE[threat.norm])):
            raise SystemExit(f"{folders[threat.norm]} has its headline at ε = {verdict['eps']:g}; use {HEADLINE[threat.norm]}.")
        cells[threat.key] = cell(rows, geometry.epsilon(threat.eps)) | {"believed": verdict["believe"]}
    if (n := cells["clean"]["n"]) < LEAST:
        raise SystemExit(f"{entry.name} was judged on {n} images; the table takes rows of at least {LEAST}.")
    return {
        "network": entry.network,
        "training": entry.training,
        "weights": weights.pop(),
        "pixels": manifest["dataset"]["size"],
        "n": n,
        "cells": cells,
        "alarms": sorted({f["id"] for f in checks if f["severity"] == "alarm" and not f["answered"]}),
        "seconds": round(sum(stage["seconds"] for d in found.values() for stage in d["manifest"]["stages"])),
        "hardware": manifest["hardware"],
        "escrime": manifest["escrime"],
        "commit": manifest["commit"],
        "created": manifest["created"][:10],
        "commands": [portable(d["manifest"]["command"]) for d in found.values()],
    }


def cell(rows: list[dict], eps: float) -> dict:
    """Accuracy and its interval at one ε. Errors: SystemExit where it was not measured."""
    for one in rows:
        if same(one["eps"], eps):
            return {name: one[name] for name in ("accuracy", "low", "high", "n")}
    raise SystemExit(f"nothing was measured at ε = {eps:g}; judge the network again.")


def keep(content: dict, path: Path) -> None:
    """Write a row."""
    write_whole(path, json.dumps(rounded(content), ensure_ascii=False, indent=1) + "\n")
