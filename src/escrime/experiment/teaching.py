"""The teacher of a training: any network that a specification names, with its answers for the classes at hand."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..data import ImageSet, class_places
from ..errors import EscrimeError
from ..models import load_model
from ..models.running import check_logits, failure_named


def load_teacher(spec: str, images: ImageSet, side: int) -> nn.Module:
    """The network `spec`, one of models.SPECS, with the logits of the classes of `images`, in their order; it will see squares
    of `side` pixels.

    Errors: EscrimeError for a black box, for what does not take such images, and where a class is not among the network's.
    """
    loaded, what = load_model(spec), f"teacher {spec}"
    if loaded.answers != "gradients":
        raise EscrimeError(f"{what} gives away {loaded.answers} only; give a network that this library can run.")
    blank = torch.zeros(1, images.images.shape[1], side, side)
    with failure_named(f"{what} fails on an image of 3 × {side} × {side}", "give one for images of this size"), torch.no_grad():
        count = check_logits(loaded.model(blank), blank).shape[1]
    places = class_places(images, count, loaded.classes, loaded.wnids, what)
    return loaded.model if places == list(range(count)) else Columns(loaded.model, places)


class Columns(nn.Module):
    """`model` with the logits `places` alone."""

    def __init__(self, model: nn.Module, places: Sequence[int]):
        super().__init__()
        self.model = model
        self.register_buffer("places", torch.tensor(places))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[:, self.places]
