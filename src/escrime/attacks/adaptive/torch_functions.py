"""Which functions of torch have no useful gradient, or move numbers out of its sight: tables for bpda.py."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Function = Callable[..., Any]  # of torch, as it reaches __torch_function__


def named(*names: str) -> set[Function]:
    """The functions and methods of torch with these names, in-place ones too."""
    places = (torch, Tensor, torch._C._nn, F)
    return {found for place in places for name in names if (found := getattr(place, name, None)) is not None}


def getter(name: str) -> Function:
    """What is called where an attribute of a tensor is read."""
    found: Function = getattr(Tensor, name).__get__
    return found


def setter(name: str) -> Function:
    """What is called where an attribute of a tensor is written."""
    found: Function = getattr(Tensor, name).__set__
    return found


STEPS = named("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "hardshrink")
# At its bounds a clamp has no gradient in newer versions of torch: every pixel that is 0 or 1 stays where it is.
BOUNDS = named("clamp", "clip", "hardtanh", "clamp_min", "clamp_max")
BOUNDS_IN_PLACE = named("clamp_", "clip_", "hardtanh_", "clamp_min_", "clamp_max_")
STEPS_IN_PLACE = named(*(f"{name}_" for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn")))
GREATER = named("gt", "ge", "greater", "greater_equal", "__gt__", "__ge__")
LESS = named("lt", "le", "less", "less_equal", "__lt__", "__le__")
NOT = named("logical_not", "__invert__", "bitwise_not")
EXTREMES: dict[Function, Function] = {
    torch.any: torch.amax,
    torch.all: torch.amin,
    Tensor.any: Tensor.amax,
    Tensor.all: Tensor.amin,
}
DIVISIONS = named("floor_divide", "__floordiv__")
DETACHING = named("detach", "detach_") | {getter("data")}
REQUIRES_GRAD = getter("requires_grad")
MARKING = named("requires_grad_") | {setter("requires_grad")}
HOOKS = named("register_hook", "register_post_accumulate_grad_hook")
WITHOUT_GRADIENT = {REQUIRES_GRAD: False, getter("grad_fn"): None, getter("is_leaf"): True}  # what a tensor without one reports
DERIVATIVES: set[Function] = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}
RETAIN: dict[Function, int] = {
    torch.autograd.grad: 3,
    torch.autograd.backward: 2,
    Tensor.backward: 2,
}  # where their retain_graph stands
SATURATING = named("tanh", "sigmoid", "softmax", "erf", "hardsigmoid", "softsign", "relu6", "logsigmoid", "expit")
SATURATING_IN_PLACE = named("tanh_", "sigmoid_", "erf_")
FROM_NUMPY = named("tensor", "as_tensor", "asarray")
TO_PYTHON = named("numpy", "item", "tolist", "__array__", "__float__", "__int__", "__bool__", "__index__", "__format__")
CASTS = named("to", "type", "float", "double", "half", "type_as", "bfloat16", "int", "long", "byte", "short", "char", "bool")
ONE_HOT = named("one_hot")
QUOTIENTS = named("div", "divide", "true_divide", "__truediv__")
WHERE = named("where")
ARRAYS = named("numpy", "__array__", "tolist")
