"""Every torch call of a model, of which those without a useful gradient get one: the inside of bpda.py."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from .reattach import grad_mode, is_picture
from .torch_functions import (
    ARRAYS,
    BOUNDS,
    BOUNDS_IN_PLACE,
    CASTS,
    DERIVATIVES,
    DETACHING,
    DIVISIONS,
    EXTREMES,
    FROM_NUMPY,
    GREATER,
    HOOKS,
    LESS,
    MARKING,
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
    WITHOUT_GRADIENT,
    Function,
)

SOFT = "_escrime_soft"  # on an integer or boolean tensor: the float tensor that has its gradient
SHARPNESS = 4  # a comparison's slope, in units of one over the mean distance of a row's values from their threshold
LEAST_SLOPE = 0.1  # of a saturating function, where that is asked for
KEPT = 256  # tensors that went to numpy and may come back


class Through(TorchFunctionMode):
    """Every torch call of the model passes here; those without a gradient get one."""

    def __init__(self, images: Tensor, unsaturated: bool = False, call: int | None = None, tables: bool = False):
        super().__init__()
        self.images, self.unsaturated, self.call = images, unsaturated, call
        self.graded = False  # whether gradients are reported to the model as on
        self.marked: list[Tensor] = []  # what the model itself wants gradients of, all of it leaves to it
        self.exported: list[Tensor] = []  # what went to numpy
        self.calls = 0
        self.found: Tensor | None = None
        self.tables: list[tuple[int, Tensor]] | None = [] if tables else None

    def __torch_function__(
        self, func: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = self._called(func, args, kwargs or {})
        if isinstance(result, Tensor) and result.dim() == 2 and result.is_floating_point():
            self.calls += 1
            if self.calls == self.call:
                self.found = result
            if self.tables is not None:
                self.tables.append((self.calls, Tensor.detach(result).clone()))
        return result

    def _called(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = args[0] if args else None
        if func is torch._C._set_grad_enabled:
            self.graded = bool(first)
            return None
        if isinstance(first, Tensor):
            if func in DETACHING:
                return first
            if func in WITHOUT_GRADIENT and first.requires_grad:
                return self._reported(func, first)
            if func in MARKING:
                return self._marked(first, func, args, kwargs)
            if func in HOOKS and first.requires_grad:
                return _Ignored()
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
        if func in QUOTIENTS and len(args) > 1 and _has_gradient(args[1]):
            # A denominator counts as a constant: a random layer that divides by its probabilities has gradients as heavy-tailed
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
            if not ((passes or flat) and _has_gradient(first)):
                result = func(*args, **kwargs)
                if func in STEPS and _has_gradient(first):
                    return result + (first - first.detach()).nan_to_num()
                return self._soften(func, args, kwargs, result) if isinstance(result, Tensor) else result
            before = first.clone()
            in_place = flat and (func in SATURATING_IN_PLACE or func in BOUNDS_IN_PLACE)
            # Elsewhere at first: what such a function has written its gradient needs as it was.
            result = func(before.clone(), *args[1:], **kwargs) if in_place else func(*args, **kwargs)
            if flat:
                sloped = result + LEAST_SLOPE * (before - before.detach()).nan_to_num()
                return first.copy_(sloped) if in_place else sloped
            straight = result.detach() + (before - before.detach()).nan_to_num()
            return straight if func in BOUNDS else first.copy_(straight)

    def _reported(self, func: Function, tensor: Tensor) -> Any:
        """What the model finds where it asks about the gradient of a tensor that has one: the truth of leaves of its own, and
        of what it may have made of them with gradients on. That the images have one it cannot know."""
        if any(tensor is own for own in self.marked):
            return func == REQUIRES_GRAD or WITHOUT_GRADIENT[func]
        own = tensor.is_leaf and tensor is not self.images or self.graded and self.marked
        return func(tensor) if own else WITHOUT_GRADIENT[func]

    def _marked(self, tensor: Tensor, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`requires_grad_`: a picture that has its gradient already is a leaf to the model, and shows its `.grad`."""
        self.marked = [own for own in self.marked if own is not tensor]
        wanted = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
        if wanted:
            self.marked.append(tensor)
        if not tensor.requires_grad:
            return func(*args, **kwargs)
        if wanted and not tensor.is_leaf:
            tensor.retain_grad()
        return tensor

    def _export(self, func: Function, tensor: Tensor) -> None:
        soft = _soft(tensor)
        if func in ARRAYS and _has_gradient(soft):
            self.exported = [*self.exported[1 - KEPT :], soft]

    def imported(self, result: Tensor) -> Tensor:
        """What comes back from numpy, with the gradient of what of its shape, and nearest to it, went there."""
        if not result.is_floating_point() or result.dim() < 1 or not self.exported:
            return result
        alike = [moved for tensor in self.exported if (moved := _in_shape(tensor, result.shape)) is not None]
        if not alike:
            return result
        with torch._C.DisableTorchFunction(), grad_mode(True):
            value, attached, least = result.detach(), result, float("inf")
            for number, tensor in enumerate(alike):
                known = tensor.detach().to(value.dtype)
                gain = ((value * known).sum() / known.square().sum().clamp_min(1e-12)).clamp_min(1e-6)
                miss = float((value - gain * known).abs().mean())
                if number == 0 or miss < least:
                    attached, least = gain * (tensor - tensor.detach()).to(value.dtype), miss
            return result + attached

    def _soften(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Tensor:
        """Give an integer or boolean result its companion, and a float one made from such tensors their gradient."""
        first = args[0] if args else None
        if func in GREATER or func in LESS:
            low, high = (args[1], first) if func in GREATER else (first, args[1])
            if _has_gradient(low) or _has_gradient(high):
                return _attach(result, _sigmoid(_soft(high) - _soft(low)))
            return result
        soft_args: list[Tensor | None] = [getattr(a, SOFT, None) if isinstance(a, Tensor) else None for a in args]
        if all(soft is None for soft in soft_args):
            if not result.is_floating_point() and result.shape == getattr(first, "shape", None) and _has_gradient(first):
                return _attach(result, first)  # an integer cast
            return result
        soft = soft_args[0]
        if func in ONE_HOT and soft is not None:
            places = torch.arange(result.shape[-1], device=result.device)
            return _attach(result, F.relu(1 - (soft[..., None] - places).abs()))
        if func in WHERE and len(args) == 3 and soft is not None:
            yes, no = args[1:]
            gain = torch.as_tensor(yes, device=soft.device) - torch.as_tensor(no, device=soft.device)
            return result + (soft - soft.detach()) * gain.detach()
        soft = self._companion(func, args, kwargs, soft_args, result)
        if soft is None or soft.shape != result.shape or not soft.is_floating_point():
            return result
        if result.is_floating_point():
            return result + (soft - soft.detach())
        return _attach(result, soft)

    def _companion(
        self,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        soft_args: list[Tensor | None],
        result: Tensor,
    ) -> Tensor | None:
        """What the same call gives for the companions: shapes move along, arithmetic is done in floats."""
        first = soft_args[0]
        if func in NOT and first is not None:
            return 1 - first
        if func in CASTS:
            return first
        if func in EXTREMES:
            func = EXTREMES[func]
        instead = [a if soft is None else soft for a, soft in zip(args, soft_args, strict=True)]
        try:
            companion: Tensor = torch.true_divide(*instead[:2]) if func in DIVISIONS else func(*instead, **kwargs)
            return companion
        except (RuntimeError, TypeError, IndexError):  # bit operations: the value before them stands for the one after
            return first


def _in_shape(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """`tensor` with its channels where `shape` has them, or None."""
    if tensor.shape == shape:
        return tensor
    turns = {4: ((0, 2, 3, 1), (0, 3, 1, 2)), 3: ((1, 2, 0), (2, 0, 1))}.get(tensor.dim(), ())
    return next((tensor.permute(turn) for turn in turns if tuple(tensor.shape[at] for at in turn) == tuple(shape)), None)


def _writes_into_a_leaf(func: Function, args: tuple[Any, ...]) -> bool:
    """Whether the call writes into a leaf that requires a gradient, which autograd refuses while gradients are on."""
    if not getattr(func, "__name__", "").endswith("_") or getattr(func, "__name__", "").endswith("__") or not args:
        return False
    written = args[0] if isinstance(args[0], (list, tuple)) else args[:1]
    return any(isinstance(a, Tensor) and a.is_leaf and a.requires_grad for a in written)


@contextmanager
def gradients_off(through: "Through") -> Iterator[None]:
    """Within the block the model finds gradients off unless it switches them on itself, hooks on gradients do not run, and
    inference mode, which nothing can be differentiated under, is nothing."""

    def graded() -> bool:
        return through.graded

    def no_inference_mode(mode: bool) -> AbstractContextManager[None]:
        return nullcontext()

    instead: dict[tuple[Any, str], Function] = {
        (torch, "is_grad_enabled"): graded,
        (torch._C, "_InferenceMode"): no_inference_mode,
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


def _imported(through: "Through", original: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    return lambda array: through.imported(original(array))


def _has_gradient(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.requires_grad and value.is_floating_point()


def _soft(value: Any) -> Any:
    """The companion of an integer or boolean tensor, or what was given."""
    return getattr(value, SOFT, value)


def _attach(hard: Tensor, soft: Tensor) -> Tensor:
    setattr(hard, SOFT, soft)
    return hard


def _sigmoid(difference: Tensor) -> Tensor:
    """A comparison as a slope, as wide as the values of the row lie from their threshold."""
    distance = difference.detach().abs()
    if distance.dim() > 1:
        distance = distance.flatten(1).mean(1).reshape(-1, *[1] * (difference.dim() - 1))
    return torch.sigmoid(SHARPNESS * difference / distance.clamp_min(1e-12))


@contextmanager
def forward_code_only() -> Iterator[None]:
    """Differentiate the forward code of the model's own autograd functions: their backward may return anything."""
    patched: list[tuple[type[torch.autograd.Function], str, Any]] = []
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


def _functions(base: type[torch.autograd.Function]) -> list[type[torch.autograd.Function]]:
    """The subclasses of `base` that are not torch's own."""
    subclasses: list[type[torch.autograd.Function]] = base.__subclasses__()
    found = [cls for cls in subclasses if not cls.__module__.startswith("torch.")]
    return found + [deeper for cls in subclasses for deeper in _functions(cls)]


def _recording(cls: type[torch.autograd.Function], name: str, original: Function) -> Function:
    """`original`, which also notes the inputs, and has the true derivative of the forward code put in place of `backward`: gone
    straight through like all other code. Only code that torch cannot follow has the `backward` that came with it."""
    separate = name == "setup_context"
    forward: Function = cls.forward if separate else original

    def run(context: Any, *args: Any) -> Any:
        result = original(context, *args)
        inputs = args[0] if separate else args
        through = next(mode for mode in reversed(_get_current_function_mode_stack()) if isinstance(mode, Through))

        def backward(context: Any, *gradients: Tensor | None) -> Any:
            fresh = [a.detach().requires_grad_(_has_gradient(a)) if isinstance(a, Tensor) else a for a in inputs]
            through.exported = []  # of the pass that is over
            with grad_mode(True), gradients_off(through), through:
                outputs = forward(*fresh) if separate else forward(_Ignored(), *fresh)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            if not any(map(_has_gradient, outputs)):
                return cls.backward(context, *gradients)
            wanted = [a for a in fresh if _has_gradient(a)]
            pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and _has_gradient(o)]
            found = iter(_vjp(pairs, wanted))
            return tuple(next(found) if _has_gradient(a) else None for a in fresh)

        context._forward_cls = SimpleNamespace(backward=backward, vjp=torch.autograd.Function.vjp)
        return result

    return run


def _vjp(pairs: list[tuple[Tensor, Tensor]], wanted: list[Tensor]) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of (output, gradient) pairs with respect to the `wanted` tensors."""
    if not pairs or not wanted:
        return (None,) * len(wanted)
    outputs, gradients = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, wanted, gradients, allow_unused=True)


class _Ignored(SimpleNamespace):
    """A context that forward code may write to and call, without effect."""

    def __getattr__(self, name: str) -> Function:
        return lambda *_, **__: None
