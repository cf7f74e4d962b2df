"""Does the model remember what it was asked? Its attributes before and after, and its predictions in two orders.

A classifier is a function of the image. One that counts its calls, or looks a new image up among earlier ones (Li et al.,
2022, Blacklight), misleads an attack that asks many times, and whoever counts its successes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...models.fresh import GENERATORS, Fresh
from ...models.running import Classifier, check_logits, no_trace
from ...randomness import as_keys, row_keys, uniform_noise
from ...results.findings import Finding

ASKED = 8  # images
AGAIN = 16  # times that the first of them are asked before they are asked once more
SAME = 1e-4  # of the largest logit: what two equal predictions may differ by
SHOWN = 5  # names in a message
TORCHS = set(vars(nn.Module())) | {"_forward_hooks_with_kwargs", "_is_full_backward_hook"}


@dataclass(frozen=True)
class First:
    """model: who is judged. images (N, C, H, W), the keys (N,) of their noise, and its logits (N, K)."""

    model: Classifier
    images: Tensor
    keys: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Memory:
    """changed: names of what a forward pass changed in the model. shows: its predictions depend on what was asked before.
    copied: it could be copied, so that it is judged as it was at the beginning. first: what it was shown then, and predicted;
    None of a model that is random in a way of its own."""

    changed: tuple[str, ...] = ()
    shows: bool = False
    copied: bool = True
    first: "First | None" = None

    def __bool__(self) -> bool:
        return bool(self.changed) or self.shows


@torch.no_grad()
def memory_of(model: Classifier, fresh: Fresh | None, images: Tensor, reach: float, seed: int) -> Memory:
    """Ask copies of `model` about `images` (N, C, H, W) and their neighbors within `reach` per pixel, in two orders. fresh: the
    model as it was at the beginning; None for one that cannot be copied, which is asked itself. About 240 passes.

    Where fresh copies that were asked the same differ in the end, the model is random in a way of its own, and nothing is known
    of its memory; where they agree with each other, but not with the first of all, what it remembers lies outside of the copies
    (a global, a closure).
    """
    x = images[:ASKED]
    keys = as_keys([(seed, "memory", row) for row in range(len(x))])
    near = (x + reach * uniform_noise(x, 1, keys)[0].sign()).clamp(0, 1)

    with no_trace(model, images.device):
        one, other, *more = (model if fresh is None else _evaluating(Fresh(fresh.model).model) for _ in range(4))
        before = _contents(one)
        first = _logits(one, near, keys)
        after = _contents(one)
        changed = tuple(name for name in {**before, **after} if before.get(name) != after.get(name))
        for single in x.split(1)[: AGAIN // 3]:
            _quietly(other, single)
        for _ in range(AGAIN):
            _logits(other, x, keys)
        later = _logits(other, near, keys)
        last, again = (_logits(who, near, keys) for who in more)
    if _differ(last, again):
        return Memory(changed, False, fresh is not None)
    kept = _differ(first, last)
    found = Memory(changed, kept or _differ(first, later), fresh is not None and not kept)
    judged = fresh if found and found.copied and fresh is not None else model
    return replace(found, first=First(judged, near, keys, first))


def _logits(model: Classifier, images: Tensor, keys: Tensor) -> Tensor:
    with row_keys(keys):
        return check_logits(model(images.clone()), images)


@torch.no_grad()
def remembered_since(memory: Memory) -> list[Finding]:
    """A finding where a model now predicts otherwise what it was first shown, which a short look at the beginning cannot see of
    a memory that comes into play late; [] where it does not, or where that was known."""
    first = memory.first
    if first is None or memory.shows and not memory.copied:
        return []
    try:
        with no_trace(first.model, first.images.device):
            if not _differ(_logits(first.model, first.images, first.keys), first.logits):
                return []
    except Exception:  # that it raises is told by whoever asked it what counts
        return []
    return memory_findings(Memory(memory.changed, True, False))


def _evaluating(model: Classifier) -> Classifier:
    """The model in eval mode, as it is judged; a copy may be of a time when it was not."""
    return model.eval() if isinstance(model, nn.Module) else model


def _quietly(model: Classifier, image: Tensor) -> None:
    try:
        model(image.clone())
    except Exception:  # a network that drops a dimension of 1 cannot be asked alone
        pass


def _differ(one: Tensor, other: Tensor) -> bool:
    one, other = one.float().nan_to_num(0, 0, 0), other.float().nan_to_num(0, 0, 0)
    return one.shape != other.shape or bool(((one - other).abs().amax(1) > SAME * one.abs().amax(1).clamp_min(1e-6)).any())


def _contents(model: Classifier) -> dict[str, str]:
    """Name → what stands for the value, of all that the modules hold beside parameters and layers."""
    if not isinstance(model, nn.Module):
        return {name: _digest(value) for name, value in getattr(model, "__dict__", {}).items()}
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        own = {name: value for name, value in vars(module).items() if name not in TORCHS} | dict(module._buffers)
        found |= {f"{path}.{name}".lstrip("."): _digest(value) for name, value in own.items() if not _inert(value)}
    return found


def _inert(value: Any) -> bool:
    """Whether the value is no memory: a function, or a generator, whose numbers are chance and not what was asked."""
    return callable(value) or isinstance(value, GENERATORS)


def _digest(value: Any, depth: int = 3) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.double().sum().item()}" if value.numel() and not value.is_complex() else "empty"
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.shape} {hash(value.tobytes())}"
    if depth and isinstance(value, dict):
        return f"{len(value)} " + " ".join(_digest(item, depth - 1) for item in list(value.values())[-SHOWN:])
    if depth and isinstance(value, (list, tuple, set)) or type(value).__name__ == "deque":
        return f"{len(value)} " + " ".join(_digest(item, depth - 1) for item in list(value)[-SHOWN:])
    return repr(value)[:200] if isinstance(value, (int, float, str, bool, bytes, type(None))) else type(value).__name__


def memory_findings(memory: Memory) -> list[Finding]:
    """What the memory of a model means for its numbers; [] without one."""
    if not memory:
        return []
    names = f" ({', '.join(memory.changed[:SHOWN])})" if memory.changed else ""
    how = "It is judged as it was at the beginning, every batch by a fresh copy"
    if not memory.shows:
        message = f"A forward pass changes the model{names}, but not what it predicts. {how}"
        return [Finding("stateful", "note", message, {"changed": list(memory.changed)})]
    remedy = "Give the classifier without its memory; a record of queries is a matter of the service around it."
    message = f"The model remembers what it was asked{names}: the same images are predicted otherwise after others"
    message += f". {how}" if memory.copied else "; it cannot be copied, so every number depends on the order of the questions"
    evidence = {"changed": list(memory.changed), "judged on fresh copies": memory.copied}
    return [Finding("stateful", "alarm", message, evidence, remedy, answered=memory.copied)]
