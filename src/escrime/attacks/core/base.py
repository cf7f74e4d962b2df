"""What an attack is: a frozen dataclass of its settings that maps (model, images, labels) to adversarial images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_type_hints

import torch
from torch import Tensor, nn

from ...access import GRADIENTS, Access
from ...errors import EscrimeError
from ...models import deadline
from ...models.fast.twin import Twin
from ...models.running import Classifier, differentiable, failure_named, no_trace, passes_per_image, refuse_inference_tensors
from ...norms import DEFAULT, Norm, norm, refuse_mask
from ...progress import ProgressOption, shown
from ...validation import CheckedFields, check_type, check_whole
from .inputs import Inputs
from .masks import confined

Kind = Literal["fixed budget", "nearest", "search", "surrogates"]
Epsilon = float | str | tuple[float, ...]  # of all images, as a number or a text such as "8/255", or one number per image


@dataclass(frozen=True)
class Outcome:
    """What an attack found at one ε, and what it cost.

    Args:
        adversarial: The images, float32 (N, C, H, W).
        forwards: Forward passes of the network spent on each image, (N,).
        backwards: Backward passes, (N,).
        success: Which images the original model, never its faster copy, was seen to misclassify (or to put into the target
            class), (N,) bool; None where the attack did not verify that (FGSM, averages over noise). An evaluation always
            verifies for itself.
        parameters: In a rendered norm what each image was made from, float64 (N, P), NaN where it is as it was.
    """

    adversarial: Tensor
    forwards: Tensor
    backwards: Tensor
    success: Tensor | None = None
    parameters: Tensor | None = None


class Attack(CheckedFields):
    """Base of the attacks: `attack(model, images, labels)` returns adversarial images.

    A subclass is a frozen dataclass whose fields are its settings: `eps`, and optionally `norm` ("linf" without it),
    `target` (the class to reach; None for any misclassification) and `eot` (noise draws of a randomized model averaged in
    each gradient, which such a model needs). Each is held to its type hint here, and to its bounds in `__post_init__` of the
    subclass. It implements `_sweep(twin, inputs, budgets, wanted)`, which returns one Outcome
    per ε.

    Class attributes describe the attack, and every list of attacks is made from them (see registry.py):

    - norms: the norms of its budget.
    - access: the least that the model must give away; None: nothing is concluded from how it compares with others.
    - kind: "fixed budget" where it makes the best example for the ε it is given, "nearest" where it looks for the nearest one
      whatever ε is, "search" where it looks for the smallest ε at which another attack succeeds, "surrogates" where it makes
      another attack on such.
    - paper: authors, year, title, arXiv number.
    - needs_target: it cannot do without a class to reach.
    - usual: the settings with which `escrime evaluate` runs it by its name, where they are not the defaults.
    - variants: label → settings, where `escrime evaluate` runs it several times, under those labels.
    - exhausts: whether it tries all that a threat allows, so that there is no stronger attack to look for.
    - confirms: whether, against noise, it leaves an image only once fresh draws make its success certain.
    """

    norms: ClassVar[tuple[str, ...]] = ()
    access: ClassVar[Access | None] = None
    kind: ClassVar[Kind] = "fixed budget"
    paper: ClassVar[str] = ""
    needs_target: ClassVar[bool] = False
    usual: ClassVar[dict[str, Any]] = {}
    variants: ClassVar[dict[str, dict[str, Any]]] = {}

    eps: Epsilon | None  # read as one number, or a tuple of one per image; None where there is no budget
    norm: str = DEFAULT
    target: int | None = None
    eot: int = 1
    if TYPE_CHECKING:  # only read, so that a subclass may have a property in its place

        @property
        def confirms(self) -> bool: ...
        @property
        def exhausts(self) -> bool: ...
    else:
        confirms = exhausts = False

    def __post_init__(self) -> None:
        norm(self.norm)  # refuses a name that is none
        object.__setattr__(self, "eps", self._budget(self.eps))
        for name, (kind, default) in self._typed().items():
            if (value := getattr(self, name)) is not default:  # which needs no check, whatever a user's class says of it
                hint = "" if default is MISSING or default is None else f"such as {default}"
                object.__setattr__(self, name, check_type(name, value, kind, hint=hint))
        check_whole("eot", self.eot, of="draws of the model's noise per gradient")

    @classmethod
    def _typed(cls) -> dict[str, tuple[Any, Any]]:
        """Setting beside ε → its type and its default."""
        try:
            hints = get_type_hints(cls)
        except NameError:  # types that only a checker sees
            return {}
        if not is_dataclass(cls):
            return {}
        return {field.name: (hints[field.name], field.default) for field in fields(cls) if field.name != "eps"}

    @property
    def name(self) -> str:
        """The name in records; hashed into the randomness of each image."""
        return type(self).__name__

    @property
    def geometry(self) -> Norm:
        """What its norm means: distances, projection, the steepest direction; see `norms`."""
        return norm(self.norm)

    @property
    def manner(self) -> str:
        """What the checks of records compare it as: "single" for one gradient step, "iterated" for more, "scores" for a search
        without gradients, "distance" where it looks for the nearest example, "exhausted" where it tries all that there is,
        "universal" for one perturbation of all images; "" where it takes no step or has no `access`."""
        if self.exhausts:
            return "exhausted"
        steps = getattr(self, "steps", 1)
        if self.access is None or steps < 1:
            return ""
        if self.kind == "nearest":
            return "distance"
        return "scores" if self.access != GRADIENTS else "iterated" if steps > 1 else "single"

    @property
    def _own(self) -> set[str]:
        """The names of its settings."""
        return {field.name for field in fields(self)} if is_dataclass(self) else set()

    def redrawn(self) -> "Attack":
        """The same attack for a look at what another seed draws, less what no seed changes; itself where all of it is drawn."""
        return self

    def against_noise(self, eot: int) -> "Attack":
        """The same attack for a randomized model. One lucky draw is no success: no job leaves early, unless it `confirms` by
        fresh draws what it leaves.

        Args:
            eot: The least number of noise draws averaged in each gradient (expectation over transformation).

        Returns:
            An attack of the same class.

        Raises:
            EscrimeError: If the class has no setting `eot`.
        """
        draws = max(eot, self.eot)
        changes: dict[str, int | None] = {"stop_within": False, "eot": draws}
        if not (self.confirms and draws > 1):
            changes |= {"early_stop": False, "give_up": None}
        if not is_dataclass(self) or "eot" not in self._own:
            raise EscrimeError(
                f"{self.name} has no setting eot, how many noise draws of a randomized model are behind each gradient; add the "
                "field `eot: int = 1` to the class."
            )
        return replace(self, **{name: value for name, value in changes.items() if name in self._own})

    def __call__(
        self,
        model: Classifier | Twin,
        images: Any,
        labels: Any = None,
        *,
        targets: Tensor | None = None,
        seed: int = 0,
        ids: Sequence[object] | None = None,
        mask: Any = None,
        progress: ProgressOption = None,
    ) -> Tensor:
        """Adversarial images. The model is left as it was, and a call under torch.inference_mode() is like any other.

        Args:
            model: The classifier, images (N, C, H, W) → logits (N, K): an nn.Module, or any callable as a black box. Outputs
                with `.logits` or "logits", tuples and single logits are read too (see `models.outputs`).
            images: float32 (N, C, H, W) in [0, 1]: a tensor, a NumPy array of floats, a list of PIL pictures; without `labels`
                a DataLoader, a Dataset, rows: see `data.given.read`.
            labels: The true classes, (N,).
            targets: The classes to reach, (N,); None for the `target` of the settings, or any misclassification.
            seed: Of the randomness of all images.
            ids: One per image, by default 0, 1, …, or those of data without `labels`; with the seed they fix the randomness of
                each image whatever the batch it is in.
            mask: Which pixels may change, (H, W) for all images or (N, 1, H, W), bool or 0 and 1: the others stay as they are,
                to the last bit. None for all.
            progress: True for a bar, a callable (done, total, note) that is called with network passes, False for neither; by
                default a bar on a terminal or in a notebook, once the attack has taken two seconds.

        Returns:
            float32 of the shape of `images`, in [0, 1] and within ε to the last bit.

        Raises:
            EscrimeError: For images outside the contract, a target that equals the label, a model that returns NaN or
                infinity, or raises on the images as they are, one that was made under torch.inference_mode(), or a mask that
                is none.
        """
        about: dict[str, Any] = {"targets": targets, "seed": seed, "ids": ids, "mask": mask, "progress": progress}
        try:
            return self.sweep(model, images, labels, [self.eps], **about)[0].adversarial
        except EscrimeError:
            raise
        except Exception:
            _refuse_images(model, images)
            raise

    def sweep(
        self,
        model: Classifier | Twin,
        images: Any,
        labels: Any = None,
        epsilons: Sequence[Epsilon | Tensor | None] = (),
        *,
        targets: Tensor | None = None,
        seed: int = 0,
        ids: Sequence[object] | None = None,
        mask: Any = None,
        progress: ProgressOption = None,
    ) -> list[Outcome]:
        """The attack at every ε of `epsilons`.

        Args:
            model: As in a call. The attack runs on a faster copy of it, made here; give an `escrime.models.fast.twin.Twin` to
                use one copy for several calls.
            images: As in a call.
            labels: As in a call.
            epsilons: Each a number, or one number per image (N,).
            targets: As in a call.
            seed: As in a call.
            ids: As in a call.
            mask: As in a call.
            progress: As in a call.

        Returns:
            One Outcome for each ε, in order.

        Raises:
            EscrimeError: As a call does.
        """
        with differentiable():
            inputs = Inputs.checked(images, labels, targets, self.target, seed, ids, _device_of(model), mask)
            if mask is not None:
                refuse_mask(self.geometry, f"attack {self.name!r}")
            budgets = self._budgets([self._budget(e) for e in epsilons], inputs.images)
            if not len(budgets):
                return []
            if not len(inputs.images):
                nothing = torch.zeros(0)
                return [Outcome(inputs.images, nothing, nothing, nothing.bool()) for _ in epsilons]
            twin = model if isinstance(model, Twin) else Twin(model)
            if isinstance(twin.copy, nn.Module):
                refuse_inference_tensors(twin.copy)  # a Twin may have been made under it too
            jobs = budgets.numel() * passes_per_image(twin.model)
            with no_trace(twin.model, inputs.images.device), self._watched(progress, jobs):
                outcomes = self._sweep(twin, inputs, budgets, torch.ones_like(budgets, dtype=torch.bool))
                return [_within(inputs, outcome) for outcome in outcomes]

    @contextmanager
    def _watched(self, progress: ProgressOption, jobs: int) -> Iterator[None]:
        """Within the block, tell of the network passes of so many `jobs` (image, ε, copy) as `progress` asks for. Inside of
        another's work, which has its own bar, nothing is drawn by default."""
        with nullcontext() if progress is None and deadline.is_listened_to() else shown(progress, self.name) as listener:
            if listener is None:
                yield
                return
            expected, done = float(jobs * max(getattr(self, "steps", 0), getattr(self, "queries", 0), 1)), 0.0
            expected *= getattr(self, "eot", 1)

            def count(passes: int) -> None:
                nonlocal done, expected
                done += passes
                expected = max(expected, done)
                listener(done, expected, self.name)

            with deadline.listening(count):
                yield
            listener(expected, expected, self.name)

    def _budget(self, eps: Any) -> float | tuple[float, ...] | None:
        """ε as a number, or a tuple of one per image; from whatever a user may give."""
        if hasattr(eps, "tolist"):  # torch's, NumPy's
            eps = eps.flatten().tolist() if eps.ndim else eps.item()
        if isinstance(eps, (list, tuple)):
            return tuple(self.geometry.epsilon(e) for e in eps)
        return self.geometry.epsilon(eps)

    def _budgets(self, epsilons: Sequence[float | tuple[float, ...] | None], images: Tensor) -> Tensor:
        """ε of every sweep step and image, (K, N) float64 on the CPU."""
        for eps in epsilons:
            if isinstance(eps, tuple) and len(eps) != len(images):
                raise EscrimeError(f"eps holds {len(eps)} values for {len(images)} images; give one number, or one per image.")
        rows = [torch.as_tensor(eps, dtype=torch.float64).expand(len(images)) for eps in epsilons]
        return torch.stack(rows) if rows else torch.zeros(0, len(images), dtype=torch.float64)

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        """One Outcome per row of `budgets` (K, N); entries not `wanted` (K, N) may be left as the clean image."""
        raise NotImplementedError


