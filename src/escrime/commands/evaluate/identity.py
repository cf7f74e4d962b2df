"""What tells a model from another under the same name."""

from typing import Any

import torch
from torch import nn

from ...evaluation.images import Source
from ...models.adapted import in_its_precision
from ...models.running import check_logits, no_trace
from ...randomness import row_keys
from ...training.identity import weights_digest
from ..shared.folder import AnotherRun, RunFolder
from .candidate import Candidate

KNOWN_BY = 16  # images whose logits tell a model from another


def identity_of(candidate: Candidate, source: Source) -> dict:
    """A hash of its weights, and mean, spread and maximum of its logits for a few images of `source`; None for what
    a model has not, or predicts differently each time."""
    seed, model, device = candidate.request.seed, candidate.looked_at, candidate.device
    images = source.few(KNOWN_BY, seed).pixels
    keys = [(seed, row, "identity") for row in range(len(images))]

    def outputs() -> list:
        with torch.no_grad(), no_trace(model, device), row_keys(keys):
            logits = check_logits(in_its_precision(model)(images.clone()), images).double()
        return torch.stack([logits.mean(1), logits.std(1), logits.amax(1)], dim=1).cpu().tolist()

    loaded, found = candidate.loaded.model, outputs()
    return {
        "weights": weights_digest(loaded) if isinstance(loaded, nn.Module) else None,
        "answers": found if alike(found, outputs()) else None,
    }


def refuse_another_model(folder: RunFolder, candidate: Candidate, old: dict, new: dict) -> None:
    """AnotherRun where the identity that a folder holds, `old`, is another's than the `new` one."""
    for what, value in new.items():
        if old.get(what) is not None and value is not None and not alike(old[what], value):
            raise AnotherRun(f"{folder.path} was made with {candidate.request.model} when it had other {what}", f"other {what}")


def alike(one: Any, other: Any) -> bool:
    """Whether two hashes are the same, or two tables of logits the same but for another machine's rounding."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    one, other = torch.tensor(one), torch.tensor(other)
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True)
