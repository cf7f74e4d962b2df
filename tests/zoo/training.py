"""Networks trained once, and kept in a folder that several processes may share."""

import fcntl
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import nn

from escrime.data import load
from escrime.models import load_weights, save_weights
from escrime.randomness import key
from escrime.training import fit, objective

from .recipes import RECIPES


def trained(name: str, cache: Path | None = None) -> nn.Module:
    """The network `name` of recipes.RECIPES, trained; read from `cache` where it has been before, with the same recipe.

    On one thread, whatever the caller uses: the weights depend on the number of threads in their last bits, and so in all.
    """
    with nullcontext() if cache is None else one_at_a_time(Path(cache) / f"{name}.lock"):
        return _trained(name, cache)


@contextmanager
def one_at_a_time(path: Path):
    """So that of two pytest workers one trains and the other reads what came of it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _trained(name: str, cache: Path | None) -> nn.Module:
    make, goal, settings, how = RECIPES[name]
    network = make().eval()
    file = None if cache is None else Path(cache) / f"{name}-{key(goal, settings, how.as_dict()):016x}.safetensors"
    if file is not None and file.exists():
        return load_weights(network, file)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit(network, load("digits").train, objective(goal, **settings), settings=how, seed=0)
    finally:
        torch.set_num_threads(threads)
    network.eval()
    if file is not None:
        save_weights(network, file)
    return network
