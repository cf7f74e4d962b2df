"""Running someone's classifier: without leaving a trace, in batches that fit, and again in halves where they do not."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Integral
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import EscrimeError, in_one_line
from ..randomness import generators_kept
from .deadline import look
from .outputs import described, logits_in

Classifier = Callable[[Tensor], Tensor]  # images (N, C, H, W) → logits (N, K): an nn.Module, or any callable as a black box
Part = TypeVar("Part")
TINY = 1e-30  # differences of logits below it, or above its inverse, are out of float32's reach
IMPOSSIBLE = 104.0  # how far below the others a class lies that a model calls impossible: exp(-104) is 0 in float32


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Put the train/eval mode of every submodule back after the block."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put every dense buffer back after the block, as it was: a model may count its outputs, or adapt its statistics to them.

    Left as they are: a cache that was made or grew in the block, for the model may remember that it is there; buffers of
    scripted modules.
    """
    before = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, buffer in module._buffers.items()
        if isinstance(buffer, Tensor) and _dense(buffer)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in before:
                if not torch.equal(buffer, value):  # BatchNorm's kernel writes without counting it as a version
                    buffer.copy_(value)
                now = module._buffers.get(name)
                if now is not buffer and isinstance(now, Tensor) and (now.shape, now.dtype) == (buffer.shape, buffer.dtype):
                    module._buffers[name] = buffer


def _dense(buffer: Tensor) -> bool:
    """Whether the buffer can be compared and written: not every kind of tensor can."""
    plain = buffer.layout == torch.strided and not (buffer.is_meta or buffer.is_nested or buffer.is_quantized)
    return plain and buffer.dtype != torch.complex32 and not buffer.is_inference()


