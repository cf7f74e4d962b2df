"""FMN and Square, whose cost is that of their passes: how much sooner escrime is where a peer is after K steps or queries.

    PEERS=peers python -m benchmarks.searches --data imagenette --folder DIR --small S.safetensors \\
        --small-robust SR.safetensors --settings small --images 64 --rounds 3

FMN against foolbox and adv-lib, by the median distance: once with as many steps, once with the fewest of a ladder that come as
near. Square against torchattacks (margin loss) by the images left, in the same two ways. All sides take turns within a round;
the median of the rounds counts.
To install the peers (adv-lib too): """

import sys
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

import escrime
from escrime.norms import NORMS

from .models import SETTINGS, Subject
from .options import listed, make_subject, parser
from .peers import INSTALL, available, imported
from .timing import in_turns, ratio

NEAR = 1.01  # of the peer's median distance: as near
LADDER = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 200)
ORDER = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
FOOLBOX = {"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack", "l0": "L0FMNAttack"}
GIVE_UP, SHARES = 2.0, (0.25, 0.33, 0.5, 0.67)


def fmn_peers(subject: Subject, norm: str, steps: int) -> dict[str, Callable[[], Tensor]]:
    """The peers' FMN by name; each returns its examples (N, C, H, W)."""
    model, images, labels = subject.model, subject.images, subject.labels
    calls: dict[str, Callable[[], Tensor]] = {}
    if foolbox := imported("foolbox"):
        attack = getattr(foolbox.attacks, FOOLBOX[norm])(steps=steps)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        calls["foolbox"] = lambda: attack(wrapped, images, labels, epsilons=None)[0]
    if advlib := imported("adv_lib.attacks.fast_minimum_norm"):
        calls["adv-lib"] = lambda: advlib.fmn(model, images.clone(), labels, norm=ORDER[norm], steps=steps)
    return calls


def fmn(subject: Subject, norm: str, steps: int, rounds: int) -> str:
    """A row of the table of FMN."""
    own = lambda steps: lambda: escrime.FMN(norm=norm, steps=steps)(subject.model, subject.images, subject.labels)  # noqa: E731
    peers = fmn_peers(subject, norm, steps)
    reached = {name: _median(subject, call(), norm) for name, call in peers.items()}
    best, ours = min(reached.values()), _median(subject, own(steps)(), norm)
    ladder = [k for k in LADDER if k < steps]
    distances = {k: _median(subject, own(k)(), norm) for k in ladder} | {steps: ours}
    fewest = next((k for k, distance in distances.items() if distance <= NEAR * best), steps)
    calls = peers | {"all": own(steps), "fewest": own(fewest)}
    times = in_turns(calls, rounds, subject.images.device)
    fastest = min(peers, key=lambda name: median(times[name]))
    return (
        f"| FMN {norm} | {steps} | {fastest} | {best:.5g} | {ours:.5g} | {ratio(times[fastest], times['all']):.1f}× | "
        f"{fewest}: {distances[fewest]:.5g} | {ratio(times[fastest], times['fewest']):.1f}× |"
    )


def square(subject: Subject, norm: str, eps: float, queries: int, rounds: int) -> str:
    """A row of the table of Square."""
    model, images, labels = subject.model, subject.images, subject.labels
    library = imported("torchattacks")
    if library is None:
        return f"| Square {norm} | {queries} | no peer | | | | |"
    kind = {"linf": "Linf", "l2": "L2"}[norm]
    theirs = lambda: library.Square(model, norm=kind, eps=eps, n_queries=queries - 1, loss="margin", seed=0)(images, labels)  # noqa: E731
    ours = lambda n, give_up: lambda: escrime.Square(eps, n, norm, give_up=give_up)(model, images, labels)  # noqa: E731
    left = lambda call: float((model(call()).argmax(1) == labels).double().mean())  # noqa: E731
    bar, ladder = left(theirs), [round(queries * share) for share in SHARES]
    fewest = next((n for n in ladder if left(ours(n, GIVE_UP)) <= bar), queries)
    calls = {"all": ours(queries, None), "leaves": ours(queries, GIVE_UP), "fewest": ours(fewest, GIVE_UP)}
    times = in_turns({"theirs": theirs} | calls, rounds, subject.images.device)
    cells = [f"{left(call):.1%}, {ratio(times['theirs'], times[name]):.1f}×" for name, call in calls.items()]
    return f"| Square {norm}, ε = {eps:.4g} | {queries} | {bar:.1%} | {cells[0]} | {cells[1]} | {fewest}: {cells[2]} |"


@torch.no_grad()
def _median(subject: Subject, found: Tensor, norm: str) -> float:
    """The median distance over all images, those that were not fooled at infinity."""
    fooled = subject.model(found).argmax(1) != subject.labels
    distance = NORMS[norm].distance(found, subject.images)
    return float(distance.where(fooled, torch.full_like(distance, float("inf"))).median())


FMN_HEAD = [
    "| work | steps | fastest peer | its median | ours | as many steps: faster by | fewest as near | faster by |",
    "|---" * 8 + "|",
]
SQUARE_HEAD = [
    f"| work | queries | left by torchattacks | ours: left, faster by | give_up={GIVE_UP:g} | and the fewest queries as low |",
    "|---" * 6 + "|",
]


def main() -> int:
    options = parser(__doc__ + INSTALL + ".")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--norms", type=listed(list(ORDER)), default=["linf", "l2"])
    options.add_argument("--steps", type=lambda text: [int(k) for k in text.split(",")], default=[10, 20, 40, 100])
    options.add_argument("--queries", type=lambda text: [int(k) for k in text.split(",")], default=[100, 500, 1000])
    options = options.parse_args()
    available()  # makes PEERS importable
    for setting in (SETTINGS[name] for name in options.settings):
        for hardened in (False, True):
            subject = make_subject(options, setting, hardened)
            print(f"\n{setting.title}, {'adversarially trained' if hardened else 'undefended'}:\n", *FMN_HEAD, sep="\n")
            for norm in options.norms:
                for steps in options.steps:
                    print(fmn(subject, norm, steps, options.rounds), flush=True)
            print("", *SQUARE_HEAD, sep="\n")
            for queries in options.queries:
                print(square(subject, "linf", setting.eps, queries, options.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
