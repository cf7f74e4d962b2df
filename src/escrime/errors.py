"""The one exception a user is meant to read: a sentence that names the value, the likely cause and the remedy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

Value = TypeVar("Value")
JOINING = "-_ ."  # what joins the words of a name
NO_OTHERS: Mapping[str, str] = MappingProxyType({})


class EscrimeError(ValueError):
    """Bad input or an unusable environment. The command line prints the message and exits with code 2."""


class NotFinite(EscrimeError):
    """The model returned NaN or infinity: for a call of an attack an error, in an evaluation something to report."""


def is_bad_input(error: Exception) -> bool:
    """Whether the user is to be told of `error` at once: anything else that somebody's model raises is a finding about it."""
    return isinstance(error, EscrimeError) and not isinstance(error, NotFinite)


def in_one_line(error: BaseException) -> str:
    """The type of an error that is not escrime's own, and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def or_reason(work: Callable[[], Value]) -> tuple[Value | None, str]:
    """(what `work` returns, "") or (None, why it raised): a user's model may raise anything at any image."""
    try:
        return work(), ""
    except Exception as error:
        if is_bad_input(error):
            raise
        return None, str(error).partition("\n")[0] if isinstance(error, EscrimeError) else in_one_line(error)


def not_finite(image: object, which: str, so: str) -> str:
    """The sentence about a model that returns NaN or infinity for `image`, `which` says of how many; so: what that is not."""
    return (
        f"the model returns NaN or infinite logits for image {image!r} {which}; {so}, so mend the model first "
        "(overflow, or 0/0 in a defense?)."
    )


def needs_extra(what: str, package: str, extra: str) -> EscrimeError:
    """The error where `package`, which `extra` of escrime brings, is not installed."""
    return EscrimeError(
        f"{what} need {package}, which comes with the extra {extra!r}: in a checkout of escrime write `uv run --extra {extra} "
        f"escrime …`, or install it there with `pip install '.[{extra}]'`."
    )


def shortened(words: Iterable[object], most: int = 3, between: str = ", ") -> str:
    """The first `most` of the words, and how many more there are."""
    texts = list(map(str, words))
    rest = f"{between.rstrip().rstrip(',')} and {len(texts) - most:,} more" if len(texts) > most else ""
    return between.join(texts[:most]) + rest


def listing(words: Sequence[str]) -> str:
    """["a", "b", "c"] → "a, b and c"."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def nearest(word: object, choices: Iterable[object], others: Mapping[str, str] = NO_OTHERS) -> str:
    """Return " Did you mean 'x'?" for the choice closest to `word`, or an empty string when none is close. Neither case nor
    what joins words counts, nor their order: fgsm is FGSM, auto-attack AutoAttack, and bvlc_googlenet googlenet_bvlc. others:
    more words that a choice may be called by → the choice."""
    from difflib import SequenceMatcher, get_close_matches

    choices = list(choices)
    found: list[tuple[float, str]] = []
    for form in (_bare, _turned):
        known = {form(called): meant for called, meant in others.items()}
        known |= {form(choice): str(choice) for choice in choices[::-1]}  # the first of those that are alike
        match = get_close_matches(form(word), list(known)[::-1], n=1, cutoff=0.5)
        found += [(SequenceMatcher(None, form(word), match[0]).ratio(), known[match[0]])] if match else []
    return f" Did you mean {max(found, key=lambda one: one[0])[1]!r}?" if found else ""


def _bare(word: object) -> str:
    return "".join(letter for letter in str(word).casefold() if letter not in JOINING) or str(word)


def _turned(word: object) -> str:
    """The words of a name in an order that does not depend on theirs."""
    text = str(word).casefold()
    return "".join(sorted("".join(" " if letter in JOINING else letter for letter in text).split())) or str(word)
