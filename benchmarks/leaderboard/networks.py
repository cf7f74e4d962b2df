"""Networks with ImageNet weights, cut to Imagenette's ten classes, as `--judge benchmarks/leaderboard/networks.py:NAME`.

ESCRIME_WEIGHTS: the folder of their files of weights.
"""

import os
from pathlib import Path

from torch import nn

import escrime
from escrime.data.imagenette import IMAGENET_INDICES, WNIDS

FILES = {
    "googlenet_bvlc": ("googlenet_bvlc", "bvlc_googlenet-imagenet1k.safetensors", {}),
    "efficientnet_lite0": ("timm:tf_efficientnet_lite0", "efficientnet_lite0-imagenet1k.safetensors", {}),
    "mobilenet_v2": ("mobilenet_v2", "mobilenet_v2-imagenet1k.safetensors", {"mean": 0.5, "std": 0.5}),
}


def _made(name: str) -> nn.Module:
    if "ESCRIME_WEIGHTS" not in os.environ:
        raise escrime.EscrimeError("ESCRIME_WEIGHTS is not set; let it name the folder that holds the files of weights.")
    arch, file, feeding = FILES[name]
    path = Path(os.environ["ESCRIME_WEIGHTS"]) / file
    network = escrime.build(arch, 10, weights=str(path), head="slice", class_indices=IMAGENET_INDICES, **feeding)
    network.classes = WNIDS
    return network.eval()


def googlenet_bvlc() -> nn.Module:
    return _made("googlenet_bvlc")


def efficientnet_lite0() -> nn.Module:
    return _made("efficientnet_lite0")


def mobilenet_v2() -> nn.Module:
    return _made("mobilenet_v2")