@contextmanager
def no_trace(model: Classifier, device: torch.device) -> Iterator[None]:
    """Run the model in eval mode with frozen parameters; afterwards everything is as it was.

    Restores the train/eval mode of every submodule, every requires_grad, every buffer and the global random state (torch's,
    numpy's and Python's). Gradients of parameters are never written, because attacks differentiate with respect to the images
    only. An autocast of the caller's does not reach inside: its 8 bits would depend on the batch, and be no verdict.

    Raises:
        EscrimeError: For a model made under torch.inference_mode(), whose parameters could not be set free again.
    """
    module = model if isinstance(model, nn.Module) else None  # a plain callable has no state of its own to change
    if module is not None and not torch.is_inference_mode_enabled():
        refuse_inference_tensors(module)
    plain = torch.autocast(device.type, enabled=False)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), generators_kept(), plain:
        with nullcontext() if module is None else _frozen(module):
            yield


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, its parameters frozen; afterwards modes, buffers and parameters are as they were."""
    frozen = [p for p in model.parameters() if p.requires_grad]
    with modes_kept(model), buffers_kept(model):
        try:
            model.eval()
            for parameter in frozen:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)


def existing_device(device: torch.device | str) -> torch.device:
    """The device, with its index.

    Raises:
        EscrimeError: If this machine does not have it.
    """
    try:
        return torch.empty(0, device=torch.device(device)).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise EscrimeError(f"device {str(device)!r} cannot be used here ({reason}); try 'cpu'.") from None


def differentiable() -> AbstractContextManager[object]:
    """A block in which gradients can be had, even where the caller is under torch.inference_mode(): enable_grad does not
    lift that, and what is computed under it has no gradient, without a word."""
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()


def ordinary(tensor: Tensor) -> Tensor:
    """`tensor`, or a copy of one that was made under torch.inference_mode(), which autograd would refuse."""
    return tensor.clone() if tensor.is_inference() else tensor


def refuse_inference_tensors(model: nn.Module) -> None:
    """Raise if a parameter or buffer was made under torch.inference_mode(): autograd never takes it, nor can it be frozen."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_inference():
            raise EscrimeError(
                f"the model's {name} was made under torch.inference_mode(), so that nothing can be differentiated through "
                "it; build and load the model outside of that block."
            )


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within the block a GPU computes float32 in float32: by default its convolutions use TensorFloat-32, whose mantissa
    has 10 bits, which may speed up an attack but is not what a verdict rests on."""
    if device.type != "cuda":
        yield
        return
    switches, name, exact = _precision_switches()
    before = [getattr(switch, name) for switch in switches]
    try:
        for switch in switches:
            setattr(switch, name, exact)
        yield
    finally:
        for switch, value in zip(switches, before):
            setattr(switch, name, value)


def rounds(device: torch.device) -> bool:
    """Whether float32 is rounded to TensorFloat-32 there, outside of `full_precision`: how much an output is off then depends
    on the kernel, which depends on the size of the batch."""
    if device.type != "cuda":
        return False
    switches, name, exact = _precision_switches()
    return any(getattr(switch, name) != exact for switch in switches)


def _precision_switches() -> tuple[tuple, str, object]:
    """(torch's switches for convolutions and products on a GPU, the attribute, its value in full precision)."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(products, "fp32_precision"):  # from torch 2.9 on
        return (convolutions.conv, products), "fp32_precision", "ieee"  # type: ignore[attr-defined]  # made when it is imported
    return (convolutions, products), "allow_tf32", False


def check_logits(logits: Any, images: Tensor, model: str = "the model") -> Tensor:
    """Return `logits` in float32 and without −inf, if they have shape (N, K) and are where the images (N, ...) are.

    logits: what the model returned, in whatever form `outputs.logits_in` knows. model: whose they are, in words.

    Half precision, float64 and integers are converted here and nowhere else, so that the prediction stays, see `in_float32`;
    −inf, see `finite_below`.
    """
    rows, logits = len(images), logits_in(logits)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != rows:
        raise EscrimeError(f"{model} returned {described(logits)} for {rows} images; a classifier returns logits (N, K).")
    if logits.device != images.device:
        raise EscrimeError(
            f"{model}'s logits are on device {logits.device}, the images on {images.device}; keep the model's own tensors "
            "as buffers or parameters, so that they move with it, and return logits on the device of the images."
        )
    if logits.is_complex():
        raise EscrimeError(f"{model} returned {logits.dtype}; logits are real numbers, so return their real part.")
    return finite_below(in_float32(logits))


def in_float32(logits: Tensor) -> Tensor:
    """`logits` (N, K) as float32. Rows whose largest would be one among equals there, or infinite, as sums of log-densities or
    products of densities in float64 are, come back as differences to it, in units of the largest difference if that is out of
    float32's reach: the class stays, and its margin has a gradient."""
    values = logits.float()
    if logits.dtype in (torch.float32, torch.float16, torch.bfloat16) or logits.shape[1] < 2:
        return values
    exact = logits.double()
    top, at = exact.detach().topk(2)
    first, second = top.unbind(1)
    kept = values.detach().gather(1, at)
    lost = (first > second) & first.isfinite() & ((kept[:, 0] <= kept[:, 1]) | ~kept[:, 0].isfinite())
    if not lost.any():
        return values
    below = exact[lost] - first[lost, None]
    size = below.detach().masked_fill(~below.isfinite(), 0).abs().amax(1, keepdim=True)
    below = torch.where((size < TINY) | (size > 1 / TINY), below / size, below)
    return values.index_put((lost.nonzero()[:, 0],), below.float())


def finite_below(logits: Tensor) -> Tensor:
    """`logits` (..., K) with a finite number in place of −inf, which means that a class is impossible: IMPOSSIBLE below the
    lowest finite logit of its row, where softmax gives it 0. So differences and gradients stay finite, and the size of the
    logits, by which numerical gaps are judged, stays of its order. NaN, +inf and a row without a finite logit are left."""
    values = logits.detach()
    never = values.isneginf()
    if logits.device.type == "cpu" and not never.any():  # elsewhere asking would be a wait
        return logits
    lowest = values.masked_fill(~values.isfinite(), float("inf")).amin(-1, keepdim=True)
    return torch.where(never & lowest.isfinite(), lowest - IMPOSSIBLE, logits)


@contextmanager
def failure_named(fails: str, remedy: str) -> Iterator[None]:
    """Within the block, whatever is raised by a model that was made for other images becomes one sentence, from `fails`, which
    names who fails on what, to the `remedy`."""
    try:
        yield
    except EscrimeError:
        raise
    except Exception as error:
        raise EscrimeError(f"{fails} ({in_one_line(error)}); {remedy}.") from error


def passes_per_image(model: object) -> int:
    """How many passes of the network one image costs: a defense that averages over copies has so many `copies`."""
    copies = getattr(model, "copies", 1)
    return int(copies) if isinstance(copies, Integral) else 1  # a model may call something else by that name


def network_batch(images: Tensor) -> int:
    """How many images of this size go through the network at a time: few large ones, many small ones.

    On a CPU no more than what keeps its cores busy: what a larger batch needs is asked of the system anew at every pass, and
    its pages come one by one (GoogLeNet at 160 px: 64 images take twice as long each as 16).
    """
    pixels = images[0].numel()
    if images.device.type == "cuda":
        return max(64, min(4096, 2**25 // pixels))
    most = max(1, torch.get_num_threads() // 2)  # what two cores need, for each pair of them
    return max(16, min(128 * most, 2**20 * most // pixels))


class Batches:
    """Calls that are split into batches of at most `limit` rows; running out of memory halves the limit and goes on.

    passes: of the network that a row costs, as who listens is told (see models.deadline).
    """

    def __init__(self, limit: int, passes: int = 1):
        self.limit, self.passes = max(1, limit), passes

    @classmethod
    def of(cls, images: Tensor, passes: int = 1) -> "Batches":
        """Of rows like `images` (N, C, H, W), each of which costs so many passes of the network."""
        return cls(network_batch(images) // passes, passes)

    def map(self, call: Callable[[slice], Part], rows: int) -> list[Part]:
        """[call(rows 0 to limit), call(the next ones), …] over `rows` rows.

        Raises:
            EscrimeError: Where a single row does not fit.
            OutOfTime: Before the first call after a `deadline`.
        """
        parts: list[Part] = []
        done = 0
        while done < rows:
            part = slice(done, min(done + self.limit, rows))
            look((part.stop - part.start) * self.passes)
            try:
                parts.append(call(part))
                done = part.stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if part.stop - part.start == 1:
                    raise EscrimeError(
                        "a single image does not fit into memory; use a smaller size or another device."
                    ) from error
            # Here, after the exception has let go of the tensors of the failed call.
            self.limit = (part.stop - part.start) // 2
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        return parts


def out_of_memory(error: Exception) -> bool:
    """CUDA has its own exception; the CPU allocator raises a RuntimeError that only its text distinguishes."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
