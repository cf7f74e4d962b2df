"""The peers behind one interface: every method takes a Work and returns its adversarial images, one tensor per ε.

None has DGSM. Their nearest is targeted PGD from the clean image: the same steps down the cross-entropy of the target.
"""

import importlib
import logging
import os
import sys
import warnings
from types import ModuleType

import torch
from torch import Tensor, nn

from .options import tell
from .work import Work

INSTALL = (
    "pip install --no-deps --target peers torchattacks==3.5.1 foolbox==3.3.4 eagerpy adversarial-robustness-toolbox==1.20.1 "
    "pyautoattack==0.2.0 gitpython gitdb smmap six tqdm requests idna urllib3 certifi charset-normalizer, then set PEERS=peers"
)


class Foolbox:
    """foolbox: its own sweep where it has one; BIM and PGD take an absolute step size, so a call per ε."""

    name, module = "foolbox", "foolbox"

    def fgsm(self, work: Work) -> list[Tensor]:
        attack = self.library.attacks.LinfFastGradientAttack()
        return attack(self._wrapped(work), work.images, work.labels, epsilons=list(work.epsilons))[1]

    def directed(self, work: Work) -> list[Tensor]:
        criterion = self.library.criteria.TargetedMisclassification(work.targets)
        return self._steps(work, self.library.attacks.LinfBasicIterativeAttack, criterion, random_start=False)

    def pgd(self, work: Work) -> list[Tensor]:
        return self._steps(work, self.library.attacks.LinfPGD, work.labels, random_start=True)

    def fmn(self, work: Work, norm: str) -> Tensor:
        """Minimum-norm examples; the clean image where none was found."""
        attack = getattr(self.library.attacks, {"linf": "LInfFMNAttack", "l2": "L2FMNAttack"}[norm])(steps=work.steps)
        return attack(self._wrapped(work), work.images, work.labels, epsilons=None)[0]

    def _steps(self, work: Work, kind, criterion, random_start: bool) -> list[Tensor]:
        model, found = self._wrapped(work), []
        for eps in work.epsilons:
            attack = kind(abs_stepsize=work.step_size(eps), steps=work.steps, random_start=random_start)
            found.append(attack(model, work.images, criterion, epsilons=eps)[1])
        return found

    def _wrapped(self, work: Work):
        return self.library.PyTorchModel(work.model, bounds=(0, 1), device=work.images.device)


class Torchattacks:
    """torchattacks: one attack object per ε."""

    name, module = "torchattacks", "torchattacks"

    def fgsm(self, work: Work) -> list[Tensor]:
        return [self.library.FGSM(work.model, eps=eps)(work.images, work.labels) for eps in work.epsilons]

    def directed(self, work: Work) -> list[Tensor]:
        found = []
        for eps in work.epsilons:
            attack = self._pgd(work, eps, random_start=False)
            attack.set_mode_targeted_by_label(quiet=True)
            found.append(attack(work.images, work.targets))
        return found

    def pgd(self, work: Work) -> list[Tensor]:
        return [self._pgd(work, eps, random_start=True)(work.images, work.labels) for eps in work.epsilons]

    def autoattack(self, work: Work) -> list[Tensor]:
        with torch.no_grad():
            classes = work.model(work.images[:1]).shape[1]
        kind = self.library.AutoAttack
        return [kind(work.model, eps=eps, n_classes=classes, seed=0)(work.images, work.labels) for eps in work.epsilons]

    def _pgd(self, work: Work, eps: float, random_start: bool):
        step = work.step_size(eps)
        return self.library.PGD(work.model, eps=eps, alpha=step, steps=work.steps, random_start=random_start)


class ART:
    """ART: numpy in and out, through its estimator. It refuses ε = 0, for which it is given the clean images for free."""

    name, module = "ART", "art"

    def fgsm(self, work: Work) -> list[Tensor]:
        from art.attacks.evasion import FastGradientMethod

        return self._run(work, work.labels, lambda estimator, eps, batch: FastGradientMethod(estimator, eps=eps, **batch))

    def directed(self, work: Work) -> list[Tensor]:
        return self._pgd(work, work.targets, targeted=True, num_random_init=0)

    def pgd(self, work: Work) -> list[Tensor]:
        return self._pgd(work, work.labels, targeted=False, num_random_init=1)

    def _pgd(self, work: Work, goals: Tensor, **options) -> list[Tensor]:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch

        def make(estimator, eps, batch):
            step = {"eps_step": work.step_size(eps), "max_iter": work.steps, "verbose": False}
            return ProjectedGradientDescentPyTorch(estimator, eps=eps, **step, **batch, **options)

        return self._run(work, goals, make)

    def _run(self, work: Work, goals: Tensor, make) -> list[Tensor]:
        estimator, device = art_classifier(work.model, work.images), work.images.device
        images, goals, found = work.images.cpu().numpy(), goals.cpu().numpy(), []
        for eps in work.epsilons:
            attack = make(estimator, eps, {"batch_size": len(images)}) if eps else None
            found.append(torch.from_numpy(attack.generate(x=images, y=goals)).to(device) if attack else work.images)
        return found


def art_classifier(model: nn.Module, images: Tensor):
    """The model as ART's estimator, for images like these (N, C, H, W)."""
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    return PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.device.type == "cuda" else "cpu",
    )


class PyAutoAttack:
    """pyautoattack: the maintained form of the authors' AutoAttack, version 'standard'."""

    name, module = "pyautoattack", "pyautoattack"

    def autoattack(self, work: Work) -> list[Tensor]:
        found = []
        for eps in work.epsilons:
            attack = self.library.AutoAttack(work.model, norm="Linf", eps=eps, seed=0, device=work.images.device)
            attack.verbose = False
            found.append(attack.run_standard_evaluation(work.images, work.labels, batch_size=len(work.images))[0])
        return found


def imported(name: str) -> ModuleType | None:
    """A module of a peer, after `available`; None, and a line that says so, where it cannot be imported."""
    sys.modules.setdefault("visdom", ModuleType("visdom")).Visdom = object  # adv-lib imports it for its plots
    try:
        return importlib.import_module(name)
    except Exception as error:  # a peer may fail on import in any way
        tell(f"{name} is left out: {type(error).__name__}: {error}")
        return None


def available() -> tuple[list, list[str]]:
    """The peers that can be imported, and one sentence for each that cannot."""
    if folders := os.environ.get("PEERS"):
        sys.path += folders.split(os.pathsep)  # last: what the peers bring along must not hide this environment's own packages
    peers, absent = [], []
    for kind in (Foolbox, Torchattacks, ART, PyAutoAttack):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                library = importlib.import_module(kind.module)
        except Exception as error:  # a peer may fail on import in any way
            absent.append(f"{kind.name} is left out: it cannot be imported ({type(error).__name__}: {error}).")
            continue
        peer = kind()
        peer.library = library
        peers.append(peer)
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    if absent:
        absent.append(f"To install the peers: {INSTALL}.")
    return peers, absent
