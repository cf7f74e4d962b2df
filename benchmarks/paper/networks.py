"""The networks of the page, by the files of their kept runs."""

NETWORKS = {  # in the page's order: the paper's own with its weights, stand-ins with theirs, those from scratch
    "googlenet_bvlc": "GoogLeNet (BVLC)",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "mobilenet_v2": "MobileNetV2",
    "googlenet": "GoogLeNet",
    "wide_resnet50_2": "Wide ResNet-50-2",
}
DIGITS = "LeNet on digits"


def pretrained(kept: dict) -> list[str]:
    """The kept networks that began with ImageNet weights, the paper's own first."""
    return [name for name in NETWORKS if name in kept and kept[name]["about"]["pretrained"]]
