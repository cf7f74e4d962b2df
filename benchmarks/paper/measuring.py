"""What the measurements of one network have in common: their options, the network and its images, the file that is kept."""

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from escrime import load_model
from escrime.commands.shared.folder import commit
from escrime.data import ImageSet, load_to_judge
from escrime.data.classes import labels_for
from escrime.files import write_whole
from escrime.results.statistics import wilson

from .keep import portable, rounded

BATCH = 25


def options(about: str, limit: int) -> argparse.ArgumentParser:
    """--model, --images, --size, --limit and --out, which every measurement takes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a specification, as `escrime evaluate --model` takes it")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--limit", type=int, default=limit)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def network_and_images(given: argparse.Namespace) -> tuple[nn.Module, ImageSet]:
    """The network in eval mode, and the images with the labels that it knows them by."""
    loaded = load_model(given.model)
    images = load_to_judge(given.images, given.size).limit(given.limit)
    with torch.no_grad():
        classes = loaded.model(images.batch([0], "cpu")[0]).shape[1]
    return loaded.model.eval(), labels_for(images, classes, loaded.classes, loaded.wnids, given.model)


def keep(given: argparse.Namespace, module: str, found: dict) -> None:
    """Write what was found, with the command and the commit that found it."""
    command = portable(shlex.join(["python", "-m", f"benchmarks.paper.{module}", *sys.argv[1:]]))
    about = {"command": command, "commit": commit(), "size": given.size}
    write_whole(given.out, json.dumps(rounded(about | found), separators=(",", ":")) + "\n")


def interval(row: Tensor) -> list[float]:
    """[share, low, high] of a row of flags."""
    count, n = int(row.sum()), len(row)
    return [count / n, *wilson(count, n)]
