"""Convolutions whose weight gradient is computed by matrix products.

With AVX2 and no AVX-512, oneDNN's weight gradient in channels-last memory reaches half the speed of its forward pass. The sum
over the positions of the kernel of matrix products, of the output's gradient and the shifted input, is faster in large layers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import conv2d

# Elsewhere oneDNN has kernels of its own for weight gradients, and nothing was measured.
SLOW_KERNELS = torch.backends.cpu.get_cpu_capability() == "AVX2" and torch.backends.mkl.is_available()
CHUNK = 2**21  # bytes of input and gradient that are multiplied at a time: they stay in the cache for all kernel positions


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Stride 1, zero padding that keeps the size, odd kernels: x (N, C, H, W), weight (O, C, h, w) → (N, O, H, W)."""
    return _Convolution.apply(x, weight, bias)


def worthwhile(x: Tensor, weight: Tensor) -> bool:
    """Whether the weight gradient is faster by products; decided by shapes, so the same step is the same on every run."""
    if not (SLOW_KERNELS and weight.requires_grad and torch.is_grad_enabled()):
        return False
    # vmap, and derivatives forward, are written for convolutions and not for `_Convolution`.
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    if not x.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    outputs, channels, *kernel = weight.shape
    if min(channels, outputs) < 64:
        return False
    # Measured with batches of 32; below these sizes the products gain nothing or lose.
    return channels * outputs > 2**14 if kernel == [1, 1] else kernel == [3, 3] and x.shape[2] * x.shape[3] >= 576


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return conv2d(x, weight, bias, padding=_padding(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        asked = list(ctx.needs_input_grad)
        # A gradient of the gradient is asked for: that of products is not written here.
        ours = asked[1] and not torch.is_grad_enabled()
        found = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            [len(weight)] if ctx.has_bias else None,
            [1, 1],
            _padding(weight),
            [1, 1],
            False,
            [0, 0],
            1,
            [asked[0], asked[1] and not ours, asked[2]],
        )
        return found[0], weight_gradient(x, gradient, weight.shape[2:]) if ours else found[1], found[2]


def _padding(weight: Tensor) -> list[int]:
    return [size // 2 for size in weight.shape[2:]]


def weight_gradient(x: Tensor, gradient: Tensor, kernel: Sequence[int]) -> Tensor:
    """∂L/∂weight (O, C, h, w) of `convolve`, from x (N, C, H, W) and ∂L/∂output (N, O, H, W)."""
    (count, channels, high, wide), outputs = x.shape, gradient.shape[1]
    if tuple(kernel) == (1, 1):
        flat = (tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1]) for tensor in (gradient, x))
        return torch.mm(next(flat).t(), next(flat)).view(outputs, channels, 1, 1)
    down, right = (size // 2 for size in kernel)
    # Images one after another, rows one after another, each followed by the zeros that its neighbors share with it: a
    # shifted input is then the same memory, read from a later start.
    row, image = wide + right, (high + down) * (wide + right)
    some = min(count, max(1, CHUNK // (4 * image * (channels + outputs))))
    start, length = down * row + right, some * image
    inputs, targets = x.new_zeros(length + 2 * start, channels), x.new_zeros(length, outputs)

    def pixels(memory: Tensor) -> Tensor:
        return memory.view(some, high + down, row, -1)[:, :high, :wide]

    into = pixels(inputs[start : start + length]), pixels(targets)
    result = x.new_zeros(*kernel, outputs, channels)
    shifted = [inputs[i * row + j :][:length] for i in range(kernel[0]) for j in range(kernel[1])]
    for first in range(0, count, some):
        for memory, tensor in zip(into, (x, gradient)):
            part = tensor[first : first + some].permute(0, 2, 3, 1)
            memory[: len(part)].copy_(part)
            memory[len(part) :].zero_()
        for total, window in zip(result.flatten(0, 1), shifted):
            total.addmm_(targets.t(), window)
    return result.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)
