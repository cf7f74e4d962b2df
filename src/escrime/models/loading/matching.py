"""Fitting a file's tensors to a network: names, normalization, output layer, and a clear word where they do not fit."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import EscrimeError, shortened
from ..architectures import ARCHITECTURES, Architecture, skeleton

Shapes = Mapping[str, Sequence[int]]
NORMALIZER = {"mean": "std", "mu": "sigma"}


def align(tensors: Mapping[str, Tensor], expected: Shapes) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
    """The tensors under the network's own names, and the (mean, std) of a normalization layer bundled with them.

    A prefix such as `module.`, `model.`, `network.`, `1.` or several of them is removed: the one that makes the most
    names match. Whatever else the file holds keeps its name, so that `check_fit` can report it.
    """
    prefixes: Counter[str] = Counter()
    for name in tensors:
        for start in [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]:
            if name[start:] in expected:
                prefixes[name[:start]] += 1
    prefix = max(prefixes, key=lambda p: (prefixes[p], -len(p)), default="")
    named = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    rest |= {name: named.pop(name) for name in list(named) if name not in expected}
    normalizer = None
    for name in list(rest):
        parent, dot, leaf = name.rpartition(".")
        partner = parent + dot + NORMALIZER.get(leaf, "")
        if leaf in NORMALIZER and partner in rest and {rest[name].numel(), rest[partner].numel()} <= {1, 3}:
            normalizer = rest.pop(name), rest.pop(partner)
    return named | rest, normalizer


def cut_heads(
    tensors: dict[str, Tensor], expected: Shapes, heads: set[str], head: str, class_indices: Sequence[int] | None
) -> dict[str, Tensor]:
    """The tensors with output layers cut to the network's classes; a head to be made new is left out of the result.

    `heads` are the names of the output layers' tensors. head="slice" keeps the rows `class_indices` of each, in that
    order; head="new" none. Weights that already have the right number of classes keep their head (their rows in
    another order if `class_indices` is a permutation of them).
    """
    result = dict(tensors)
    for name in heads & tensors.keys():
        classes, rows = expected[name][0], tensors[name].shape[0] if tensors[name].dim() else 0
        if tensors[name].shape[1:] != torch.Size(expected[name][1:]):
            continue  # another architecture; check_fit says so
        if rows == classes and set(class_indices or ()) != set(range(classes)):
            continue
        if head == "new":
            del result[name]
        elif class_indices is None:
            raise EscrimeError(
                f"the weights have {rows} classes and the model {classes}; head='slice' needs class_indices, the "
                f"{classes} rows to keep (escrime.data.IMAGENET_INDICES for Imagenette), or use head='new'."
            )
        elif max(class_indices) >= rows:
            raise EscrimeError(
                f"class_indices contain {max(class_indices)}, but the weights have {rows} classes (0–{rows - 1})."
            )
        else:
            result[name] = tensors[name][torch.tensor(class_indices)]
    return result


def check_fit(expected: Shapes, tensors: Mapping[str, Tensor], what: str, model: str, arch: Architecture | None = None) -> None:
    """Refuse tensors whose names or shapes are not those expected; name the first ones and the likely architecture."""
    faults = {
        "missing": [name for name in expected if name not in tensors and not name.endswith("num_batches_tracked")],
        "unexpected": [name for name in tensors if name not in expected],
        "of another shape": [
            f"{name} {_shape(tensors[name].shape)} instead of {_shape(expected[name])}"
            for name in expected
            if name in tensors and tuple(tensors[name].shape) != tuple(expected[name])
        ],
    }
    if not any(faults.values()):
        return
    text = "; ".join(f"{shortened(names)} {kind}" for kind, names in faults.items() if names)
    guess = likely_architecture(tensors) if arch is not None else None
    hint = f" They look like weights of {guess!r}." if arch is not None and guess and guess != arch.name else ""
    raise EscrimeError(f"{what} do not fit {model}: {text}.{hint}")


def likely_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """The registered architecture that shares the most names and shapes with the tensors, if it is most of them."""
    best, score = None, 0.5
    for arch in ARCHITECTURES.values():
        shapes = skeleton(arch, 10)
        named, _ = align(tensors, shapes)
        same = sum(name in shapes and tensor.shape == shapes[name] for name, tensor in named.items())
        share = same / max(len(shapes), len(named), 1)
        if share > score:
            best, score = arch.name, share
    return best


def check_finite(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse NaN and infinity in the tensors, but for buffers in which the model has infinity too, such as a mask."""
    own = dict(model.named_buffers())
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.isfinite().all():
            continue
        if name not in own or own[name].isfinite().all() or tensor.isnan().any():
            raise EscrimeError(f"{what} contain NaN or infinity in {name}; the training that made them diverged.")


def overwrite(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors that have passed `check_fit` into the model; what they lack stays as it is."""
    # Starting from the model's own state dict keeps its version numbers: without them BatchNorm and MNASNet would
    # treat the tensors as files of their oldest versions.
    state = model.state_dict()
    state.update(tensors)
    model.load_state_dict(state)


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"
