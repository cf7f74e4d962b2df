"""When a run that hardens a model has gone wrong, read off its history: nothing else decides, so a resumed run agrees.

Catastrophic overfitting: within an epoch the model learns to resist the single step only; FGSM accuracy rises while
PGD accuracy falls to 0 (Wong, Rice and Kolter, 2020, Fast is better than free; Kim, Lee and Lee, 2021, Understanding
catastrophic overfitting). Robust overfitting: PGD accuracy on images not trained on falls slowly while training goes on
(Rice, Wong and Kolter, 2020, Overfitting in adversarially robust deep learning). Accuracies are fractions in [0, 1].
"""

from ...budgets import eps_text
from ...catastrophic_overfitting import resists_one_step_only
from ..settings import TrainSettings

PROBED = ("probe_clean", "probe_fgsm", "probe_pgd")
# Catastrophic: and PGD accuracy has fallen at least this far from an earlier epoch's, to at most this share of it. A fall by
# 0.1 alone was seen to recover (FGSM mixed, digits 0, 1, 4 and 7, ε = 0.25).
FALLS, RUINED = 0.2, 0.5
SLIPS = 0.03  # robust: the best epoch is this much better than the last
LEARNED = 0.1  # an epoch counts as good from this much clean accuracy above always naming the commonest class
REMEDY = 'use more steps (objective "pgd") or a random start ("n-fgsm"), a smaller eps or a lower learning_rate'


def _signed(record: dict) -> bool:
    """Whether FGSM accuracy holds after this epoch where PGD accuracy does not."""
    return resists_one_step_only(*(record[name] for name in PROBED))


def best_epoch(history: list[dict], commonest: float) -> int | None:
    """The epoch (from 1) of the highest PGD accuracy, of equals that of the highest clean accuracy, of those the first.

    commonest: the share of the commonest class among the probed images. A model that names one class whatever it sees
    cannot be fooled, so an epoch that has learned something goes before one that has not. None without epochs.
    """
    if not history:
        return None
    rank = lambda at: (_learned(history[at], commonest), history[at]["probe_pgd"], history[at]["probe_clean"])  # noqa: E731
    return 1 + max(range(len(history)), key=rank)


def overfitted(history: list[dict], commonest: float) -> int | None:
    """The first epoch (from 1) of catastrophic overfitting: only the single step is resisted, and PGD accuracy has
    fallen by FALLS, and to the share RUINED, of that of an earlier epoch that had learned something; None if none."""
    best = 0.0
    for record in history:
        left = record["probe_pgd"]
        if _signed(record) and best - left >= FALLS and left <= RUINED * best:
            return record["epoch"]
        if _learned(record, commonest):
            best = max(best, record["probe_pgd"])
    return None


def sentences(
    history: list[dict], commonest: float, images: int, eps: float, settings: TrainSettings, finished: bool = True
) -> list[str]:
    """What is wrong with the run, one sentence each. images: how many were probed, at `eps`; finished: whether this is the
    end, since only then robust overfitting is a fact."""
    found = overfitted(history, commonest)
    if found is not None:
        before = best_epoch(history[: found - 1], commonest)
        assert before is not None  # an epoch from which the accuracy fell
        best = history[before - 1]
        now = history[found - 1]
        outcome = f"training stopped and the model holds the weights of epoch {best['epoch']}"
        if settings.on_overfitting == "warn":
            outcome = 'training goes on, since on_overfitting = "warn"'
        return [
            f"catastrophic overfitting in epoch {found}: of {images} held-back images ({now['probe_clean']:.1%} right as they "
            f"are), {now['probe_fgsm']:.1%} resist FGSM at ε = {eps_text(eps)} but {now['probe_pgd']:.1%} PGD-10, against "
            f"{best['probe_pgd']:.1%} after epoch {best['epoch']}; {outcome}; {REMEDY}."
        ]
    if not history or not finished:
        return []
    number = best_epoch(history, commonest)
    assert number is not None
    best, last = history[number - 1], history[-1]
    if _signed(last):
        return [
            f"the model resists the single step only: after epoch {last['epoch']}, {last['probe_fgsm']:.1%} of {images} "
            f"held-back images resist FGSM at ε = {eps_text(eps)} but {last['probe_pgd']:.1%} PGD-10, and at best "
            f"{best['probe_pgd']:.1%} did, after epoch {best['epoch']}; {REMEDY}."
        ]
    if _learned(best, commonest) and best["probe_pgd"] - last["probe_pgd"] >= SLIPS - 1e-9:
        advice = "train for fewer epochs" if settings.keep == "best" else 'set keep = "best", or train for fewer epochs'
        return [
            f"robust overfitting: {last['probe_pgd']:.1%} of {images} held-back images resist PGD-10 at ε = {eps_text(eps)} "
            f"after epoch {last['epoch']}, but {best['probe_pgd']:.1%} did after epoch {best['epoch']}; {advice}."
        ]
    return []


def _learned(record: dict, commonest: float) -> bool:
    return record["probe_clean"] >= commonest + LEARNED
