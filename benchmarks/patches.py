"""Patches beside ART's AdversarialPatchPyTorch at equal iterations: how many images each fools, and how much sooner.

    PEERS=peers python -m benchmarks.patches --data imagenette --folder DIR --small S.safetensors \\
        --small-robust SR.safetensors --images 96 --side 8 --rounds 2

One patch for all images is fitted on one half of them and judged by the other, both sides' by the same places, escrime's and
ART's own. Patches for one image: at a place that is given, at one that nobody chooses, and (escrime's alone) at one that is
chosen. Neither turns nor shrinks them. ART's gets the better of two optimizers.
To install the peers: """

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import escrime

from .models import SETTINGS, Subject
from .options import make_subject, parser, tell
from .peers import INSTALL, art_classifier, available, imported
from .reaching import fooled
from .timing import in_turns, one_thread, ratio

# ART's own, Adam with 5.0, is for colors up to 255.
OPTIMIZERS = {"Adam, 0.1": ("Adam", 0.1), "signs, 0.05": ("pgd", 0.05)}
BATCH, LOOKS, PLACES = 16, 8, 4


def art_patch(subject: Subject, side: int, steps: int, optimizer: str, place: tuple[int, int] | None = None):
    """ART's attack, after so many passes over the images, and its patch (C, side, side)."""
    kind, rate = OPTIMIZERS[optimizer]
    channels, height, _ = subject.images.shape[1:]
    share = side / height
    attack = imported("art.attacks.evasion").AdversarialPatchPyTorch(
        art_classifier(subject.model, subject.images),
        rotation_max=0.0,
        scale_min=share,
        scale_max=share,
        learning_rate=rate,
        max_iter=steps,
        batch_size=BATCH,
        patch_shape=(channels, side, side),
        patch_location=place,
        patch_type="square",
        optimizer=kind,
        targeted=False,
        verbose=False,
    )
    patch, _ = attack.generate(x=subject.images.numpy(), y=subject.labels.numpy())
    return attack, torch.from_numpy(patch).float()


def part(subject: Subject, at: slice) -> Subject:
    """Some of the images."""
    return Subject(subject.model, subject.images[at], subject.labels[at], subject.random)


