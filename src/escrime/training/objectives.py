"""What training minimizes: each objective is a small callable (model, images, labels, context) → scalar loss.

Images float32 (N, C, H, W) in [0, 1], labels int64 (N,), `context` a `Context`. Objectives are frozen dataclasses of
their settings, registered by name; any other callable of the same form works too. ε is a fraction of the color range.
BatchNorm and dropout while crafting: see crafting.py. Clean and adversarial images go through one forward pass
together, so BatchNorm normalizes with their common statistics and updates its running ones once per batch.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attacks.core.gradients import input_gradient
from ..attacks.fgsm import fgsm_step
from ..budgets import epsilon
from ..errors import EscrimeError
from ..validation import check_choice, check_real, check_whole
from .checked import Checked
from .context import Context
from .crafting import BALL, at_least_float32, climb, cross_entropy_sum, evaluation_mode, fgsm

OBJECTIVES: dict[str, type["Objective"]] = {}
EPS_DISTRIBUTIONS = {"fixed": "ε for every image", "uniform": "uniform on [0, ε], drawn per image and epoch"}


@dataclass(frozen=True, kw_only=True)
class Objective(Checked):
    """Base: a subclass with a `name` registers itself. `source` says who proposed it. adds_clean: each batch is trained on as
    it is beside its adversarial images, which is twice the work."""

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    adds_clean: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            OBJECTIVES[cls.name] = cls

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        raise NotImplementedError

    def as_dict(self) -> dict:
        """Name and settings as plain JSON values."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """Base of objectives with a budget: `eps` (a number or "8/255") and how it varies, see EPS_DISTRIBUTIONS."""

    eps: float | str = 8 / 255
    eps_distribution: str = "fixed"

    def __post_init__(self) -> None:
        self._put(lambda _, value: epsilon(value), "eps")
        check_choice("eps_distribution", self.eps_distribution, EPS_DISTRIBUTIONS)

    def budget(self, images: Tensor, context: Context) -> Tensor:
        """This batch's ε per image, (N, 1, 1, 1)."""
        if self.eps_distribution == "fixed":
            return images.new_full((len(images), 1, 1, 1), float(self.eps))  # a number since __post_init__
        return (float(self.eps) * context.fractions("eps", images)).view(-1, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Stepped(Adversarial):
    """Base of objectives whose step has its own size: `step_size` is that at ε; an image with a smaller ε takes smaller
    steps in proportion. None is the source's rule."""

    step_size: float | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size is not None:
            self._put(lambda _, value: epsilon(value), "step_size")

    def size(self, budget: Tensor, default: float) -> Tensor:
        """The step per image, (N, 1, 1, 1); `default` is the source's rule as a multiple of ε."""
        if self.step_size is None:
            return default * budget
        step_size, eps = float(self.step_size), float(self.eps)
        return budget * (step_size / eps) if eps > 0 else torch.zeros_like(budget)


def _both(clean: Tensor, adversarial: Tensor) -> Tensor:
    return torch.cat([clean, adversarial])


class Clean(Objective):
    """Cross-entropy on the images as they are."""

    name, source = "clean", "the paper's base models"

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        return context.loss(model, images, labels, clean=len(images))


class FGSMMixed(Adversarial):
    """½ J(x) + ½ J(x'), x' = clip(x + ε·sign ∇_x J(x, y)): FGSM examples added to the batch, half and half."""

    name, source = "fgsm-mixed", "the paper; Goodfellow et al., 2015, section 6, α = 0.5"
    adds_clean = True

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        adversarial = fgsm(model, images, labels, self.budget(images, context))
        return context.loss(model, _both(images, adversarial), _both(labels, labels), clean=len(images))


class FGSMDirected(Adversarial):
    """½ J(x, y) + ½ J(x', y), x' = clip(x − ε·sign ∇_x J(x, t)) one step towards a random other class t."""

    name, source = "fgsm-directed", "the authors' slides; Kurakin et al., 2017 (one-step target class)"
    adds_clean = True

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        adversarial = fgsm(model, images, context.other_classes(labels), -self.budget(images, context))
        return context.loss(model, _both(images, adversarial), _both(labels, labels), clean=len(images))


class FGSMRandomStart(Stepped):
    """J(x + δ), δ one step of `step_size` (1.25 ε) from a uniform start in the ε-ball, put back into it."""

    name, source = "fgsm-rs", "Wong, Rice and Kolter, 2020, Fast is better than free, algorithm 3"

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        eps = self.budget(images, context)
        start = (images + eps * context.noise("start", images)).clamp_(0, 1)
        with evaluation_mode(model):
            loss = cross_entropy_sum(labels)
            adversarial = climb(model, images, start, loss, eps, self.size(eps, 1.25), steps=1)
        return context.loss(model, adversarial, labels, clean=0)


class NFGSM(Stepped):
    """J(x + δ), δ = η + step·sign ∇J(x + η) η uniform in ±2ε, neither clipped to the ball, both to [0, 1]."""

    name, source = "n-fgsm", "de Jorge et al., 2022, Make some noise (k = 2, α = ε)"

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        eps = self.budget(images, context)
        noisy = (images + 2 * eps * context.noise("start", images)).clamp_(0, 1)
        with evaluation_mode(model):
            gradient = input_gradient(model, noisy, cross_entropy_sum(labels))
        return context.loss(model, fgsm_step(noisy, gradient, self.size(eps, 1.0)), labels, clean=0)


@dataclass(frozen=True, kw_only=True)
class PGDTraining(Stepped):
    """max over the ε-ball of J by `steps` sign steps of 2.5 ε / steps from a uniform start; no clean images."""

    name, source = "pgd", "Madry et al., 2018, equation 2.1"

    steps: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps")

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        eps = self.budget(images, context)
        start = (images + eps * context.noise("start", images)).clamp_(0, 1)
        with evaluation_mode(model):
            size = self.size(eps, 2.5 / self.steps)
            adversarial = climb(model, images, start, cross_entropy_sum(labels), eps, size, self.steps)
        return context.loss(model, adversarial, labels, clean=0)


@dataclass(frozen=True, kw_only=True)
class Trades(Stepped):
    """J(x) + β · max over the ε-ball of KL(p(x) ‖ p(x')), by `steps` of 2.5 ε / steps from x + 0.001·N(0, 1)."""

    name, source = "trades", "Zhang et al., 2019, algorithm 1 (β = 1/λ)"
    adds_clean = True

    steps: int = 10
    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps")
        self._put(check_real, "beta", low=0)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        eps = self.budget(images, context)
        normal = torch.erfinv(context.noise("start", images) * (1 - 1e-6)) * math.sqrt(2)
        with evaluation_mode(model):
            with torch.no_grad():
                clean = model(images)
            start = BALL.into(BALL.rounded_box(images, eps), images + 0.001 * normal)
            size = self.size(eps, 2.5 / self.steps)
            adversarial = climb(model, images, start, lambda z: divergence(clean, z, "sum"), eps, size, self.steps)
        count = len(images)
        logits, auxiliary = context.forward(model, _both(images, adversarial), _both(labels, labels), clean=count)
        natural = context.cross_entropy(logits[:count], [head[:count] for head in auxiliary], labels)
        return natural + self.beta * divergence(logits[:count], logits[count:], "batchmean")


def divergence(clean: Tensor, adversarial: Tensor, reduction: str) -> Tensor:
    """KL(softmax(clean) ‖ softmax(adversarial)) of logits (N, K), reduced by "sum" or "batchmean"."""
    clean, adversarial = (F.log_softmax(at_least_float32(logits), dim=1) for logits in (clean, adversarial))
    return F.kl_div(adversarial, clean, reduction=reduction, log_target=True)


def objective(name: str, **settings: Any) -> Objective:
    """An objective by its name, e.g. objective("fgsm-mixed", eps="8/255").

    Args:
        name: Of OBJECTIVES.
        settings: Fields of that class, by name.

    Returns:
        The objective, checked, as `fit` takes it.

    Raises:
        EscrimeError: For an unknown name or setting (with the nearest valid one) and for impossible values.
    """
    if not isinstance(name, str):
        raise EscrimeError(f"objective {name!r} is not a name; use one of {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[check_choice("objective", name, OBJECTIVES)](**settings)
