"""Watching a model become robust: probes after every epoch, the best weights so far, and the two alarms of alarms.py."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...attacks.fgsm import FGSM
from ...attacks.pgd import PGD
from ...files import leftovers
from ...models.fast.twin import Twin
from ...models.running import no_trace
from ...randomness import as_keys
from ..loader import Loader
from ..settings import TrainSettings
from .alarms import PROBED, best_epoch, overfitted, sentences
from .best import Best

STEPS = 10  # of PGD: enough to see what FGSM does not, cheap enough for every epoch
BATCH = 256


class Monitor:
    """Probes the images `rows` of `feed` at `eps` and keeps the best weights in memory and at `path` (None: memory only).

    The numbers depend on the weights, the images and `seed` alone: the noise of an image is the same in every epoch.
    """

    def __init__(self, loader: Loader, rows: np.ndarray, eps: float, seed: int, settings: TrainSettings):
        self.loader, self.rows, self.eps, self.seed = loader, rows, eps, seed
        self.settings = settings
        self.commonest = float(np.bincount(np.asarray(loader.data.labels)[rows]).max() / len(rows))
        self.best = Best(None, None)

    def resume(self, model: nn.Module, history: list[dict], path: Path | None, identity: dict | None) -> None:
        """Begin, or continue after `history`; the model holds what a run that ended there would return."""
        self.best = Best(path, identity)
        for left in leftovers(path) if path is not None else ():
            left.unlink(missing_ok=True)
        epoch = best_epoch(history, self.commonest)
        if epoch is not None and epoch == len(history):
            self.best.take(model, epoch)
            self.best.save()
        elif epoch is not None:
            self.best.load(epoch)

    def look(self, model: nn.Module, history: list[dict], record: dict) -> dict:
        """The probed accuracies after the epoch `record`, which follows `history`; notes the weights if they are best."""
        values = dict(zip(PROBED, probe(model, self.loader, self.rows, self.eps, self.seed), strict=True))
        if best_epoch([*history, record | values], self.commonest) == record["epoch"]:
            self.best.take(model, record["epoch"])
        return values

    def tell(self, history: list[dict]) -> None:
        """Warn of catastrophic overfitting in the epoch in which it happens."""
        if history and overfitted(history, self.commonest) == history[-1]["epoch"]:
            warnings.warn(self.sentences(history, finished=False)[0], stacklevel=4)

    def stops(self, history: list[dict]) -> bool:
        """Whether the run is over because of what `history` shows."""
        return self.settings.on_overfitting == "stop" and overfitted(history, self.commonest) is not None

    def holds_best(self, history: list[dict]) -> bool:
        """Whether the model is to hold the best weights at the end, not the last ones."""
        return self.settings.keep == "best" or self.stops(history)

    def sentences(self, history: list[dict], finished: bool = True) -> list[str]:
        """What is wrong with the run, one sentence each."""
        return sentences(history, self.commonest, len(self.rows), self.eps, self.settings, finished)


def probe(model: nn.Module, loader: Loader, rows: np.ndarray, eps: float, seed: int = 0) -> tuple[float, float, float]:
    """(clean, FGSM, PGD-10) accuracy in [0, 1] of the images `rows` at `eps`, a fraction of the color range (l_inf).

    The attacks are escrime's, their noise drawn per image id from `seed`; the model is afterwards as it was: modes,
    BatchNorm, gradients and the global random state.
    """
    attacks = (FGSM(eps), PGD(eps, steps=STEPS))
    twin, right = Twin(model), torch.zeros(1 + len(attacks), dtype=torch.int64)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        (images, labels), ids = loader.images(part), [loader.data.ids[row] for row in part]
        candidates = [images]
        candidates += [attack(twin, images, labels, seed=seed, ids=ids) for attack in attacks]
        keys = as_keys([(seed, name, "probe") for name in ids])
        with no_trace(model, loader.device):
            right += torch.stack([(twin.logits(x, keys).argmax(dim=1) == labels).sum() for x in candidates]).cpu()
    return tuple((right.double() / len(rows)).tolist())
