"""Timing on a machine whose speed wanders: the sides take turns, and only ratios of neighboring runs are compared."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch

T, K = TypeVar("T"), TypeVar("K")


@dataclass(frozen=True)
class Race:
    """Seconds of every round of both sides, in the order they ran."""

    theirs: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.theirs, self.ours, strict=True)]

    @property
    def ratio(self) -> float:
        return ratio(self.theirs, self.ours)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """How long `call` takes, including what it left running on the device."""
    return timed(call, device)[0]


def timed(call: Callable[[], T], device: torch.device, clock: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """The same by any clock, with what it returned."""
    wait(device)
    start = clock()
    found = call()
    wait(device)
    return clock() - start, found


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def race(theirs: Callable[[], object], ours: Callable[[], object], rounds: int, device: torch.device) -> Race:
    """theirs, ours, theirs, ours, …"""
    pairs = [(seconds(theirs, device), seconds(ours, device)) for _ in range(rounds)]
    return Race(*zip(*pairs, strict=True))


def in_turns(
    calls: dict[K, Callable[[], object]],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[K, list[float]]:
    """Seconds of every round by name, all in turn; they have run once."""
    times: dict[K, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call, device, clock)[0])
    return times


def one_thread(device: torch.device) -> Callable[[], float]:
    """The clock of a benchmark with one thread, which is what torch has from here on: on a CPU that of the process, which does
    not run while another one has the core."""
    torch.set_num_threads(1)
    return time.process_time if device.type == "cpu" else time.perf_counter


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster ours is: the median of the rounds."""
    return median(a / b for a, b in zip(theirs, ours, strict=True))


def fastest(calls: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> tuple[str | None, list[str]]:
    """The name of the call with the least median time over interleaved rounds, and why others dropped out.

    The first round warms up and is not counted.
    """
    times = {name: [] for name in calls}
    dropped = []
    for _ in range(rounds + 1):
        for name in list(times):
            try:
                times[name].append(seconds(calls[name], device))
            except Exception as error:  # a peer may fail in any way, and the others go on
                dropped.append(f"{name} failed ({type(error).__name__}: {error}).")
                del times[name]
    return min(times, key=lambda name: median(times[name][1:]), default=None), dropped
