"""What hardening will do, how long that takes on this machine, and what would make it shorter."""

from dataclasses import dataclass

import pandas as pd
import torch

from ...attacks.pgd import PGD
from ...data import ImageSet
from ...errors import EscrimeError
from ...evaluation.cost import EARLY, LATE, STANDS, Passes, calls_of_check, passes_of_check, rough_calls
from ...evaluation.expected import FEW, UNSEEN, Outlook, as_made, passes_on
from ...evaluation.images import PART
from ...evaluation.subjects import Case, Subject, as_cases
from ...models.deadline import clock
from ...models.fast.twin import Twin
from ...models.running import no_trace
from ...results.threats import ADAPTIVE
from ...terminal import duration
from ...training import TrainSettings, objective
from ...training.overfitting.alarms import PROBED
from ...training.overfitting.monitor import STEPS
from ...training.pace import seconds_per_image
from ..evaluate.assessment import EFFORT
from ..evaluate.request import Request
from ..run.rates import Rates, measure
from ..run.schema import ADVERSARIAL

BATCH = 8  # images that are timed,
LOOKED = 64  # and where so few take less than a
MOMENT = 0.02  # seconds; of so many it is seen how many a model gets right
TRAINED = 0.5  # of a budget, for the fine-tuning, at least; the rest for judging it
SAFETY = 1.5  # over what the judging is expected to take, where the fine-tuning has all the rest
PROFILED = 21  # passes per image that show how a network is approached


@dataclass(frozen=True)
class Expected:
    """Seconds that an epoch, the attacks and the checks take, about, where the hardened model withstands as much as any does.
    least: the attacks and the checks together, where it withstands nothing; None where that is no less."""

    epoch: float
    attacks: float
    checks: float
    least: float | None = None

    @property
    def judging(self) -> float:
        return self.attacks + self.checks

    def total(self, epochs: int) -> float:
        return epochs * self.epoch + self.judging