def universal(subject: Subject, side: int, epochs: int, rounds: int) -> list[str]:
    """Rows about one patch for all images."""
    half = len(subject.images) // 2 // BATCH * BATCH  # the same batches on both sides
    seen, held = part(subject, slice(0, half)), part(subject, slice(half, None))
    settings = escrime.UniversalPatch(side, epochs * half // BATCH, 1, BATCH, angle=0.0, smallest=1.0)
    fit = lambda: settings.fit(seen.model, seen.images, seen.labels)  # noqa: E731
    ours = fit()
    made = {"ours": ours.made[float(side)]}
    attacks = {}
    for name in OPTIMIZERS:
        _seed()
        attacks[name], made[name] = art_patch(seen, side, epochs, name)
    share = side / subject.images.shape[2]

    def by_us(patch: Tensor) -> float:
        fitted = type(ours)(settings, {float(side): patch})
        return _mean(lambda seed: fooled(held, fitted(held.model, held.images, held.labels, seed=seed)))

    def by_them(patch: Tensor) -> float:
        attack = attacks[next(iter(attacks))]

        def drawn(seed: int) -> Tensor:
            _seed(seed)
            placed = attack.apply_patch(held.images.numpy(), share, patch_external=patch.numpy())
            return fooled(held, torch.from_numpy(placed))

        return _mean(drawn)

    faster = _faster(lambda: art_patch(seen, side, epochs, next(iter(OPTIMIZERS))), fit, rounds)
    lines = []
    for judge, judged in (("at escrime's places", by_us), ("at ART's places", by_them)):
        shares = {name: judged(patch) for name, patch in made.items()}
        own = shares.pop("ours")
        lines.append(_line(f"one for all, {epochs} epochs, {judge}", shares, own, faster))
    return lines


def single(subject: Subject, side: int, steps: int, rounds: int) -> list[str]:
    """Rows about a patch for each image, of so many steps."""
    images, labels, model = subject.images, subject.labels, subject.model
    corner = (images.shape[2] - side) // 2
    window = torch.zeros(images.shape[2:], dtype=torch.bool)
    window[corner : corner + side, corner : corner + side] = True

    def theirs(name: str, place: tuple[int, int] | None) -> Tensor:
        _seed()
        found = []
        for i in range(len(images)):
            one = part(subject, slice(i, i + 1))
            attack, _ = art_patch(one, side, steps, name, place)
            found.append(torch.from_numpy(attack.apply_patch(one.images.numpy(), side / images.shape[2])))
        return torch.cat(found).float()

    chosen = escrime.Patch(side, steps, 1)
    anywhere = escrime.RandomPatch(side, steps // PLACES, PLACES, angle=0.0, smallest=1.0)
    lines = []
    for work, place, ours in (
        ("at a given place", (corner, corner), lambda: chosen(model, images, labels, mask=window)),
        ("where it lands", None, lambda: anywhere(model, images, labels)),
    ):
        shares = {name: float(fooled(subject, theirs(name, place)).double().mean()) for name in OPTIMIZERS}
        own = float(fooled(subject, ours()).double().mean())
        faster = _faster(lambda place=place: theirs(next(iter(OPTIMIZERS)), place), ours, rounds)
        lines.append(_line(f"one for each, {steps} steps, {work}", shares, own, faster))
    free = float(fooled(subject, chosen(model, images, labels)).double().mean())
    return [*lines, f"| one for each, {steps} steps, at a place that it chooses | – | {free:.1%} | |"]


def _faster(theirs: Callable[[], object], ours: Callable[[], object], rounds: int) -> float:
    """How many times; ART's optimizers cost the same."""
    device = torch.device("cpu")
    times = in_turns({"theirs": theirs, "ours": ours}, rounds, device, one_thread(device))
    return ratio(times["theirs"], times["ours"])


def _line(work: str, theirs: dict[str, float], ours: float, faster: float) -> str:
    best = max(theirs, key=lambda name: theirs[name])
    return f"| {work} | {theirs[best]:.1%} ({best}) | {ours:.1%} | {faster:.1f}× |"


def _mean(flags: Callable[[int], Tensor]) -> float:
    """The mean over several draws of the places."""
    return float(torch.stack([flags(seed).double().mean() for seed in range(LOOKS)]).mean())


def _seed(seed: int = 0) -> None:
    """Of the generators that ART draws from."""
    np.random.seed(seed)
    torch.manual_seed(seed)


def main() -> int:
    options = parser(__doc__ + INSTALL + ".")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--side", type=int, default=8, metavar="PIXELS")
    options.add_argument("--epochs", type=int, default=30, help="of the patch for all images (default: 30)")
    options.add_argument("--few", type=int, default=32, metavar="N", help="images with a patch each (default: 32)")
    options.add_argument("--steps", type=int, default=40, help="of patches for one image (default: 40)")
    options.set_defaults(settings=["small"], images=96)
    options = options.parse_args()
    available()  # makes PEERS importable
    if imported("art") is None:
        tell(f"To install ART: {INSTALL}.")
        return 2
    for setting in (SETTINGS[name] for name in options.settings):
        for hardened in (False, True):
            subject = make_subject(options, setting, hardened)
            print(f"\n{setting.title}, {'adversarially trained' if hardened else 'undefended'}:\n", *HEAD, sep="\n")
            print(*universal(subject, options.side, options.epochs, options.rounds), sep="\n", flush=True)
            print(*single(part(subject, slice(options.few)), options.side, options.steps, options.rounds), sep="\n", flush=True)
    return 0


HEAD = ["| patch | images that ART's fools | ours | faster by |", "|---" * 4 + "|"]


if __name__ == "__main__":
    sys.exit(main())
