"""Several networks as one, whose logits are the mean of theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import EscrimeError
from .adapted import in_its_precision
from .running import check_logits, passes_per_image


class Ensemble(nn.Module):
    """Images (N, C, H, W) in [0, 1] → the mean of the networks' logits, (N, K): what fools it has to fool most of them.

    Source: Dong, Liao, Pang, Su, Zhu, Hu, Li (2018), Boosting adversarial attacks with momentum, section 3.3, equation 7
    (arXiv:1710.06081), with equal weights.

    Args:
        networks: At least one.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList()
        for network in networks:
            asked = in_its_precision(network)
            assert isinstance(asked, nn.Module)  # as the network is
            self.networks.append(asked)

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return sum(passes_per_image(network) for network in self.networks)

    def forward(self, images: Tensor) -> Tensor:
        """The fused logits; EscrimeError for networks of different classes."""
        logits = [check_logits(network(images.clone()), images) for network in self.networks]
        first, last = (logits[at].shape[1] for at in (0, -1))
        if last != first:
            raise EscrimeError(other_classes("one surrogate", last, "another", first))
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)


def other_classes(one: str, classes: int, other: str, wanted: int) -> str:
    """Why two networks do not go together, as a sentence."""
    return (
        f"{one} has {classes} classes and {other} has {wanted}; wrap it in a module that returns the logits of those {wanted}, "
        "in their order."
    )
