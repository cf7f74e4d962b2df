"""l1 and l0 beside the peers: what is left right within ε, and the median distance, each with the time to come as near.

    PEERS=peers python -m benchmarks.sparse --data imagenette --folder DIR --small S.safetensors \\
        --small-robust SR.safetensors --images 48 --rounds 2

l1: APGD and AutoAttack against those of adv-lib, pyautoattack and ART and foolbox's sparse descent; the median distance of FMN
against FMN, PDPGD and ALMA. l0: sigma-zero, FMN, AutoAttack and Sparse-RS. adv-lib's and foolbox's attacks count single color
values, escrime's norm counts pixels: both are compared, pixels, and values on the same network seen through `Values`, at as
many.
To install the peers (adv-lib too): """

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import escrime
from escrime.attacks.core.base import Attack

from .models import SETTINGS, Subject
from .options import listed, make_subject, parser
from .peers import INSTALL, art_classifier, available, imported
from .reaching import HEAD, Call, Measure, accuracy, distance, rows, run
from .searches import fmn_peers

STEPS, QUERIES = 100, 200
ALL_STEPS = 3 * STEPS  # of the stages of AutoAttack in l0 that follow gradients
LADDER = (10, 20, 40, STEPS)
KINDS = ("l1", "l1-distance", "l0", "values", "l0-scores", "l0-verdict", "l1-verdict")


class Values(nn.Module):
    """A model of images (N, 1, C·H, W) whose pixels are the color values of those it was made for: there l0 counts values."""

    def __init__(self, model: nn.Module, shape: tuple[int, int, int]):
        super().__init__()
        self.model, self.shape = model, shape

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.reshape(len(images), *self.shape))


def values(subject: Subject) -> Subject:
    """The subject with one channel."""
    n, channels, height, width = subject.images.shape
    model = Values(subject.model, (channels, height, width)).eval()
    return Subject(model, subject.images.reshape(n, 1, channels * height, width), subject.labels, subject.random)


def apgd_peers(subject: Subject, eps: float, steps: int) -> dict[str, Call]:
    """One run of so many steps in l1, on the cross-entropy."""
    model, images, labels = subject.model, subject.images, subject.labels
    calls: dict[str, Call] = {}
    if advlib := imported("adv_lib.attacks.auto_pgd"):
        for name, large in (("adv-lib", False), ("adv-lib, large radii", True)):
            settings = dict(eps=eps, norm=1, n_iter=steps, loss_function="ce", use_large_reps=large)
            calls[name] = lambda settings=settings: advlib.apgd(model, images, labels, **settings)
    if library := imported("pyautoattack"):

        def run() -> Tensor:
            attack = library.AutoAttack(model, norm="L1", eps=eps, seed=0, version="custom", attacks=["apgd-ce"])
            attack.verbose, attack.apgd.n_restarts, attack.apgd.n_iter, attack.apgd.use_largereps = False, 1, steps, True
            return attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]

        calls["pyautoattack"] = run
    if art := imported("art.attacks.evasion"):

        def art_run() -> Tensor:
            settings = dict(eps=eps, eps_step=2 * eps, max_iter=steps, nb_random_init=1, loss_type="cross_entropy")
            estimator = art_classifier(model, images)
            attack = art.AutoProjectedGradientDescent(estimator, norm=1, batch_size=len(images), verbose=False, **settings)
            return torch.from_numpy(attack.generate(x=images.cpu().numpy(), y=labels.cpu().numpy())).to(images)

        calls["ART"] = art_run
    if foolbox := imported("foolbox"):
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        sparse = foolbox.attacks.SparseL1DescentAttack(steps=steps, random_start=True)
        calls["foolbox, sparse descent"] = lambda: sparse(wrapped, images, labels, epsilons=eps)[1]
    return calls


def verdict_peers(subject: Subject, eps: float) -> dict[str, Call]:
    """The whole AutoAttack in l1."""
    library = imported("pyautoattack")
    if library is None:
        return {}

    def run() -> Tensor:
        attack = library.AutoAttack(subject.model, norm="L1", eps=eps, seed=0)
        attack.verbose = False
        return attack.run_standard_evaluation(subject.images, subject.labels, batch_size=len(subject.images))[0]

    return {"pyautoattack": run}


def nearest_peers(subject: Subject, norm: str, steps: int) -> dict[str, Call]:
    """Minimum-norm attacks of so many steps."""
    model, images, labels = subject.model, subject.images, subject.labels
    calls = {f"{name}'s FMN": call for name, call in fmn_peers(subject, norm, steps).items()}
    if norm == "l1" and (dual := imported("adv_lib.attacks.primal_dual_gradient_descent")):
        calls["PDPGD"] = lambda: dual.pdpgd(model, images, labels, norm=1, num_steps=steps)
    if norm == "l0" and (zero := imported("adv_lib.attacks.sigma_zero")):
        calls["sigma-zero"] = lambda: zero.sigma_zero(model, images, labels, num_steps=steps)
    if norm == "l1" and (alma := imported("adv_lib.attacks.augmented_lagrangian")):
        calls["ALMA"] = lambda: alma.alma(model, images, labels, distance="l1", num_steps=steps, α=0.5, init_lr_distance=1.0)
    return calls


