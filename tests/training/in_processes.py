"""What test_processes.py runs in each of two processes: torch.distributed set up by hand, everything seen and made is saved."""

from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from small_problems import make_images, make_network
from torch import nn
from torch.nn.functional import cross_entropy

from escrime.training import TrainSettings, fit, objective


class Noting:
    """Cross-entropy, or any other objective, that notes which images it was given."""

    def __init__(self, goal):
        self.goal, self.rows = goal, []
        if hasattr(goal, "eps"):
            self.eps = goal.eps

    def __call__(self, model, images, labels, context):
        self.rows.append(np.array(context.rows))
        return self.goal(model, images, labels, context)


def plain():
    """No BatchNorm, no dropout: the mean over all processes is the mean over the batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 3 * 3, 4))


def spare():
    """With a parameter that no loss reaches."""
    model = plain()
    model[0].spare = nn.Parameter(torch.ones(3))
    return model


def ours(model, images, labels, context):
    return context.loss(model, images, labels, clean=len(images))


def partly(model, images, labels, context):
    """A loss that reaches some parameters in the first process only."""
    first = cross_entropy(model[0](images).flatten(1)[:, :4], labels)
    return cross_entropy(model(images), labels) if 0 in context.rows else first


RUNS = {
    "plain": (plain, ours, dict(epochs=3, batch_size=7, learning_rate=0.05)),
    "trades": (plain, objective("trades", eps=0.05), dict(epochs=2, batch_size=7, clip_gradient=0.5)),
    "spare": (spare, ours, dict(epochs=1, batch_size=8, weight_decay=0.1, learning_rate=0.1)),
    "partly": (plain, partly, dict(epochs=1, batch_size=22)),
    "batchnorm": (make_network, objective("fgsm-mixed", eps=0.05), dict(epochs=3, batch_size=8, ema=0.5, augment="flip")),
    "watched": (
        make_network,
        objective("n-fgsm", eps=0.05),
        dict(epochs=4, batch_size=8, probe_images=8, keep="best", learning_rate=0.3),
    ),
}


def train(name: str, folder: Path | None, epochs: int | None = None):
    build, goal, settings = RUNS[name]
    goal, model = Noting(goal), build()
    settings = TrainSettings(**settings | ({} if epochs is None else {"epochs": epochs}))
    result = fit(model, make_images(), goal, settings=settings, checkpoint=folder, evaluate_on=make_images(seed=1))
    return result, goal


def work(rank: int, count: int, place: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place / 'meeting'}", rank=rank, world_size=count)
    found = {}
    for name in RUNS:
        if rank:  # another start: the first process's weights count
            torch.manual_seed(rank)
        result, goal = train(name, place / name if name != "watched" else None)
        found[name] = {
            "rows": goal.rows,
            "weights": result.model.state_dict(),
            "history": result.history.drop(columns=["seconds", "images_per_second"]).to_dict("list"),
            "best": (result.best_epoch, result.best_weights is not None),
        }
    torch.save(found, place / f"found-{rank}.pt")
    dist.destroy_process_group()
