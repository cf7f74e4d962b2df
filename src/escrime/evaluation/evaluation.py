"""`escrime.evaluate`: the whole evaluation in one call, in memory."""

from dataclasses import dataclass

import pandas as pd
import torch

from ..errors import EscrimeError
from .cases import as_cases, as_subjects
from .engine import check_attacks, check_epsilons, evaluate_parts
from .images import slices
from .records import summarize


@dataclass(frozen=True)
class Evaluation:
    """The records of an evaluation, one row per (model, defense, threat level, attack, ε, image)."""

    records: pd.DataFrame

    def summary(self, confidence: float = 0.95) -> pd.DataFrame:
        """Accuracy with n and its Wilson interval for every (model, defense, threat, attack, ε)."""
        return summarize(self.records, confidence)


def evaluate(models, data, attacks, *, epsilons=None, seed=0, device=None, draws=8, eot=1) -> Evaluation:
    """Score every model under every attack and ε, each defense under transfer and adaptive attack.

    models: a classifier or a dict of name → classifier (images (N, C, H, W) in [0, 1] → logits (N, K)). data: an ImageSet
    or a pair (images, labels). attacks: an attack, a list, or a dict of name → attack; any callable
    attack(model, images, labels) → images will do. epsilons: one grid for all attacks, a dict of name → grid, or None for
    each attack's own ε. draws: fresh noise draws behind each verdict on a randomized model. eot: noise draws per gradient
    of an adaptive attack on one. Errors: EscrimeError with one sentence for input outside the contract.
    """
    cases = as_cases(as_subjects(models))
    attacks = check_attacks(attacks)
    grids = check_epsilons(attacks, epsilons)
    if device is not None:
        for case in cases:
            for model in (case.attacked, case.subject.classifier):
                if isinstance(model, torch.nn.Module):
                    model.to(device)
    device = torch.device(device) if device is not None else _device_of(cases)
    parts = evaluate_parts(
        cases,
        lambda: slices(data, device),
        attacks,
        grids,
        seed=seed,
        draws=draws,
        eot=eot,
        finished=lambda key: False,
    )
    frames = [records for _, records in parts]
    if not frames:
        raise EscrimeError("data holds no image; give at least one.")
    return Evaluation(pd.concat(frames, ignore_index=True))


def _device_of(cases) -> torch.device:
    for case in cases:
        for parameter in getattr(case.attacked, "parameters", lambda: ())():
            return parameter.device
    return torch.device("cpu")
