"""Why a number is doubted, by the id of the finding that doubts it: the words of a sentence, with the id to look it up by."""

from collections.abc import Iterable

from ..errors import listing

REASONS = {
    "accuracy-rises": "an attack fooled fewer images at a larger ε",
    "attack-failed": "an attack raised an error on some images",
    "attack-strength": "the attacks that were asked for are too weak",
    "black-box": "no gradients could be had",
    "budget": "the time did not suffice for everything",
    "check-failed": "the model raised an error while it was looked at",
    "converged": "more steps still find more",
    "few-images": "there are too few images",
    "few-queries": "the model was asked too few times",
    "near-chance": "the model may be guessing",
    "one-class": "there is one class only",
    "only-transfer": "nothing but examples made on another network was tried",
    "randomized": "what the model predicts hangs on chance",
    "single-step-only": "attacks of a single step were all there was",
    "surrogates-stronger": "examples made on other networks did more than its own gradients",
    "targeted-disagrees": "an attack that aimed at one class found more",
    "transfer-stronger": "an attack that ignores the defense found more",
    "unverified": "an attack left its budget on some images, which count as not attacked",
}


def in_words(ids: Iterable[str]) -> str:
    """As in: the time did not suffice for everything (budget) and more steps still find more (converged)."""
    said = [f"{REASONS[id]} ({id})" if id in REASONS else f"the check {id} objects" for id in dict.fromkeys(ids)]
    return listing(said)
