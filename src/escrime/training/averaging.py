"""An exponential moving average of the weights (Polyak and Juditsky, 1992) that soon forgets the start."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """The moving average of the floating-point parameters and buffers of `model`; integer buffers stay the model's.

    After update t (from 0) the decay is min(decay, (1 + t) / (10 + t)): otherwise the initial weights would weigh in a
    short run for as long as the decay remembers.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        everything = chain(model.named_parameters(), model.named_buffers())  # tied weights come once
        self.shadow = {name: tensor.detach().clone() for name, tensor in everything if tensor.is_floating_point()}

    def _lists(self) -> tuple[list[Tensor], list[Tensor]]:
        """The average and what the model holds now: a model may put new tensors in place of its buffers."""
        live = dict(chain(self.model.named_parameters(), self.model.named_buffers()))
        return list(self.shadow.values()), [live[name].detach() for name in self.shadow]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after optimizer step `step` (from 0)."""
        get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))(*self._lists(), None)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the average, bit for bit."""
        for shadow, live in zip(*self._lists()):
            kept = live.clone()
            live.copy_(shadow)
            shadow.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model holds the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a saved `shadow`."""
        for name, tensor in tensors.items():
            self.shadow[name].copy_(tensor)
