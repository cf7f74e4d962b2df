"""The networks escrime can build by name: its own, every torchvision classifier, every timm model."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import EscrimeError, nearest, needs_extra
from ..randomness import seed_generators
from ..specifications import unknown_architecture
from .googlenet_bvlc import MEAN, STD, GoogLeNet
from .small import LeNet, WideResNetSmall

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
# Every residual block begins as the identity (Goyal et al., 2017, section 5.1): else a Wide ResNet-50-2 from scratch learns
# nothing in its first epochs.
RESIDUAL = ("resnet", "resnext", "wide_resnet")
TIMM = "timm:"


@dataclass(frozen=True)
class Architecture:
    """How to build one network and what it expects.

    `construct(num_classes=K)` returns the bare network with K outputs; `mean` and `std` are the normalization its
    published weights were trained with; `size` is the usual input side in pixels; `head` is the dotted name of the
    output layer and `auxiliary` the names of the auxiliary classifiers, each with an output layer of its own: where
    weights have none they begin anew, and where the network has none those of the weights are left out.
    `builder` names torchvision's function when its published weights can be asked for. `stands_for` is the one of the
    paper's two networks that this is, as its claims and figures call it.
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
    stands_for: str | None = None

    @property
    def library(self) -> str:
        """Whose numbers `mean`, `std` and `size` are."""
        return "timm" if self.name.startswith(TIMM) else "escrime" if self.builder is None else "torchvision"


def _own(name: str, construct: Callable[..., nn.Module], description: str) -> Architecture:
    return Architecture(name, construct, description, "fc", mean=HALF, std=HALF, size=32)


def _published_googlenet(name: str, description: str, auxiliary: bool) -> Architecture:
    construct, heads = partial(GoogLeNet, auxiliary=auxiliary), ("loss1", "loss2")
    return Architecture(name, construct, description, "loss3.classifier", heads, MEAN, STD, stands_for="googlenet")


def _torchvision(name: str, description: str, head: str | None = None, **fields: Any) -> Architecture:
    options = fields.pop("options", {})
    return Architecture(name, partial(_build, name, **options), description, head, builder=name, **fields)


def _build(builder: str, **options: Any) -> nn.Module:
    if builder.startswith(RESIDUAL):
        options["zero_init_residual"] = True
    return _models().get_model_builder(builder)(weights=None, **options)


def _models() -> ModuleType:
    """torchvision.models, imported where it is needed: it takes longer than torch itself, and digits never asks."""
    from torchvision import models

    return models


# torchvision's slow truncated-normal initialization is left out: BatchNorm follows every convolution of these two.
# Their published weights come from TensorFlow, trained on pixels in [-1, 1]. torchvision hides that behind
# `transform_input`, which turns ImageNet-normalized images back into [-1, 1]; mean 0.5 and std 0.5 do the same directly.
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
        _published_googlenet("googlenet_bvlc", "GoogLeNet as published, without BatchNorm, 7.0 M parameters", False),
        _published_googlenet("googlenet_bvlc_auxiliary", "the same with the two auxiliary heads of training, 13.4 M", True),
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
    """The architecture called `name`: an entry of ARCHITECTURES, any other torchvision classifier, or "timm:" and the name
    of a timm model.

    Raises:
        EscrimeError: For an unknown name, with the nearest known one.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if str(name).startswith(TIMM):
        return _timm(name)
    others = _models().list_models(module=_models())
    if name in others:
        transforms = published_weights(name, None).transforms()
        plain = _torchvision(name, f"{name} of torchvision")
        head = min(head_names(plain, 10)).rpartition(".")[0]
        return replace(plain, head=head, mean=tuple(transforms.mean), std=tuple(transforms.std), size=transforms.crop_size[0])
    raise unknown_architecture(name, ARCHITECTURES, others)


def _timm(name: str) -> Architecture:
    """timm's network of that name without its weights; normalization and size are those of its default weights."""
    timm, short = import_timm(), name.removeprefix(TIMM)
    facts = timm.get_pretrained_cfg(short) if timm.is_model(short) else None
    if facts is None:
        names = timm.list_models()
        raise EscrimeError(f"timm has no network {short!r}; timm.list_models() names them.{nearest(short, names)}")
    channels, high, wide = facts.input_size
    if channels != 3 or high != wide:
        raise EscrimeError(f"timm's {short!r} takes images of {channels} × {high} × {wide}; escrime gives 3 × N × N.")
    head = facts.classifier if isinstance(facts.classifier, str) else facts.classifier[0]
    construct = partial(timm.create_model, short, pretrained=False)
    return Architecture(name, construct, f"{short} of timm", head, (), facts.mean, facts.std, high)


def import_timm() -> ModuleType:
    """timm, which is an extra."""
    try:
        import timm
    except ImportError:
        raise needs_extra("timm models", "timm", "timm") from None
    return timm


def published_weights(builder: str, name: str | None) -> Any:
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
    except RuntimeError:  # RegNet computes its widths with tensors, and others read theirs: the meta device cannot
        network = construct(arch, classes, 0)
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def head_names(arch: Architecture, classes: int) -> set[str]:
    """Names of the tensors whose first dimension is the number of classes: the head's and the auxiliary heads'."""
    this, other = skeleton(arch, classes), skeleton(arch, classes + 1)
    return {name for name, shape in this.items() if shape != other[name]}
