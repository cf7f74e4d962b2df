"""The images of an examination, shared among the processes of a team that otherwise does the same in every process.

What an attack does to an image does not depend on the others in its batch (law 3), so each process attacks its share, and all
of them learn the outcome of every image before any goes on: from there they decide alike.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..distributed import Processes
from ..models.deadline import OutOfTime

Value = TypeVar("Value")
END = "end"  # of the examination


class SharedRows:
    """One examination by all processes of `team`. Each calls `map`, `each` and `first` for the same work in the same order, and
    `finish` at the end, even after an error. Where one of them comes with other work (something failed in it alone, or a last
    bit of its measurements decided otherwise), they stop sharing: from then on each does the whole work itself.
    """

    def __init__(self, team: Processes) -> None:
        self.team, self.alone = team, not team.together

    def map(self, name: str, rows: Tensor, work: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `work` gives for all of `rows`, of which each process does its share.

        Args:
            name: of the work.
            rows: (N,) positions of images.
            work: positions (n,) → tensors (n, …), each row of which depends on its image only.

        Returns:
            The tensors (N, …), on the CPU where they were shared.

        Raises:
            BaseException: in every process what `work` raised in one, OutOfTime before all else.
        """
        if self.alone or len(rows) < 2:
            return work(rows)
        mine, place = slice(self.team.rank, None, self.team.count), (name, rows.tolist())
        shares = self._everyone(place, lambda: tuple(column.cpu() for column in work(rows[mine])) if len(rows[mine]) else ())
        if shares is None:
            return work(rows)
        columns = []
        for parts in zip(*(share for share in shares if share)):
            column = torch.empty((len(rows), *parts[0].shape[1:]), dtype=parts[0].dtype)
            for rank, part in enumerate(parts):
                column[rank :: self.team.count] = part
            columns.append(column)
        return tuple(columns)

    def first(self, name: str, work: Callable[[], Value]) -> Value:
        """What `work`, which all of them do, gives in the first process. Raises what `map` does."""
        values = None if self.alone else self._everyone(name, work)
        return work() if values is None else values[0]

    def each(self, name: str, works: Sequence[Callable[[], Value]]) -> list[Value]:
        """What all of `works` give, in their order, of which each process does its share. Raises what `map` does."""
        mine = works[self.team.rank :: self.team.count]
        shares = None if self.alone else self._everyone(name, lambda: [work() for work in mine])
        if shares is None:
            return [work() for work in works]
        return [shares[at % self.team.count][at // self.team.count] for at in range(len(works))]

    def finish(self, work: Callable[[], Value]) -> list[Value]:
        """Do the whole examination, `work`, which calls `map`.

        Returns:
            What it gave in each process, in the order of their ranks.

        Raises:
            BaseException: in every process what `work` raised in one.
        """
        values = self._everyone(END, work) if self.team.together else self.team.all_of(work())
        if values is None:
            raise RuntimeError("the processes are not at the end of one examination")
        return values

    def _everyone(self, place: object, work: Callable[[], Value]) -> list[Value] | None:
        """What `work` gives in each process; None where one of them is elsewhere, from when on each is alone.

        At the end they wait for those who were not there yet: these learn of it here, and go on alone until they are.
        """
        value, error = _outcome(work)
        everyone = self.team.all_of((place, value, error))
        if any(other != place for other, _, _ in everyone):
            self.alone = True
            if place != END:
                return None
            everyone = self.team.all_of((place, value, error))
        found = [error for _, _, error in everyone if error is not None]
        if found:
            raise min(found, key=lambda error: not isinstance(error, OutOfTime)) from error
        return [value for _, value, _ in everyone]


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """(what `work` returns, None) or (None, what it raised, such that another process can raise it too)."""
    try:
        return work(), None
    except (Exception, OutOfTime) as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception of somebody's own, which takes other arguments than it keeps
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def alone() -> SharedRows:
    """Of an examination by this process only."""
    return SharedRows(Processes(torch.device("cpu"), alone=True))
