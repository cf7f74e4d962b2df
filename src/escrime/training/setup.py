"""What `fit` needs before and beside its loop: checks of what it was given, the number of classes, the optimizer."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]  # missing in torch's stub

from ..errors import EscrimeError
from ..models.fast.first_call import in_format
from ..models.fast.prepare import copied
from ..models.running import failure_named, out_of_memory, refuse_inference_tensors
from .averaging import Average
from .checkpoint import Checkpoint
from .context import LossFunction
from .loader import Loader
from .session import own_generators
from .settings import OF_TEACHERS, TrainSettings
from .teacher import Teacher


def check(model: nn.Module, objective: LossFunction, settings: TrainSettings) -> None:
    """EscrimeError for what cannot be trained."""
    if not isinstance(model, nn.Module):
        raise EscrimeError(f"the model is a {type(model).__name__}; give a torch.nn.Module that returns logits.")
    if not callable(objective):
        raise EscrimeError(f"objective {objective!r} is no name and no callable (model, images, labels, context).")
    if not isinstance(settings, TrainSettings):
        raise EscrimeError(f"settings are a {type(settings).__name__}; give escrime.training.TrainSettings(...).")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise EscrimeError("the model has no parameter to train; set requires_grad on those that should learn.")
    if any(isinstance(parameter, UninitializedTensorMixin) for parameter in model.parameters()):
        raise EscrimeError("the model has lazy layers, whose sizes nobody knows yet; call it once on a batch of images.")
    refuse_inference_tensors(model)
    odd = [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        raise EscrimeError(f"{odd[0]!r} in the model's state_dict() is no tensor, and a checkpoint holds tensors only.")


def memory_format(model: nn.Module, loader: Loader, device: torch.device) -> torch.memory_format:
    """Channels-last where a copy of the model takes two images so in training mode: one that flattens by
    `x.view(len(x), -1)`, as many do, runs in plain memory only."""
    try:
        trial = in_format(copied(model).to(device), torch.channels_last)
    except EscrimeError:
        return torch.contiguous_format
    trial.train()
    try:
        with torch.no_grad(), own_generators(device):
            trial(loader.first(2).contiguous(memory_format=torch.channels_last))
    except Exception:  # what is wrong in any memory, training says
        return torch.contiguous_format
    return torch.channels_last


def count_classes(model: nn.Module, loader: Loader) -> int:
    """K, from the logits of the first image; refuses images that the model does not take, labels it has no output for."""
    model.eval()
    images = loader.first(1)
    fails = f"the model fails on the first image of the {loader.what}, {' × '.join(map(str, images.shape[1:]))} in [0, 1]"
    with failure_named(fails, "resize the images, or mend the model"), torch.no_grad():
        logits = model(images)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise EscrimeError(f"the model returns {shape} for one image; a classifier returns logits (N, K).")
    highest = int(np.max(loader.data.labels))
    if highest >= logits.shape[1]:
        raise EscrimeError(
            f"the {loader.what} contain class {highest}, but the model has {logits.shape[1]} classes; "
            f"build it with {highest + 1} or more."
        )
    return logits.shape[1]


def make_optimizer(parameters: list[nn.Parameter], settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """SGD or AdamW, fused where the device has that."""
    rate, decay, fused = settings.learning_rate, settings.weight_decay, device.type in ("cpu", "cuda")
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=fused)
    momentum, nesterov = settings.momentum, settings.nesterov
    return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=momentum, nesterov=nesterov, fused=fused)


def statistics(model: nn.Module, average: Average | None) -> list[Tensor]:
    """What each process has of its own after an epoch: floating-point buffers, such as BatchNorm's, and their averages."""
    names = [name for name, buffer in model.named_buffers() if buffer.is_floating_point()]
    buffers = dict(model.named_buffers())
    return [buffers[name] for name in names] + ([average.shadow[name] for name in names] if average is not None else [])


def check_loss(loss: object, objective: object) -> None:
    """EscrimeError for what cannot be minimized."""
    if isinstance(loss, Tensor) and loss.dim() == 0 and loss.requires_grad:
        return
    found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    if isinstance(loss, Tensor) and loss.dim() == 0:
        found = "a number without gradient"
    raise EscrimeError(f"objective {objective!r} returned {found}; return the batch's mean loss, a scalar with a gradient.")


@contextmanager
def explained(settings: TrainSettings, last_good: str) -> Iterator[None]:
    """Within the block, what a batch of this size cannot do is reported in one sentence."""
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:
        if out_of_memory(error):
            what = f"a batch of {settings.batch_size} images does not fit into memory; set a smaller batch_size"
        elif "more than 1 value per channel" in str(error):
            what = "one image leaves BatchNorm nothing to normalize with; set a larger batch_size, or freeze_batchnorm"
        else:
            raise
        raise EscrimeError(f"{what} ({last_good}).") from error


def last_good(saved: Checkpoint | None) -> str:
    """Where to go back to when an epoch fails."""
    if saved is None:
        return "no checkpoint folder was given"
    if not saved.epochs:
        return "there is no checkpoint yet"
    return f"the last good checkpoint is {saved.path} after epoch {saved.epochs}"


def unused(settings: TrainSettings, probed: bool, teacher: Teacher | None, trained: bool) -> list[str]:
    """A sentence for everything that was asked for and had no effect. trained: whether an epoch was trained here."""
    found = []
    if settings.keep == "best" and not probed:
        found.append('keep = "best" had no effect: an objective without ε is not probed; these are the last weights.')
    if teacher is not None and trained and not teacher.used:
        found.append("the teacher had no effect: the objective's loss is not context.cross_entropy or context.loss.")
    if teacher is None:
        values = {name: getattr(settings, name) for name in OF_TEACHERS}
        chosen = {name: value for name, value in values.items() if value != getattr(TrainSettings, name)}
        found += [f"{name} = {value:g} had no effect: there is no teacher." for name, value in chosen.items()]
    return found
