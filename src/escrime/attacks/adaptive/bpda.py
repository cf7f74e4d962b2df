"""Straight-through gradients for any model (BPDA). Athalye, Carlini and Wagner (2018), Obfuscated gradients give a false
sense of security, section 4.1: what has no useful gradient runs forward as it is, and backward as something smooth near it.

`StraightThrough(model)` predicts exactly as the model does and differentiates through what a defense puts in the way:
rounding and sign, comparisons and integer codes, `detach` and `no_grad`, hand-written backward passes and hooks on gradients,
chances that a random layer divides by, saturated functions on request, and code outside torch (a JPEG codec, numpy).
The model cannot tell that somebody differentiates: it is told that gradients are off, unless it has switched them on.
"""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from ...models.running import passes_per_image
from .bridges import bridges, grad_mode, is_picture
from .torch_functions import (
    ARRAYS,
    ASKS_FOR_GRADIENTS,
    BOUNDS,
    BOUNDS_IN_PLACE,
    CASTS,
    DERIVATIVES,
    DIVISIONS,
    EXTREMES,
    FROM_NUMPY,
    GREATER,
    HOOKS,
    LEAVES,
    LESS,
    MARKS,
    NOT,
    ONE_HOT,
    QUOTIENTS,
    REQUIRES_GRAD,
    RETAIN,
    SATURATING,
    SATURATING_IN_PLACE,
    STEPS,
    STEPS_IN_PLACE,
    TO_PYTHON,
    WHERE,
)

SOFT = "_escrime_soft"  # on an integer or boolean tensor: the float tensor that carries its gradient
SHARPNESS = 4  # a comparison's slope, in units of one over the mean distance of a row's values from their threshold
LEAST_SLOPE = 0.1  # of a saturating function, where that is asked for
KEPT = 256  # tensors that went to numpy and may come back


