"""Time that may be up: looked at before every batch that a model is asked about, so that whatever runs ends within one.

`look` is called wherever a model is about to be asked (`Batches.map`, the scheduler, between noise draws); who wants to know
how the work goes on listens to it. Results never depend on it: what is not finished is not recorded.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_now = time.monotonic  # a test has a clock of its own


def clock() -> float:
    """Seconds since some moment."""
    return _now()


class OutOfTime(BaseException):
    """The time of a `deadline` is up. No Exception: it comes from outside, as KeyboardInterrupt does, and is no failure of a
    user's model that `except Exception` may take it for. It never leaves the evaluation that set the deadline."""


@dataclass
class Deadline:
    """end: on `clock`, in seconds. cut: what was left open because of it, in words; see `as_time_allows`."""

    end: float
    cut: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.end - clock()


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)
_listener: ContextVar[Callable[[int], None] | None] = ContextVar("listener", default=None)


@contextmanager
def deadline(seconds: float | None) -> Iterator[Deadline | None]:
    """Within the block, models are asked for that many more seconds, or until an outer deadline if that is sooner; None for
    no deadline of its own. Yields the Deadline (None without any), whose `end` may be moved."""
    outer = _current.get()
    if seconds is None:
        yield outer
        return
    end = clock() + seconds
    token = _current.set(Deadline(end if outer is None else min(end, outer.end)))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


@contextmanager
def no_deadline() -> Iterator[None]:
    """Within the block there is none, for the little that is asked of a model to say how much time it would need."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def time_left() -> float | None:
    """Seconds until the deadline, below 0 when it has passed; None without one."""
    limit = _current.get()
    return None if limit is None else limit.left


@contextmanager
def as_time_allows(what: str) -> Iterator[None]:
    """A block that may be cut short: then `what` is noted in the deadline's `cut`, and the program goes on behind the block.
    Once the time is up, the first question to a model ends every such block at once."""
    try:
        yield
    except OutOfTime:
        if (limit := _current.get()) is None:
            raise
        limit.cut.append(what)


@contextmanager
def listening(listener: Callable[[int], None] | None) -> Iterator[None]:
    """Within the block, listener(passes) is called before a network is passed so many times; None for nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def is_listened_to() -> bool:
    """Whether somebody is told how the work goes on: who works inside of another's work draws no bar of its own."""
    return _listener.get() is not None


def look(passes: int = 0) -> None:
    """Before a model is asked, which takes so many `passes` of the network: raise OutOfTime where the time is up."""
    limit, listener = _current.get(), _listener.get()
    if limit is not None and limit.left <= 0:
        raise OutOfTime
    if listener is not None and passes:
        listener(passes)


def cut(what: str) -> None:
    """Note `what` as left open, where there is a deadline."""
    if (limit := _current.get()) is not None:
        limit.cut.append(what)
