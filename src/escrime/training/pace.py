"""How long training will take: counted in network passes beforehand, or measured on a few images."""

from dataclasses import replace

from torch import device as Device
from torch import nn

from ..data import ImageSet
from ..distributed import apart
from ..models.fast.prepare import copied
from .loop import fit
from .objectives import Objective
from .settings import TrainSettings

TRAINING_PASS = 1.25  # a training step against an input gradient: parameter gradients and the optimizer's step
FIRST = 8  # images that tell how many more may be timed
STILL = 1e-12  # a learning rate that moves nothing: what is timed must not diverge


def passes_to_train(goal: Objective) -> float:
    """Input gradients that training on one image costs: one for each step of crafting, then the step on what the objective
    sends through training."""
    crafting = getattr(goal, "steps", 1) if getattr(goal, "eps", None) is not None else 0
    return crafting + TRAINING_PASS * (2 if goal.adds_clean else 1)


def seconds_per_image(
    model: nn.Module, data: ImageSet, goal: Objective, settings: TrainSettings, *, device: Device, about: float = 2.0
) -> float:
    """Seconds that `fit` takes to train on one image, with all that `settings` ask for but probes: measured on a copy of
    `model`, by steps on a whole batch, or on as many images as take `about` so many seconds. The model is left as it was.

    Raises:
        EscrimeError: For what cannot be trained.
    """
    still = replace(settings, epochs=1, learning_rate=STILL, schedule="constant", probe_images=0, keep="last")
    still = replace(still, freeze_batchnorm=True)  # which takes as long, and one image would leave nothing to normalize with
    trial = copied(model)

    def once(images: int) -> float:
        part = data.select(list(range(images)))
        with apart():  # one process asks, the others wait for what it says
            tried = fit(trial, part, goal, settings=still, device=device, progress=False)
        return float(tried.history["seconds"].iloc[0]) / images

    most = min(settings.batch_size, len(data))
    first = once(min(FIRST, most))  # the first call of a network takes longer
    return once(max(1, min(most, int(about / first)))) if first > 0 else first