class StraightThrough(nn.Module):
    """The same classifier, images (N, C, H, W) → logits (N, K), with a gradient where the model's own is missing or false.

    whole: what comes before the first layer with parameters counts as the identity, also where a part of its gradient is
    there. unsaturated: saturating functions (tanh, sigmoid, softmax, a clamp inside the network) keep a least slope.
    inner: a table inside the model that stands in for its logits (see inner.py).
    """

    def __init__(self, model: nn.Module, *, whole: bool = False, unsaturated: bool = False, inner=None):
        super().__init__()
        self.model, self.whole, self.unsaturated, self.inner = model, whole, unsaturated, inner

    @property
    def copies(self) -> int:
        return passes_per_image(self.model)

    def forward(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            raise TypeError("only tensors go straight through")  # torch.fx traces the model inside instead
        if self.inner is None and not (torch.is_grad_enabled() and images.requires_grad):
            return self.model(images)
        through = _Through(images, self.unsaturated, None if self.inner is None else self.inner.call)
        with bridges(self.model, images, self.whole), _forward_code_only(), _gradients_off(through), through:
            logits = self.model(images)
        if self.inner is None:
            return logits
        if through.found is None:
            raise RuntimeError("the model took another way than before, and its inner table was not met")
        return self.inner.logits(through.found, len(images))


@torch.no_grad()
def inner_tables(model: nn.Module, images: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The logits (N, K) of `images`, and every table of numbers (two dimensions) on the way to them, with the number of the
    torch call that made it."""
    through = _Through(images, tables=True)
    with _forward_code_only(), _gradients_off(through), through:
        logits = model(images.clone())
    return logits, through.tables


class _Through(TorchFunctionMode):
    """Every torch call of the model passes here; those without a gradient get one."""

    def __init__(self, images: Tensor, unsaturated: bool = False, call: int | None = None, tables: bool = False):
        super().__init__()
        self.images, self.unsaturated, self.call = images, unsaturated, call
        self.graded = False  # what the model is told about gradients being on
        self.marked: list[Tensor] = []  # what the model itself wants gradients of, all of it leaves to it
        self.exported: list[Tensor] = []  # what went to numpy
        self.calls, self.found = 0, None
        self.tables: list[tuple[int, Tensor]] | None = [] if tables else None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = self._called(func, args, kwargs or {})
        if isinstance(result, Tensor) and result.dim() == 2 and result.is_floating_point():
            self.calls += 1
            if self.calls == self.call:
                self.found = result
            if self.tables is not None:
                self.tables.append((self.calls, Tensor.detach(result).clone()))
        return result

    def _called(self, func, args: tuple, kwargs: dict):
        first = args[0] if args else None
        if func is torch._C._set_grad_enabled:
            self.graded = bool(first)
            return None
        if isinstance(first, Tensor):
            if func in LEAVES:
                return first
            if func in ASKS_FOR_GRADIENTS and first.requires_grad:
                return self._told(func, first)
            if func in MARKS:
                return self._marked(first, func, args, kwargs)
            if func in HOOKS and first.requires_grad:
                return _Idle()
            if func in TO_PYTHON:
                self._export(func, first)
                return func(Tensor.detach(first), *args[1:], **kwargs)
        if func in DERIVATIVES:
            # The model's own derivatives are values to it; the graph that they ran through is needed once more.
            place = RETAIN[func]
            args = (*args[:place], True, *args[place + 1 :]) if len(args) > place else args
            return func(*args, **kwargs if len(args) > place else {**kwargs, "retain_graph": True})
        if func in FROM_NUMPY:
            return self.imported(func(*args, **kwargs))
        if func in QUOTIENTS and len(args) > 1 and _carries(args[1]):
            # A denominator counts as a constant: a random layer that divides by its chances has gradients as heavy-tailed
            # as those are small, which no number of noise draws averages out.
            args = (first, args[1].detach(), *args[2:])
        if _writes_into_a_leaf(func, args):
            with grad_mode(False):  # the step of an optimizer inside the model
                return func(*args, **kwargs)
        with grad_mode(True):  # whatever the model has switched off
            # Inside a network a bound is a nonlinearity (ReLU6), whose gradient is right.
            bounds = func in BOUNDS or func in BOUNDS_IN_PLACE
            passes = is_picture(first, self.images) if bounds else func in STEPS_IN_PLACE
            flat = self.unsaturated and (func in SATURATING or func in SATURATING_IN_PLACE or bounds and not passes)
            before = first.clone() if (passes or flat) and _carries(first) else None
            in_place = before is not None and flat and (func in SATURATING_IN_PLACE or func in BOUNDS_IN_PLACE)
            # Elsewhere at first: what such a function has written its gradient needs as it was.
            result = func(before.clone(), *args[1:], **kwargs) if in_place else func(*args, **kwargs)
            if before is not None and flat:
                sloped = result + LEAST_SLOPE * (before - before.detach()).nan_to_num()
                return first.copy_(sloped) if in_place else sloped
            if before is not None:
                straight = result.detach() + (before - before.detach()).nan_to_num()
                return straight if func in BOUNDS else first.copy_(straight)
            if func in STEPS and _carries(first):
                return result + (first - first.detach()).nan_to_num()
            if isinstance(result, Tensor):
                return self._soften(func, args, kwargs, result)
        return result

    def _told(self, func, tensor: Tensor):
        """What the model is told of a tensor with a gradient: the truth of leaves of its own, and of what it may have made of
        them with gradients on. That the images have one it cannot know."""
        if any(tensor is own for own in self.marked):
            return func == REQUIRES_GRAD or ASKS_FOR_GRADIENTS[func]
        own = tensor.is_leaf and tensor is not self.images or self.graded and self.marked
        return func(tensor) if own else ASKS_FOR_GRADIENTS[func]

    def _marked(self, tensor: Tensor, func, args: tuple, kwargs: dict) -> Tensor:
        """`requires_grad_`: a picture that carries its gradient already is a leaf to the model, and shows its `.grad`."""
        self.marked = [own for own in self.marked if own is not tensor]
        wanted = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
        if wanted:
            self.marked.append(tensor)
        if not tensor.requires_grad:
            return func(*args, **kwargs)
        if wanted and not tensor.is_leaf:
            tensor.retain_grad()
        return tensor

    def _export(self, func, tensor: Tensor) -> None:
        soft = _soft(tensor)
        if func in ARRAYS and _carries(soft):
            self.exported = [*self.exported[1 - KEPT :], soft]

    def imported(self, result: Tensor) -> Tensor:
        """What comes back from numpy carries on the gradient of what of its shape, and nearest to it, went there."""
        if not result.is_floating_point() or result.dim() < 1 or not self.exported:
            return result
        alike = [moved for tensor in self.exported if (moved := _in_shape(tensor, result.shape)) is not None]
        if not alike:
            return result
        with torch._C.DisableTorchFunction(), grad_mode(True):
            value, best = result.detach(), None
            for tensor in alike:
                known = tensor.detach().to(value.dtype)
                gain = ((value * known).sum() / known.square().sum().clamp_min(1e-12)).clamp_min(1e-6)
                miss = float((value - gain * known).abs().mean())
                if best is None or miss < best[0]:
                    best = miss, gain * (tensor - tensor.detach()).to(value.dtype)
            return result + best[1]

    def _soften(self, func, args: tuple, kwargs: dict, result: Tensor) -> Tensor:
        """Give an integer or boolean result its companion, and a float one made from such tensors their gradient."""
        first = args[0] if args else None
        if func in GREATER or func in LESS:
            low, high = (args[1], first) if func in GREATER else (first, args[1])
            if _carries(low) or _carries(high):
                return _attach(result, _sigmoid(_soft(high) - _soft(low)))
            return result
        soft_args = [getattr(a, SOFT, None) if isinstance(a, Tensor) else None for a in args]
        if all(soft is None for soft in soft_args):
            if not result.is_floating_point() and result.shape == getattr(first, "shape", None) and _carries(first):
                return _attach(result, first)  # an integer cast
            return result
        if func in ONE_HOT:
            places = torch.arange(result.shape[-1], device=result.device)
            return _attach(result, F.relu(1 - (soft_args[0][..., None] - places).abs()))
        if func in WHERE and len(args) == 3 and soft_args[0] is not None:
            soft, (yes, no) = soft_args[0], args[1:]
            gain = torch.as_tensor(yes, device=soft.device) - torch.as_tensor(no, device=soft.device)
            return result + (soft - soft.detach()) * gain.detach()
        soft = self._companion(func, args, kwargs, soft_args, result)
        if soft is None or soft.shape != result.shape or not soft.is_floating_point():
            return result
        if result.is_floating_point():
            return result + (soft - soft.detach())
        return _attach(result, soft)

    def _companion(self, func, args: tuple, kwargs: dict, soft_args: list, result: Tensor) -> Tensor | None:
        """What the same call gives for the companions: shapes move along, arithmetic is done in floats."""
        first = soft_args[0]
        if func in NOT:
            return 1 - first
        if func in CASTS:
            return first
        if func in EXTREMES:
            func = EXTREMES[func]
        instead = [a if soft is None else soft for a, soft in zip(args, soft_args, strict=True)]
        try:
            return torch.true_divide(*instead[:2]) if func in DIVISIONS else func(*instead, **kwargs)
        except (RuntimeError, TypeError, IndexError):  # bit operations: the value before them stands for the one after
            return first


def _in_shape(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """`tensor` with its channels where `shape` has them, or None."""
    if tensor.shape == shape:
        return tensor
    turns = {4: ((0, 2, 3, 1), (0, 3, 1, 2)), 3: ((1, 2, 0), (2, 0, 1))}.get(tensor.dim(), ())
    return next((tensor.permute(turn) for turn in turns if tuple(tensor.shape[at] for at in turn) == tuple(shape)), None)


def _writes_into_a_leaf(func, args: tuple) -> bool:
    """Whether the call writes into a leaf that requires a gradient, which autograd refuses while gradients are on."""
    if not getattr(func, "__name__", "").endswith("_") or getattr(func, "__name__", "").endswith("__") or not args:
        return False
    written = args[0] if isinstance(args[0], (list, tuple)) else args[:1]
    return any(isinstance(a, Tensor) and a.is_leaf and a.requires_grad for a in written)


@contextmanager
def _gradients_off(through: "_Through"):
    """Within the block the model finds gradients off unless it switches them on itself, hooks on gradients do not run, and
    inference mode, which nothing can be differentiated under, is nothing."""
    instead = {
        (torch, "is_grad_enabled"): lambda: through.graded,
        (torch._C, "_InferenceMode"): lambda mode: nullcontext(),
        (torch, "from_numpy"): _imported(through, torch.from_numpy),
    }
    before = {place: getattr(*place) for place in instead}
    try:
        for (owner, name), value in instead.items():
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name), value in before.items():
            setattr(owner, name, value)


def _imported(through: "_Through", original):
    return lambda array: through.imported(original(array))


def _carries(value) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and value.is_floating_point()


def _soft(value):
    return getattr(value, SOFT, value)


def _attach(hard: Tensor, soft: Tensor) -> Tensor:
    setattr(hard, SOFT, soft)
    return hard


def _sigmoid(difference: Tensor) -> Tensor:
    """A comparison as a slope, as wide as the values of the row lie from their threshold."""
    away = difference.detach().abs()
    if away.dim() > 1:
        away = away.flatten(1).mean(1).reshape(-1, *[1] * (difference.dim() - 1))
    return torch.sigmoid(SHARPNESS * difference / away.clamp_min(1e-12))


@contextmanager
def _forward_code_only():
    """Differentiate the forward code of the model's own autograd functions: their backward may say anything."""
    patched = []
    for cls in _functions(torch.autograd.Function):
        name = "forward" if cls.setup_context is torch.autograd.Function.setup_context else "setup_context"
        if name in cls.__dict__:
            patched.append((cls, name, cls.__dict__[name]))
    try:
        for cls, name, original in patched:
            setattr(cls, name, staticmethod(_recording(cls, name, original.__func__)))
        yield
    finally:
        for cls, name, original in patched:
            setattr(cls, name, original)


def _functions(base: type) -> list[type]:
    """The subclasses of `base` that are not torch's own."""
    found = [cls for cls in base.__subclasses__() if not cls.__module__.startswith("torch.")]
    return found + [deeper for cls in base.__subclasses__() for deeper in _functions(cls)]


def _recording(cls: type, name: str, original):
    """`original`, which also notes the inputs, and has the true derivative of the forward code put in place of `backward`: gone
    straight through like all other code. Only code that torch cannot follow has the `backward` that came with it."""
    apart = name == "setup_context"
    forward = cls.forward if apart else original

    def run(context, *args):
        result = original(context, *args)
        inputs = args[0] if apart else args
        through = next(mode for mode in reversed(_get_current_function_mode_stack()) if isinstance(mode, _Through))

        def backward(context, *gradients):
            fresh = [a.detach().requires_grad_(_carries(a)) if isinstance(a, Tensor) else a for a in inputs]
            through.exported = []  # of the pass that is over
            with grad_mode(True), _gradients_off(through), through:
                outputs = forward(*fresh) if apart else forward(_Idle(), *fresh)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            if not any(map(_carries, outputs)):
                return cls.backward(context, *gradients)
            wanted = [a for a in fresh if _carries(a)]
            pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and _carries(o)]
            found = iter(_vjp(pairs, wanted))
            return tuple(next(found) if _carries(a) else None for a in fresh)

        context._forward_cls = SimpleNamespace(backward=backward, vjp=torch.autograd.Function.vjp)
        return result

    return run


def _vjp(pairs: list, wanted: list) -> tuple:
    if not pairs or not wanted:
        return (None,) * len(wanted)
    outputs, gradients = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, wanted, gradients, allow_unused=True)


class _Idle(SimpleNamespace):
    """A context that forward code may write to and call."""

    def __getattr__(self, name):
        return lambda *_, **__: None
