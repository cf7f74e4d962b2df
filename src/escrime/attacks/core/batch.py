"""The jobs that are in the batch, and all that is kept of each for as long as it is in it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .progress import Progress
from .rows import BEST, BEST_MADE_FROM, ITERATE, MADE_FROM, Rows, State


@dataclass
class Batch:
    """N jobs. `jobs`, `keys` and `queries` are on the CPU, the rest where the images are."""

    jobs: Tensor  # (N, 3) int64: image, ε, restart
    keys: Tensor  # (N,) int64: its randomness
    queries: Tensor  # (N,) int64: how often the model was queried for it
    rows: Rows
    state: State
    rank: Tensor | None = None  # (N, 2) of state[BEST], where the best iterate is kept
    progress: Progress | None = None  # where a job may give up

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def image(self) -> Tensor:
        """Of each job, (N,), as a position in the inputs."""
        return self.jobs[:, 0]

    @property
    def place(self) -> tuple[Tensor, Tensor]:
        """(ε, image), (N,) each: where results (K, N) hold what belongs to the job."""
        return self.jobs[:, 1], self.jobs[:, 0]

    @property
    def device(self) -> torch.device:
        return self.rows.images.device

    def join(self, other: "Batch") -> "Batch":
        """These jobs, and those after them."""
        return Batch(
            torch.cat([self.jobs, other.jobs]),
            torch.cat([self.keys, other.keys]),
            torch.cat([self.queries, other.queries]),
            self.rows.each(lambda name, old: torch.cat([old, getattr(other.rows, name)])),
            {name: torch.cat([self.state[name], value]) for name, value in other.state.items()},
            None if self.rank is None or other.rank is None else torch.cat([self.rank, other.rank]),
            self.progress and self.progress.each(lambda name, old: torch.cat([old, getattr(other.progress, name)])),
        )

    def only(self, stay: Tensor) -> "Batch":
        """Those in the mask `stay` (N,), on the CPU."""
        kept = stay.nonzero().flatten().to(self.device)
        return Batch(
            self.jobs[stay],
            self.keys[stay],
            self.queries[stay],
            self.rows.each(lambda name, value: value[kept]),
            {name: value[kept] for name, value in self.state.items()},
            None if self.rank is None else self.rank[kept],
            self.progress and self.progress.each(lambda name, value: value[kept]),
        )

    def keep_best(self, rank: Tensor, admitted: Tensor | None) -> None:
        """Keep the evaluated iterate, of `rank` (N, 2), where it ranks below the best so far: adversarial first, then the
        lowest rank; of those `admitted` (N,), None for all. Only where a best iterate is kept."""
        state, old = self.state, self.rank
        if old is None:
            return
        better = (rank[:, 0] < old[:, 0]) | ((rank[:, 0] == old[:, 0]) & (rank[:, 1] < old[:, 1]))
        better = better if admitted is None else better & admitted
        state[BEST] = torch.where(better[:, None, None, None], state[ITERATE], state[BEST])
        if MADE_FROM in state:
            state[BEST_MADE_FROM] = torch.where(better[:, None], state[MADE_FROM], state[BEST_MADE_FROM])
        self.rank = torch.where(better[:, None], rank, old)
