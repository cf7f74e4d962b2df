"""Label smoothing as an objective. Szegedy et al. (2016), Rethinking the Inception architecture, section 7."""

from dataclasses import dataclass

import torch.nn.functional as F

from .objectives import Objective


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Objective):
    """Cross-entropy with the share `alpha` of each label spread over all classes."""

    name, source = "label-smoothing", "Szegedy et al., 2016, section 7"

    alpha: float = 0.1

    def __call__(self, model, images, labels, context):
        return F.cross_entropy(model(images), labels, label_smoothing=self.alpha)
