"""What hardening will do, how long that takes on this machine, and what would make it shorter."""

from dataclasses import dataclass

import torch

from ...errors import EscrimeError
from ...evaluation.cost import EARLY, STANDS, passes_of_check
from ...evaluation.subjects import Subject, as_cases
from ...models.fast.twin import Twin
from ...terminal import duration
from ...training import objective
from ..evaluate.assessment import EFFORT
from ..evaluate.request import Request
from ..run.rates import measure, passes_to_train
from ..run.schema import ADVERSARIAL

BATCH = 8  # images that are timed
TRAINED = 0.5  # of a budget, for the fine-tuning; the rest for judging it
TRANSFERS = 11  # times its steps that AutoAttack makes on an image to fool another network


@dataclass(frozen=True)
class Expected:
    """Seconds that an epoch, the attacks and the checks take, about."""

    epoch: float
    attacks: float
    checks: float

    def total(self, epochs: int) -> float:
        return epochs * self.epoch + self.attacks + self.checks


def expected(
    network: torch.nn.Module, goal: dict, attacks: dict, size: int, train: int, test: int, device: torch.device
) -> Expected:
    """From passes counted beforehand and the speed of `network` measured now: for `train` images to learn from and `test` to
    judge by, of `size` pixels, with the objective `goal` and `attacks` by label."""
    rates = measure(network, size, device, batch=BATCH)
    copy = Twin(network).copy
    attacking = measure(copy, size, device, batch=BATCH) if isinstance(copy, torch.nn.Module) else rates
    each = 0.0
    for attack in attacks.values():
        # Before, most images fall early; after, about half of them stand to the end; a transfer spends everything.
        steps, queries = getattr(attack, "steps", 1), getattr(attack, "queries", 0)
        whole = steps * (TRANSFERS if hasattr(attack, "targets_tried") else 1)
        each += attacking.gradient * (EARLY * steps + (1 + STANDS) * whole) + attacking.forward * STANDS * EARLY * queries
    checks = 0.0
    for case in as_cases([Subject("m", network), Subject("m", network, ADVERSARIAL)]):
        probing, stronger = passes_of_check(case, EFFORT)
        for passes, images in ((probing, min(EFFORT.images, test)), (stronger, test)):
            checks += images * (passes.forwards * attacking.forward + passes.gradients * attacking.gradient)
    return Expected(train * rates.gradient * passes_to_train(objective(**goal)), test * each, checks)


def epochs_within(budget: float, usual: int, found: Expected) -> int:
    """How many epochs, at most `usual`, fit into the training's share of `budget` seconds.

    Raises:
        EscrimeError: Where not even one does.
    """
    epochs = int(TRAINED * budget / found.epoch) if found.epoch else usual
    if not epochs:
        raise too_short(1, budget, found)
    return min(epochs, usual)


def too_short(epochs: int, budget: float, found: Expected) -> EscrimeError:
    """Of a budget that `epochs` of training do not fit into."""
    takes = duration(epochs * found.epoch, about=True)
    what, half = "one epoch" if epochs == 1 else f"{epochs} epochs", f"half of --budget {duration(budget, about=True)}"
    return EscrimeError(
        f"{what} of fine-tuning would take about {takes} on this machine, and {half} is for that; "
        f"give more time, fewer training images, a smaller --size{' or fewer --epochs' if epochs > 1 else ''}."
    )


def plan(goal: dict, attacks: dict, epochs: int, size: int, train: int, test: int) -> str:
    """What will be done, in a sentence."""
    budget = f" at ε = {goal['eps']}" if goal.get("eps") else ""
    return (
        f"Fine-tune by {goal['name']}{budget} for {epochs} epoch{'s' * (epochs != 1)} on {train:,} images of {size} "
        f"pixels; judge the model before and after by {' and '.join(attacks)} on {test:,} others, and check the numbers."
    )


def shorter(request: Request, found: Expected, epochs: int, size: int, test: int, device: torch.device) -> list[str]:
    """What would cut the largest parts of the time."""
    training, judging, advice = epochs * found.epoch, found.attacks + found.checks, []
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
