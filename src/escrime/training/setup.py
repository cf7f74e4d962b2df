"""What `fit` needs before and beside its loop: checks of what it was given, the number of classes, the optimizer."""

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import EscrimeError
from .averaging import Average
from .checkpoint import Checkpoint
from .feed import Feed
from .settings import TrainSettings


def check(model, objective, settings) -> None:
    """EscrimeError for what cannot be trained."""
    if not isinstance(model, nn.Module):
        raise EscrimeError(f"the model is a {type(model).__name__}; give a torch.nn.Module that returns logits.")
    if not callable(objective):
        raise EscrimeError(f"objective {objective!r} is no name and no callable (model, images, labels, context).")
    if not isinstance(settings, TrainSettings):
        raise EscrimeError(f"settings are a {type(settings).__name__}; give escrime.training.TrainSettings(...).")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise EscrimeError("the model has no parameter to train; set requires_grad on those that should learn.")


def count_classes(model: nn.Module, feed: Feed) -> int:
    """K, from the logits of one image; refuses labels that the model has no output for."""
    model.eval()
    with torch.no_grad():
        logits = model(feed.floats(feed.pixels(np.zeros(1, dtype=np.int64))[0]))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise EscrimeError(f"the model returns {shape} for one image; a classifier returns logits (N, K).")
    highest = int(np.max(feed.data.labels))
    if highest >= logits.shape[1]:
        raise EscrimeError(
            f"the data contain class {highest}, but the model has {logits.shape[1]} classes; "
            f"build it with {highest + 1} or more."
        )
    return logits.shape[1]


def make_optimizer(parameters: list[nn.Parameter], settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """SGD or AdamW, fused where the device has that."""
    shared = dict(lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type in ("cpu", "cuda"))
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **shared)
    return torch.optim.SGD(parameters, momentum=settings.momentum, nesterov=settings.nesterov, **shared)


def statistics(model: nn.Module, average: Average | None) -> list[Tensor]:
    """What each process has of its own after an epoch: floating-point buffers, such as BatchNorm's, and their averages."""
    names = [name for name, buffer in model.named_buffers() if buffer.is_floating_point()]
    buffers = dict(model.named_buffers())
    return [buffers[name] for name in names] + ([average.shadow[name] for name in names] if average is not None else [])


def last_good(saved: Checkpoint | None, epochs: int) -> str:
    """Where to go back to when epoch `epochs` + 1 fails."""
    if saved is None:
        return "no checkpoint folder was given"
    return f"the last good checkpoint is {saved.path} after epoch {epochs}" if epochs else "there is no checkpoint yet"
