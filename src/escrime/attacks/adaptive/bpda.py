"""BPDA, backward pass differentiable approximation, for any model. Athalye, Carlini and Wagner (2018), Obfuscated gradients
give a false sense of security, section 4.1: what has no useful gradient runs forward as it is, and backward as something smooth
near it. For a part f of the network and a differentiable g(x) ≈ f(x), the forward pass computes f(x), the backward pass
∇ₓ g(x): f(x) + (g(x) − stop_gradient(g(x))). With g(x) = x that is the straight-through estimator.

`StraightThrough(model)` predicts exactly as the model does and differentiates through what a defense puts in the way:
rounding and sign, comparisons and integer codes, `detach` and `no_grad`, hand-written backward passes and hooks on gradients,
probabilities that a random layer divides by, saturated functions on request, and code outside torch (a JPEG codec, numpy).
The model cannot see that somebody differentiates: gradients are reported to it as off, unless it has switched them on.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from ...models.running import passes_per_image
from .reattach import reattached
from .torch_calls import Through, forward_code_only, gradients_off


class InnerTable(Protocol):
    """A table inside a model that stands in for its logits, see inner_logits.py."""

    @property
    def call(self) -> int:
        """The number of the torch call that returns it."""

    def logits(self, table: Tensor, rows: int) -> Tensor:
        """Logits (N, K) from the table (N·copies, D)."""


class StraightThrough(nn.Module):
    """BPDA: the same classifier, images (N, C, H, W) → logits (N, K), with a gradient where its own is missing or false.

    A part f without a useful gradient becomes f(x) + (g(x) − stop_gradient(g(x))): f in the forward pass, g in the backward
    pass, with g the identity for rounding and code outside torch, a sigmoid for a comparison. Source: Athalye, Carlini and
    Wagner (2018), Obfuscated gradients give a false sense of security, section 4.1.

    Args:
        model: The network.
        whole: Whether what comes before the first layer with parameters counts as the identity, also where a part of its
            gradient is there.
        unsaturated: Whether saturating functions (tanh, sigmoid, softmax, a clamp inside the network) keep a least slope.
        inner: A table inside the model that stands in for its logits.
    """

    def __init__(self, model: nn.Module, *, whole: bool = False, unsaturated: bool = False, inner: InnerTable | None = None):
        super().__init__()
        self.model, self.whole, self.unsaturated, self.inner = model, whole, unsaturated, inner

    @property
    def copies(self) -> int:
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            raise TypeError("only tensors go straight through")  # torch.fx traces the model inside instead
        logits: Tensor
        if self.inner is None and not (torch.is_grad_enabled() and images.requires_grad):
            logits = self.model(images)
            return logits
        through = Through(images, self.unsaturated, None if self.inner is None else self.inner.call)
        with reattached(self.model, images, self.whole), forward_code_only(), gradients_off(through), through:
            logits = self.model(images)
        if self.inner is None:
            return logits
        if through.found is None:
            raise RuntimeError("the model took another way than before, and its inner table was not met")
        return self.inner.logits(through.found, len(images))


@torch.no_grad()
def inner_tables(model: nn.Module, images: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The logits of images, and every table of numbers on the way to them.

    Args:
        model: The network.
        images: float32 (N, C, H, W) in [0, 1].

    Returns:
        The logits (N, K), and of each float tensor with two dimensions the number of the torch call that made it, and itself.
    """
    through = Through(images, tables=True)
    with forward_code_only(), gradients_off(through), through:
        logits = model(images.clone())
    return logits, through.tables or []
