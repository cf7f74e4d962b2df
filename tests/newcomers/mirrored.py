"""A check that asks the model: does it predict the same for the mirrored image?"""

import torch
from torch import Tensor

from ...models.running import Classifier
from ...results.findings import Finding
from .registry import model_check


@model_check()
def mirrored(model: Classifier, images: Tensor) -> list[Finding]:
    """A note with the share of images whose prediction changes when they are mirrored; one more pass per image."""
    changed = (model(images.clone()).argmax(1) != model(images.flip(3)).argmax(1)).to(torch.float32)
    share = float(changed.mean())
    return [Finding("mirrored", "note", f"Mirroring changes {share:.1%} of the predictions", {"share": share})]
