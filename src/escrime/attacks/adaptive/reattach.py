"""Where what a layer is given has no gradient back to the images, it gets one: as if all before the first layer with
parameters were the identity (BPDA for code that torch cannot follow at all)."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")  # of a module
_gradients_are_on = torch.is_grad_enabled  # the true state, also while another one is reported to the model


@contextmanager
def grad_mode(on: bool) -> Iterator[None]:
    """torch.enable_grad or no_grad, which would ask torch.is_grad_enabled what to put back."""
    before = _gradients_are_on()
    torch._C._set_grad_enabled(on)
    try:
        yield
    finally:
        torch._C._set_grad_enabled(before)


@contextmanager
def reattached(model: nn.Module, images: Tensor, whole: bool = False) -> Iterator[None]:
    """Within the block, a layer that is given a picture without a gradient back to `images` gets its values with their
    gradient: picture + (images − stop_gradient(images)), resized and repeated as the picture is. Hooks on the gradients of
    layers do not run.

    Args:
        model: The network, whose submodules with parameters or buffers count as layers.
        images: float32 (N, C, H, W), requiring a gradient.
        whole: Whether a picture with a part of its gradient counts as one without.
    """
    reached: list[nn.Module] = []  # once: what a layer makes of such a picture is no picture of the images any more

    def attach(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not inputs or not isinstance(inputs[0], Tensor):
            return None
        with torch._C.DisableTorchFunction():
            picture = inputs[0]
            own = picture.is_leaf and picture.requires_grad and picture is not images  # a parameter made of the images
            has_gradient = picture.requires_grad and not own
            if (has_gradient and (not whole or reached)) or not is_picture(picture, images):
                return None
            with grad_mode(True):  # here detach means detach
                copies = _aligned(images, picture)
                if copies.shape[2:] != picture.shape[2:]:
                    copies = F.interpolate(copies, picture.shape[2:], mode="bilinear", align_corners=False)
                reached.append(module)
                return ((picture if own else picture.detach()) + (copies - copies.detach()), *inputs[1:])

    owners = [module for module in model.modules() if module is not model and any(True for _ in module.parameters())]
    owners += [module for module in model.modules() if module is not model and any(True for _ in module.buffers())]
    hooks = [module.register_forward_pre_hook(attach) for module in dict.fromkeys(owners)]
    disabled = [(module, name, getattr(module, name)) for module in model.modules() for name in BACKWARD_HOOKS]
    try:
        for module, name, hooked in disabled:
            if hooked:
                setattr(module, name, type(hooked)())
        with _bound_late(model):
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, name, hooked in disabled:
            setattr(module, name, hooked)


def is_picture(value: object, images: Tensor) -> bool:
    """Whether `value` can be copies of the images, of any size."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() != 4:
        return False
    return value.shape[1] == images.shape[1] and len(value) % len(images) == 0


def _aligned(images: Tensor, picture: Tensor) -> Tensor:
    """The images repeated as the rows of `picture` are: copies of one image adjacent, or the whole batch again and again."""
    times = len(picture) // len(images)
    if times == 1:
        return images
    batches, adjacent = images.repeat(times, 1, 1, 1), images.repeat_interleave(times, dim=0)
    size = list(picture.shape[2:])
    differences = [F.interpolate(r.detach(), size) - picture for r in (batches, adjacent)]
    return batches if differences[0].abs().sum() <= differences[1].abs().sum() else adjacent


@contextmanager
def _bound_late(model: nn.Module) -> Iterator[None]:
    """Within the block, what the files of the model's classes took from torch by name (`from torch import is_grad_enabled`) is
    looked up in torch when it is called."""
    files = {type(module).__module__ for module in model.modules()}
    names = {id(function): function.__name__ for function in (torch.is_grad_enabled, torch.from_numpy)}
    found: list[tuple[dict[str, Any], str, Any]] = []
    for file in files:
        if file.partition(".")[0] in ("torch", "escrime") or file not in sys.modules:
            continue
        space = vars(sys.modules[file])
        # By identity: what else lies there may raise when it is hashed or compared.
        found += [(space, own, value) for own, value in space.items() if id(value) in names]
    try:
        for space, own, value in found:
            space[own] = _torch_function(names[id(value)])
        yield
    finally:
        for space, own, value in found:
            space[own] = value


def _torch_function(name: str) -> Callable[..., Any]:
    return lambda *args: getattr(torch, name)(*args)
