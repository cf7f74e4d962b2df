"""Which functions of torch have no gradient that says anything, or move numbers out of its sight: tables for bpda.py."""

import torch
import torch.nn.functional as F
from torch import Tensor


def named(*names: str) -> set:
    """The functions and methods of torch with these names, in-place ones too."""
    places = (torch, Tensor, torch._C._nn, F)
    return {found for place in places for name in names if (found := getattr(place, name, None)) is not None}


STEPS = named("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "hardshrink")
# At its bounds a clamp has no gradient in newer versions of torch: every pixel that is 0 or 1 stays where it is.
BOUNDS = named("clamp", "clip", "hardtanh", "clamp_min", "clamp_max")
BOUNDS_IN_PLACE = named("clamp_", "clip_", "hardtanh_", "clamp_min_", "clamp_max_")
STEPS_IN_PLACE = named(*(f"{name}_" for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn")))
GREATER = named("gt", "ge", "greater", "greater_equal", "__gt__", "__ge__")
LESS = named("lt", "le", "less", "less_equal", "__lt__", "__le__")
NOT = named("logical_not", "__invert__", "bitwise_not")
EXTREMES = {torch.any: torch.amax, torch.all: torch.amin, Tensor.any: Tensor.amax, Tensor.all: Tensor.amin}
DIVISIONS = named("floor_divide", "__floordiv__")
LEAVES = named("detach", "detach_") | {Tensor.data.__get__}
REQUIRES_GRAD = Tensor.requires_grad.__get__
MARKS = named("requires_grad_") | {Tensor.requires_grad.__set__}
HOOKS = named("register_hook", "register_post_accumulate_grad_hook")
ASKS_FOR_GRADIENTS = {REQUIRES_GRAD: False, Tensor.grad_fn.__get__: None, Tensor.is_leaf.__get__: True}
DERIVATIVES = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}
RETAIN = {torch.autograd.grad: 3, torch.autograd.backward: 2, Tensor.backward: 2}  # where their retain_graph stands
SATURATING = named("tanh", "sigmoid", "softmax", "erf", "hardsigmoid", "softsign", "relu6", "logsigmoid", "expit")
SATURATING_IN_PLACE = named("tanh_", "sigmoid_", "erf_")
FROM_NUMPY = named("tensor", "as_tensor", "asarray")
TO_PYTHON = named("numpy", "item", "tolist", "__array__", "__float__", "__int__", "__bool__", "__index__", "__format__")
CASTS = named("to", "type", "float", "double", "half", "type_as", "bfloat16", "int", "long", "byte", "short", "char", "bool")
ONE_HOT = named("one_hot")
QUOTIENTS = named("div", "divide", "true_divide", "__truediv__")
WHERE = named("where")
ARRAYS = named("numpy", "__array__", "tolist")
