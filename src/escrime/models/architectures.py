"""The networks escrime can build by name: its own small ones and every torchvision classifier."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from ..errors import EscrimeError, nearest
from ..randomness import seed_generators
from .small import LeNet, WideResNetSmall

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
# Every residual block begins as the identity (Goyal et al., 2017, section 5.1): else a Wide ResNet-50-2 from scratch learns
# nothing in its first epochs.
RESIDUAL = ("resnet", "resnext", "wide_resnet")


@dataclass(frozen=True)
class Architecture:
    """How to build one network and what it expects.

    `construct(num_classes=K)` returns the bare network with K outputs; `mean` and `std` are the normalization its
    published weights were trained with; `size` is the usual input side in pixels; `head` is the dotted name of the
    output layer and `auxiliary` the names of the auxiliary classifiers, each with an output layer of its own.
    `builder` names torchvision's function when its published weights can be asked for.
    """

    name: str
    construct: Callable[..., nn.Module]
    description: str
    head: str | None = None
    auxiliary: tuple[str, ...] = ()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    size: int = 224
    builder: str | None = None


def _own(name: str, construct: Callable[..., nn.Module], description: str) -> Architecture:
    return Architecture(name, construct, description, "fc", mean=HALF, std=HALF, size=32)


def _torchvision(name: str, description: str, head: str | None = None, **fields) -> Architecture:
    options = fields.pop("options", {})
    return Architecture(name, partial(_build, name, **options), description, head, builder=name, **fields)


def _build(builder: str, **options) -> nn.Module:
    if builder.startswith(RESIDUAL):
        options["zero_init_residual"] = True
    return _models().get_model_builder(builder)(weights=None, **options)


def _models():
    """torchvision.models, imported where it is needed: it takes longer than torch itself, and digits never asks."""
    from torchvision import models

    return models


# torchvision's slow truncated-normal initialization is left out: BatchNorm follows every convolution of these two.
# Their published weights come from TensorFlow, trained on pixels in [-1, 1]. torchvision hides that behind
# `transform_input`, which turns ImageNet-normalized images back into [-1, 1]; mean 0.5 and std 0.5 say it directly.
_INCEPTION = {"options": {"init_weights": False, "aux_logits": True}, "mean": HALF, "std": HALF}

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        _own("lenet", LeNet, "LeNet-like net, 0.09 M parameters, 8–64 px"),
        _own("wide_resnet_small", WideResNetSmall, "wide residual network of depth 10, 0.3 M parameters, 8–64 px"),
        _torchvision("resnet18", "ResNet-18, 11.7 M parameters", "fc"),
        _torchvision("resnet50", "ResNet-50, 25.6 M parameters", "fc"),
        _torchvision("wide_resnet50_2", "Wide ResNet-50-2, 68.9 M parameters: the paper's first network", "fc"),
        _torchvision(
            "googlenet",
            "GoogLeNet, 6.6 M parameters, 13.0 M with the auxiliary heads of training: the paper's second network",
            "fc",
            auxiliary=("aux1", "aux2"),
            **_INCEPTION,
        ),
        _torchvision(
            "inception_v3",
            "Inception v3, 27.2 M parameters and an auxiliary head in training",
            "fc",
            auxiliary=("AuxLogits",),
            size=299,
            **_INCEPTION,
        ),
        _torchvision("mobilenet_v2", "MobileNetV2, 3.5 M parameters", "classifier.1"),
    )
}


def architecture(name: str) -> Architecture:
    """The architecture called `name`: an entry of ARCHITECTURES, or any other torchvision classifier.

    Errors: EscrimeError for an unknown name, with the nearest known one.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    others = _models().list_models(module=_models())
    if name in others:
        transforms = published_weights(name, None).transforms()
        plain = _torchvision(name, f"{name} of torchvision")
        head = min(head_names(plain, 10)).rpartition(".")[0]
        return replace(plain, head=head, mean=tuple(transforms.mean), std=tuple(transforms.std), size=transforms.crop_size[0])
    hint = nearest(name, ARCHITECTURES) or nearest(name, others)
    raise EscrimeError(
        f"architecture {name!r} is unknown; use one of {', '.join(ARCHITECTURES)}, or another torchvision classifier.{hint}"
    )


def published_weights(builder: str, name: str | None):
    """torchvision's weights enum member `name` for a network, by default the first published ones.

    IMAGENET1K_V1 is what the paper used in 2020; V2 was trained with another recipe (label smoothing, mixup), which
    changes what attacks find, so it must be asked for by name.
    """
    members = list(_models().get_model_weights(builder))
    if name is None:
        return members[0]
    for member in members:
        if member.name == name:
            return member
    names = [member.name for member in members]
    raise EscrimeError(f"torchvision has no weights {name!r} for {builder}; it has {', '.join(names)}.{nearest(name, names)}")


def construct(arch: Architecture, classes: int, seed: int) -> nn.Module:
    """The bare network with `classes` outputs, initialized from `seed`; the global generators are left as they were."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torchvision announces future changes of an initialization that is not used
        seed_generators(seed)
        return arch.construct(num_classes=classes)


def skeleton(arch: Architecture, classes: int) -> dict[str, torch.Size]:
    """Name → shape of every tensor of the network with `classes` outputs, at no cost in memory or arithmetic."""
    if arch.builder is not None:
        _models()  # an import under the meta device would leave its constants there
    try:
        with torch.device("meta"):
            network = construct(arch, classes, 0)
    except NotImplementedError:  # RegNet computes its widths with tensors, which the meta device cannot do
        network = construct(arch, classes, 0)
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def head_names(arch: Architecture, classes: int) -> set[str]:
    """Names of the tensors whose first dimension is the number of classes: the head's and the auxiliary heads'."""
    this, other = skeleton(arch, classes), skeleton(arch, classes + 1)
    return {name for name, shape in this.items() if shape != other[name]}