def score_peers(subject: Subject, count: int, queries: int) -> dict[str, Call]:
    """Attacks on `count` pixels by the model's scores alone, with about so many queries."""
    library = imported("torchattacks")
    if library is None:
        return {}
    people = 5 * count  # differential evolution: one for each of the pixels' numbers
    one = library.OnePixel(subject.model, pixels=count, steps=max(queries // people - 1, 1), popsize=people, inf_batch=queries)
    swaps = library.Pixle(subject.model, restarts=count, max_iterations=queries // count, x_dimensions=1, y_dimensions=1)
    return {"OnePixel": lambda: one(subject.images, subject.labels), "Pixle": lambda: swaps(subject.images, subject.labels)}


@dataclass(frozen=True)
class Part:
    """What is measured of one kind of work. own: escrime's attacks by name, each made from a budget of the ladder."""

    work: str
    measure: Measure
    own: dict[str, Callable[[int], Attack]]
    ladder: tuple[int, ...] = LADDER


def lengths(kind: str, subject: Subject, eps: float) -> tuple[dict[str, Call], list[Part]]:
    """The peers and the parts of a kind in l1, at ε."""
    within = accuracy(subject, "l1", eps)
    if kind == "l1":
        own = {"APGD": lambda k: escrime.APGD(eps, k, norm="l1")}
        return apgd_peers(subject, eps, STEPS), [Part(f"l1, ε = {eps:g}, {STEPS} steps", within, own)]
    if kind == "l1-verdict":
        own = {"AutoAttack": lambda k: escrime.AutoAttack(eps, "l1", k)}
        return verdict_peers(subject, eps), [Part(f"l1, ε = {eps:g}", within, own, (STEPS,))]
    own = {"FMN": lambda k: escrime.FMN(norm="l1", steps=k)}
    return nearest_peers(subject, "l1", STEPS), [Part(f"l1, median, {STEPS} steps", distance(subject, "l1"), own)]


def counts(kind: str, subject: Subject, count: int) -> tuple[dict[str, Call], list[Part]]:
    """The same in l0, at so many pixels."""
    within = accuracy(subject, "l0", count)
    if kind == "l0-verdict":
        own = {"AutoAttack": lambda k: escrime.AutoAttack(count, "l0", k)}
        work = f"{count} pixels, the peers' {ALL_STEPS} steps"
        return nearest_peers(subject, "l0", ALL_STEPS), [Part(work, within, own, (STEPS,))]
    if kind == "l0-scores":
        ladder = (QUERIES // 4, QUERIES // 2, QUERIES)
        own = {"Sparse-RS": lambda k: escrime.SparseRS(count, k)}
        return score_peers(subject, count, QUERIES), [Part(f"{count} pixels, {QUERIES} queries", within, own, ladder)]
    what = "values" if kind == "values" else "pixels"
    least = {
        "sigma-zero": lambda k: escrime.SigmaZero(count, steps=k, stop_within=True),
        "FMN": lambda k: escrime.FMN(count, "l0", steps=k, stop_within=True),
    }
    free = {"sigma-zero": lambda k: escrime.SigmaZero(steps=k), "FMN": lambda k: escrime.FMN(norm="l0", steps=k)}
    parts = [Part(f"{what}, median, {STEPS} steps", distance(subject, "l0"), free)]
    if kind == "l0":
        parts.append(Part(f"{count} pixels, {STEPS} steps", within, least))
    return nearest_peers(subject, "l0", STEPS), parts


def measured(kind: str, subject: Subject, eps: float, count: int, rounds: int) -> list[str]:
    """The rows of one kind of work, at ε in l1 and `count` pixels in l0."""
    on, device = values(subject) if kind == "values" else subject, subject.images.device
    calls, parts = lengths(kind, on, eps) if kind.startswith("l1") else counts(kind, on, count)
    peers, lines = run(calls, device), []
    for part in parts:
        own = {name: lambda k, make=make: lambda: make(k)(on.model, on.images, on.labels) for name, make in part.own.items()}
        lines += rows(part.work, part.measure, peers, own, part.ladder, rounds, device)
    return lines


def main() -> int:
    options = parser(__doc__ + INSTALL + ".")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--kinds", type=listed(KINDS), default=list(KINDS), help=f"of {','.join(KINDS)} (default: all)")
    options.add_argument("--l1", type=float, nargs=2, default=(4, 12), metavar="EPS", help="both networks' (default: 4 12)")
    options.add_argument("--l0", type=int, nargs=2, default=(6, 12), metavar="PIXELS", help="the same in l0 (default: 6 12)")
    options.set_defaults(settings=["small"])
    options = options.parse_args()
    available()  # makes PEERS importable
    for setting in (SETTINGS[name] for name in options.settings):
        for hardened in (False, True):
            subject = make_subject(options, setting, hardened)
            print(f"\n{setting.title}, {'adversarially trained' if hardened else 'undefended'}:\n", *HEAD, sep="\n")
            for kind in options.kinds:
                print(
                    *measured(kind, subject, options.l1[hardened], options.l0[hardened], options.rounds), sep="\n", flush=True
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