def _refuse_images(model: Classifier | Twin, images: Any) -> None:
    """Raise EscrimeError if the model raises on the images (N, C, H, W) as they are: they are none that it was made for."""
    asked, size = model.model if isinstance(model, Twin) else model, " × ".join(map(str, images.shape[1:]))
    remedy = "give images of the channels and the size that it was made for, or mend the model"
    fails = f"the model raised on images of {size} as they are, without any attack"
    with failure_named(fails, remedy), torch.no_grad(), no_trace(asked, images.device):
        asked(images.clone())


def _within(inputs: Inputs, outcome: Outcome) -> Outcome:
    """The outcome with every pixel outside of the mask as it was. Of an attack of a user's that knows no mask, what it has seen
    to succeed was another image."""
    if inputs.mask is None:
        return outcome
    kept = confined(outcome.adversarial, inputs.images, inputs.mask)
    strayed = (kept != outcome.adversarial).flatten(1).any(1).cpu()
    success = None if outcome.success is None or strayed.any() else outcome.success
    return replace(outcome, adversarial=kept, success=success)


def _device_of(model: Classifier | Twin) -> torch.device | None:
    """Where a module's first parameter is; None without any."""
    network = model.model if isinstance(model, Twin) else model
    return next((each.device for each in network.parameters()), None) if isinstance(network, nn.Module) else None
