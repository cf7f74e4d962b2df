"""Classifiers as people have them, made what the rest works with: images float32 (N, C, H, W) → logits (N, K). No weight is
copied, and a model that is so already stays itself."""

from typing import Any

import torch
from torch import Tensor, nn

from .running import Classifier, check_logits, passes_per_image


class InItsPrecision(nn.Module):
    """A network whose weights are not float32: where it refuses float32 images, it is given them in the type of its weights.

    What counts is what the network itself predicts, in its own precision; attacks follow a copy of it in float32 (see Twin).
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Any:
        kind = weights_type(self.model)
        if kind in (None, images.dtype):
            return self.model(images)
        try:
            return self.model(images.clone())  # it may write into them before it fails
        except RuntimeError:  # which every layer raises that is given numbers of another type
            return self.model(images.to(kind))


class Plain(nn.Module):
    """A classifier that returns its logits in another form (see outputs.logits_in), or one logit: (N, K) comes back here."""

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = model

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Tensor:
        return check_logits(self.model(images), images)


def weights_type(model: Classifier) -> torch.dtype | None:
    """The floating-point type of a module's first parameter; None for what has none."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((each.dtype for each in parameters if each.is_floating_point()), None)


def in_its_precision(model: Classifier) -> Classifier:
    """`model`, or where its weights are not float32 an InItsPrecision around it; a defense around such a network stays, for it
    adapts the network itself."""
    adapts = isinstance(model, InItsPrecision) or hasattr(model, "undefended")
    if adapts or weights_type(model) in (None, torch.float32):
        return model
    return InItsPrecision(model) if isinstance(model, nn.Module) else model


def plain(model: Classifier) -> Classifier:
    """A Plain around a module; of any other callable, which gives no gradients unless it does so itself, a function."""
    if isinstance(model, nn.Module):
        return Plain(model)
    return lambda images: check_logits(model(images), images)
