"""Build a classifier by name: random, or with pre-trained weights whose output layer is cut to the wanted classes."""

from collections.abc import Sequence
from operator import index
from pathlib import Path

from torch import nn

from ..errors import EscrimeError
from ..validation import check_choice, check_seed, check_whole
from .architectures import ARCHITECTURES, Architecture, architecture, construct, head_names
from .loading.matching import align, check_finite, check_fit, cut_heads, overwrite
from .loading.sources import Weights, read_weights
from .normalized import Normalized, channel_values

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "build"]

HEADS = ("new", "slice")


def build(
    arch: str,
    classes: int,
    *,
    weights: str | Path | None = None,
    head: str = "new",
    class_indices: Sequence[int] | None = None,
    seed: int = 0,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
) -> Normalized:
    """A classifier with `classes` outputs, on the CPU, in eval mode, behind its normalization layer.

    The global random state is not touched.

    Args:
        arch: A name of ARCHITECTURES, any other torchvision classifier, or "timm:" and the name of a timm model.
        classes: K, the number of classes, at least 2.
        weights: None (random, from `seed`), "torchvision" (the first published ImageNet weights; "torchvision:NAME" for
            others), an http(s) URL with an optional `#sha256=…`, or a .safetensors / .pt / .pth file.
        head: What to do with a pre-trained output layer of another number of classes: "new" puts a fresh one, drawn from
            `seed`; "slice" keeps its rows `class_indices`. Auxiliary heads (GoogLeNet) are cut the same way, and are fresh
            where the weights have none. Without weights there is nothing to cut.
        class_indices: The rows that head="slice" keeps, one per class.
        seed: Of the weights that are drawn.
        mean: With `std`, the normalization the weights were trained with, one number or one per channel. Otherwise it comes
            from a normalization layer stored with the weights, from the metadata of a .safetensors file, or from the
            architecture.
        std: See `mean`; both or neither.

    Returns:
        The network behind its normalization, images float32 (N, C, H, W) in [0, 1] → logits (N, classes).

    Raises:
        EscrimeError: For an unknown name, weights that cannot be read (an unsafe pickle among them), or weights that do not
            fit.
    """
    known = architecture(arch)
    classes, class_indices = _check(classes, head, class_indices)
    if (mean is None) != (std is None):
        raise EscrimeError("mean and std describe one normalization; give both or neither.")
    seed = check_seed(seed)
    network = construct(known, classes, seed)
    stored = None
    if weights is not None:
        stored = _load(network, known, classes, read_weights(weights, known), head, class_indices)
    given = (mean, std) if mean is not None and std is not None else stored or (known.mean, known.std)
    # One value per channel, even where one number was given: the shape is part of every saved checkpoint.
    channels = len(known.mean)
    values = [channel_values(name, value, channels) for name, value in zip(("mean", "std"), given)]
    return Normalized(network, *values).eval()


def _check(classes: int, head: str, class_indices: Sequence[int] | None) -> tuple[int, tuple[int, ...] | None]:
    """`classes` and `class_indices` of `build` as ints; refused where they or `head` are not what `build` takes."""
    classes = check_whole("classes", classes, 2, hint="the number of classes of the data")
    check_choice("head", head, HEADS)
    if head == "new":
        if class_indices is not None:
            raise EscrimeError("class_indices say which rows of an output layer to keep; they need head='slice'.")
        return classes, None
    if class_indices is None:
        return classes, None
    try:
        indices = tuple(index(i) for i in class_indices)
    except TypeError:
        raise EscrimeError(f"class_indices {class_indices!r} are not a sequence of integers.") from None
    if len(indices) != classes or len(set(indices)) != classes or min(indices) < 0:
        raise EscrimeError(f"class_indices {list(indices)} must be {classes} different class numbers from 0 up.")
    return classes, indices


def _load(
    network: nn.Module, arch: Architecture, classes: int, weights: Weights, head: str, class_indices: Sequence[int] | None
) -> tuple | None:
    """Load the weights into `network`; return the normalization that came with them, if any."""
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    aligned, normalizer = align(weights.tensors, own)
    absent = tuple(f"{part}." for part in arch.auxiliary if not any(name.startswith(f"{part}.") for name in own))
    aligned = {name: tensor for name, tensor in aligned.items() if not name.startswith(absent)}
    tensors = cut_heads(aligned, own, head_names(arch, classes), head, class_indices)
    # Left as drawn from the seed: output layers that were cut away, auxiliary heads that the weights never had.
    fresh = aligned.keys() - tensors.keys()
    for part in arch.auxiliary:
        if not any(name.startswith(f"{part}.") for name in aligned):
            fresh |= {name for name in own if name.startswith(f"{part}.")}
    what = f"weights from {weights.origin}"
    check_fit({name: shape for name, shape in own.items() if name not in fresh}, tensors, what, arch.name, arch)
    check_finite(network, tensors, what)
    overwrite(network, tensors)
    return normalizer or stored_normalization(weights)


def stored_normalization(weights: Weights) -> tuple | None:
    """(mean, std) from the metadata of a file."""
    facts = weights.metadata
    return (facts["mean"], facts["std"]) if {"mean", "std"} <= facts.keys() else None