@dataclass(frozen=True)
class Speed:
    """How fast this machine is with a network under attack. call: seconds that one step takes however few images there are, 0
    where the images take them all. right: the share of the images to judge by that the network gets right."""

    rates: Rates
    right: float
    call: float = 0.0

    def seconds(self, passes: Passes, images: int, calls: float = 0.0) -> float:
        """Of `passes` on each of the images, asked for in so many calls, one after another, for every part of them."""
        each = passes.forwards * self.rates.forward + passes.gradients * self.rates.gradient
        return images * each + -(-images // PART) * calls * self.call

    def or_faster(self, other: "Speed") -> "Speed":
        """What is faster in either of two measurements."""
        forward, gradient = (min(getattr(one.rates, name) for one in (self, other)) for name in ("forward", "gradient"))
        return Speed(Rates(forward, gradient), self.right, min(self.call, other.call))


def speed_of(network: torch.nn.Module, test: ImageSet, size: int, device: torch.device) -> Speed:
    """Measured now, on the faster copy that is attacked."""
    twin, call = Twin(network), 0.0
    attacked = twin.copy if isinstance(twin.copy, torch.nn.Module) else network
    images, labels = test.batch(list(range(min(LOOKED, len(test)))), device=device)
    rates = measure(attacked, size, device, batch=BATCH)
    if rates.forward * BATCH < MOMENT:  # what surrounds a network takes longer than the network
        rates = measure(attacked, size, device, batch=LOOKED)
        began = clock()
        PGD(0.01, steps=STEPS, early_stop=False)(twin, images[:1], labels[:1])
        call = (clock() - began) / STEPS
    with torch.no_grad(), no_trace(network, device):
        right = sum(int((network(some).argmax(1) == own).sum()) for some, own in zip(images.split(BATCH), labels.split(BATCH)))
    return Speed(rates, right / len(labels), call)


def seconds_per_epoch(
    network: torch.nn.Module, goal: dict, settings: TrainSettings, train: ImageSet, speed: Speed, device: torch.device
) -> float:
    """Of the training on `train`, and of the look at the images that are held back, after it."""
    held = settings.probe_images
    step = seconds_per_image(network, train, objective(**goal), settings, device=device)
    return (len(train) - held) * step + speed.seconds(Passes(4, 1 + EARLY * STEPS), held, calls=STEPS)


def judging(
    network: torch.nn.Module, attacks: dict, grids: dict, test: int, speed: Speed, after: Outlook
) -> tuple[float, float]:
    """Seconds that the attacks and the checks take on `test` images, about. after: what is known of the hardened model."""
    attacking, checking = speed.seconds(Passes(0, 2 * PROFILED), min(PART, test)), 0.0
    for case in as_cases([Subject("m", network), Subject("m", network, ADVERSARIAL, network)]):
        outlook = outlook_of(case, speed.right, after)
        standing = outlook.stands * min(PART, test)
        for label, attack in attacks.items():
            grid = [eps for eps in grids[label] if eps > 0]
            calls = rough_calls(as_made(attack, case), grid, standing)
            attacking += speed.seconds(passes_on(attack, case, grid, test, outlook), test, calls)
        if case.threat == ADAPTIVE or case.subject.defense == "none":
            probing, stronger = passes_of_check(case, EFFORT, max(FEW, outlook.stands))
            checking += speed.seconds(probing, min(EFFORT.images, test), calls_of_check(EFFORT, standing))
            checking += speed.seconds(stronger, test)
    return attacking, checking


def outlook_of(case: Case, right: float, after: Outlook) -> Outlook:
    """What is known of a case: of the model as it was, that it gets so many images `right` and withstands nothing."""
    return after if case.subject.defense == ADVERSARIAL else Outlook(right, min(LATE, right))


def expected(
    network: torch.nn.Module,
    goal: dict,
    settings: TrainSettings,
    train: ImageSet,
    attacks: dict,
    grids: dict,
    test: int,
    speed: Speed,
    device: torch.device,
) -> Expected:
    """From steps of training that are timed now and the speed of the network under attack, before anything is known of what
    the hardened model withstands."""
    epoch = seconds_per_epoch(network, goal, settings, train, speed, device)
    most, least = (
        judging(network, attacks, grids, test, speed, Outlook(speed.right, stands * speed.right)) for stands in (STANDS, 0.0)
    )
    return Expected(epoch, *most, sum(least))


def seen_in(log: pd.DataFrame, settings: TrainSettings) -> Outlook:
    """What the log of a training says of the model that it left: how many of the images held back it gets right, and how many
    withstand one step and many."""
    probed = log.dropna(subset=list(PROBED))
    if probed.empty:
        return UNSEEN
    kept = probed.loc[probed["probe_pgd"].idxmax()] if settings.keep == "best" else probed.iloc[-1]
    right, single, many = (float(kept[name]) for name in PROBED)
    return Outlook(right, min(many, right), min(1.0, many / single) if single else UNSEEN.after_single)


def epochs_within(budget: float, usual: int, found: Expected) -> int:
    """How many epochs, at most `usual`, fit into the training's share of `budget` seconds: half of it, or all that the judging
    leaves.

    Raises:
        EscrimeError: Where not even one does.
    """
    share = max(TRAINED * budget, budget - SAFETY * found.judging)
    epochs = int(share / found.epoch) if found.epoch else usual
    if not epochs:
        raise too_short(1, budget, found)
    return min(epochs, usual)


def too_short(epochs: int, budget: float, found: Expected) -> EscrimeError:
    """Of a budget that `epochs` of training do not fit into."""
    takes = duration(epochs * found.epoch, about=True)
    what = "one epoch" if epochs == 1 else f"{epochs} epochs"
    return EscrimeError(
        f"{what} of fine-tuning would take about {takes} on this machine, and --budget {duration(budget, about=True)} is for "
        f"judging the model too; give more time, fewer training images, a smaller --size"
        f"{' or fewer --epochs' if epochs > 1 else ''}."
    )


def plan(goal: dict, attacks: dict, epochs: int, size: int, train: int, test: int) -> str:
    """What will be done, in a sentence."""
    budget = f" at ε = {goal['eps']}" if goal.get("eps") else ""
    return (
        f"Fine-tune by {goal['name']}{budget} for {epochs} epoch{'s' * (epochs != 1)} on {train:,} images of {size} "
        f"pixels; judge the model before and after by {' and '.join(attacks)} on {test:,} others, and check the numbers."
    )


def times(found: Expected, epochs: int) -> tuple[str, str]:
    """How long it takes, all in all, and part after part."""
    least = found.judging if found.least is None else found.least
    parts = {"fine-tuning": (epochs * found.epoch,) * 2, "judging": (least, found.judging)}
    said = ", ".join(f"{what} {span(*ends)}" for what, ends in parts.items() if ends[1])
    more = ", the more the longer it withstands the attacks" if span(least, least) != span(found.judging, found.judging) else ""
    return span(epochs * found.epoch + least, found.total(epochs)), said + more


def span(low: float, high: float) -> str:
    """ "2 to 5 min", "40 s to 3 min", or "3 min" where both are the same."""
    first, last = (duration(seconds, about=True) for seconds in (low, high))
    if first == last:
        return last
    return f"{first.removesuffix(' ' + last.split()[1])} to {last}"


def shorter(request: Request, found: Expected, epochs: int, size: int, test: int, device: torch.device) -> list[str]:
    """What would cut the largest parts of the time."""
    training, judging, advice = epochs * found.epoch, found.judging, []
    if judging > training / 4 and test > 50:
        advice.append("--limit 50")
    if training > judging / 4 and epochs > 1:
        advice.append(f"--epochs {max(1, epochs // 2)}")
    if size > 64:
        advice.append(f"--size {max(64, size // 2)} (a quarter of the work)")
    if request.budget is None:
        advice.append("--budget 10min")
    if device.type == "cpu":
        advice.append("a GPU (--device cuda)")
    return advice
