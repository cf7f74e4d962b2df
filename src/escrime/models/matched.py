"""A classifier in another's place: its logits in the order of the other's classes, images brought to its own size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .adapted import in_its_precision
from .running import Classifier, check_logits, passes_per_image


class Matched(nn.Module):
    """A network asked as if it were another: images (N, C, H, W) in [0, 1] → logits (N, K) of the other's classes.

    Args:
        network: Images of its own size → logits of its own classes.
        places: For each of the K classes its place among those of the network, -1 for one that it does not have, which is
            impossible to it (−inf); None where the classes are the same.
        side: Pixels of the square to which images of another size are brought (bilinear, antialiased); None for no such.
    """

    def __init__(self, network: Classifier, places: Sequence[int] | None = None, side: int | None = None):
        super().__init__()
        self.network, self.side = in_its_precision(network), side
        self.places = None if places is None else list(places)

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.network)

    def forward(self, images: Tensor) -> Tensor:
        if self.side is not None and images.shape[2:] != (self.side, self.side):
            images = interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        logits = check_logits(self.network(images), images)
        if self.places is None:
            return logits
        return torch.cat([logits, torch.full_like(logits[:, :1], -torch.inf)], dim=1)[:, self.places]


def matched(model: Classifier, places: Sequence[int] | None = None, side: int | None = None) -> Classifier:
    """The model itself where nothing is to be done; see Matched. Of a black box a function, which gives no gradients either."""
    if places is None and side is None:
        return model
    inside = Matched(model, places, side)
    return inside if isinstance(model, nn.Module) else lambda images: inside(images)
