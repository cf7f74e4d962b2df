"""The learning rate as a pure function of the step, so that a resumed run has nothing to restore."""

import math

from .settings import TrainSettings

RISE, START, END = 0.3, 1 / 25, 1 / 25e4  # one-cycle: share of the run spent rising, first and last rate over the peak


def learning_rate(settings: TrainSettings, step: int, steps: int) -> float:
    """The learning rate of optimizer step `step` (from 0) of `steps`."""
    peak = settings.learning_rate
    if settings.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * step / steps)) / 2
    if settings.schedule == "one-cycle":
        top, last = RISE * steps - 1, steps - 1
        if step <= top:
            return _anneal(peak * START, peak, step / top if top > 0 else 1.0)
        return _anneal(peak, peak * END, (step - top) / (last - top) if last > top else 0.0)
    if settings.schedule == "multi-step":
        return peak * settings.decay ** sum(step >= point * steps for point in settings.milestones)
    return peak


def _anneal(start: float, end: float, part: float) -> float:
    """Half a cosine from `start` (part = 0) to `end` (part = 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
