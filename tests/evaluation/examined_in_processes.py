"""What test_shared_rows.py runs in one process and in each of several: whole evaluations, with what each model was asked."""

import pickle
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn

from escrime import PGD, EscrimeError, PredictionAveraging
from escrime.commands.shared.folder import RunFolder
from escrime.commands.shared.store import FolderStore
from escrime.distributed import Processes
from escrime.evaluation import looks
from escrime.evaluation.effort import Effort
from escrime.evaluation.images import Source
from escrime.evaluation.pipeline import Plan, execute
from escrime.evaluation.profile import Profiles
from escrime.evaluation.progress import Meter
from escrime.evaluation.requests import budget_of
from escrime.evaluation.subjects import as_cases, as_subjects
from escrime.models.deadline import OutOfTime, deadline

EFFORT = Effort(images=30, steps=10, queries=50, draws=20, eot=2, doublings=1)


SHOWN: list[int] = []  # how many images a model, or a copy of it, was shown in this process


class Bands(nn.Module):
    """As a network: the logits of one image do not depend on the others, to the last bit."""

    def __init__(self, levels: int | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 48, generator=torch.Generator().manual_seed(0)))
        self.levels = levels

    def forward(self, x):
        SHOWN.append(len(x))
        x = x if self.levels is None else (x * self.levels).round() / self.levels
        return (x.flatten(1)[:, None, :] * self.weight).sum(2)  # no product of matrices: its sums depend on the batch


MASKED = {"build": lambda: Bands(levels=16)}
RUNS = {  # with ε = 0.002 nothing falls, so that the examination is most of the work
    "robust": {"eps": 0.002},
    "robust, in time": {"eps": 0.002, "seconds": 1000},
    "masked": MASKED,
    "randomized": {"build": lambda: PredictionAveraging(Bands(), samples=2, eps_max=0.1)},
    "no time": {"seconds": 2},
    "attack fails": {"fails": (1, "checks.search.Search._judged", ValueError("odd"))},
    "attack refused": {"fails": (1, "checks.search.Search._judged", EscrimeError("bad input"))},
    "attack out of time": {"fails": (1, "checks.search.Search._judged", OutOfTime()), "seconds": 1000},
    "check refused": {"fails": (0, "looks.input_findings", EscrimeError("bad input"))},
    "other check refused": {"fails": (1, "looks.model_check.findings", EscrimeError("bad input"))},
    "check out of time": {"fails": (0, "looks.input_findings", OutOfTime()), "seconds": 1000},
    "late": {"eps": 0.002, "fails": (1, "pipeline.examination", OutOfTime()), "seconds": 1000},
}


def evaluate(name: str, folder: Path, team: Processes) -> dict:
    """Findings, attempts and records of one evaluation, and how many images this process showed the model."""
    return run(folder, team, **RUNS[name])


def run(folder: Path, team: Processes, build=Bands, eps=0.05, seconds=None, fails=None) -> dict:
    """fails: (the process in which something raises, what, which error)."""
    model, truth = build(), Bands()
    images = torch.rand(100, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    for sub in ("records", "checks", "failures"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        source = Source((images, truth(images).argmax(1)), torch.device("cpu"), None if seconds is None else 0)
    attacks, grids = {"PGD": PGD(eps, steps=2)}, {"PGD": [eps]}
    profiles = Profiles(source, budget_of(attacks, grids), 0)
    plan = Plan(as_cases(as_subjects(model)), profiles, attacks, grids, 0, 2, 2, EFFORT)
    SHOWN.clear()
    store = FolderStore(RunFolder(folder))
    try:
        here = fails if fails and team.rank == fails[0] and team.together else None
        broken = nullcontext() if here is None else mock.patch(f"escrime.evaluation.{here[1]}", side_effect=here[2])
        watched = mock.patch("escrime.evaluation.looks.input_findings", wraps=looks.input_findings)
        with deadline(seconds), watched as fed, broken:
            execute(plan, store, team, lambda title: nullcontext(Meter(lambda *told: None)))
    except EscrimeError as error:
        return {"error": str(error)}
    team.wait()
    examined = {case: (e.attempts, [f.as_dict() for f in e.findings]) for case, e in store.examinations().items()}
    cut = [one.cut for one in store.examinations().values()]
    return {"records": store.records(), "examined": examined, "seen": sum(SHOWN), "cut": cut, "fed": fed.call_count}


def work(rank: int, count: int, place: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place / 'meeting'}", rank=rank, world_size=count)
    team = Processes(torch.device("cpu"))
    found = {name: evaluate(name, place / name, team) for name in RUNS}
    (place / f"found-{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()
