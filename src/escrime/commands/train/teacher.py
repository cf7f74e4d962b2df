"""The teacher of a training: any network that a specification names, with its logits for the classes at hand."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from ...access import GRADIENTS
from ...data import ImageSet, class_places
from ...errors import EscrimeError
from ...models import load_model
from ...models.running import check_logits, failure_named
from ...training.loader import Loader
from ...training.session import own_generators

TRIED, FEWEST = 64, 30  # training images that tell whether it knows them; fewer tell nothing
CHANCE = 0.01  # how probable so many right predictions may be of one that guesses


def load_teacher(spec: str, images: ImageSet, side: int, trust: bool = False) -> tuple[nn.Module, str]:
    """The network `spec`, one of models.SPECS, with the logits of the classes of `images`, in their order, and how many of some
    of them it gets right at `side` pixels, where the student will see them, in words.

    trust: as in load_model.

    Raises:
        EscrimeError: For a black box, for what does not take such images, where a class is not among the network's, and for one
            that knows no more than chance, as a network made for another size may.
    """
    loaded, what, cpu = load_model(spec, trust=trust), f"teacher {spec}", torch.device("cpu")
    model = loaded.model
    if loaded.answers != GRADIENTS or not isinstance(model, nn.Module):
        raise EscrimeError(f"{what} gives away {loaded.answers} only; give a network that this library can run.")
    rows = np.unique(np.linspace(0, len(images) - 1, min(TRIED, len(images))).astype(np.int64))
    pixels, labels = Loader(images, cpu, side=side).images(rows)
    fails = f"{what} fails on images of 3 × {side} × {side} in [0, 1]"
    with failure_named(fails, "give a network that takes float32 images of this size"), torch.no_grad(), own_generators(cpu):
        logits = check_logits(model(pixels.clone()), pixels, what)
    count = logits.shape[1]
    places = class_places(images, count, loaded.classes, loaded.wnids, what)
    if (doubled := Counter(places).most_common(1)[0])[1] > 1:
        first, second, *_ = (name for name, place in zip(images.classes, places) if place == doubled[0])
        raise EscrimeError(f"{first!r} and {second!r} are one class of {what}; give a teacher that tells them apart.")
    right = int((logits[:, places].argmax(1) == labels).sum())
    score = f"{right} of {len(rows)} training images right at {side} px"
    lucky = binomtest(right, len(rows), 1 / len(images.classes), alternative="greater").pvalue
    if len(rows) >= FEWEST and len(images.classes) > 1 and lucky > CHANCE:
        raise EscrimeError(
            f"{what} gets {score}, no more than chance; give one made for images of this size, with classes in the same order."
        )
    return (model if places == list(range(count)) else Columns(model, places)), score


class Columns(nn.Module):
    """`model` with the logits `places` alone."""

    def __init__(self, model: nn.Module, places: Sequence[int]):
        super().__init__()
        self.model = model
        self.register_buffer("places", torch.tensor(places))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[:, self.places]
