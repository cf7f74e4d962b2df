"""What is kept of every image at every ε while its jobs come and go, and the outcomes that follow from it."""

import torch
from torch import Tensor

from .base import Outcome
from .jobs import Job


class Results:
    """K × N of each: the iterate kept, whether it succeeds, the passes spent, and the jobs that are in the batch.

    Args:
        images: The clean images, (N, C, H, W).
        count: K, how many ε.
    """

    def __init__(self, images: Tensor, count: int):
        shape = (count, len(images))
        self.clean = images
        self.images = [images.clone() for _ in range(count)]  # the iterate kept, at first the image itself
        self.rank = torch.full((*shape, 2), float("inf"))  # of the iterate kept: (not adversarial, rank)
        self.success = torch.zeros(shape, dtype=torch.bool)
        self.distance = torch.zeros(shape, dtype=torch.float64)  # of the iterate kept from its image
        self.forwards, self.backwards = torch.zeros(shape), torch.zeros(shape)
        self.made: list[dict[int, Tensor]] = [{} for _ in range(count)]  # in a rendered norm what the iterate was made from
        self.running = torch.zeros(shape, dtype=torch.int64)  # jobs in the batch
        self.bad = torch.zeros(len(images), dtype=torch.bool)  # whose logits are not finite, whatever ε

    def spend(self, place: tuple[Tensor, Tensor], forwards: Tensor, backwards: Tensor | None = None) -> None:
        """Count passes (M,) at `place` (ε, image), where a place may occur several times."""
        self.forwards.index_put_(place, forwards, accumulate=True)
        if backwards is not None:
            self.backwards.index_put_(place, backwards, accumulate=True)

    def enter(self, job: Job, jobs: int) -> None:
        """Note that so many jobs of its image and ε enter the batch together."""
        self.running[job.eps, job.image] = jobs

    def leave(
        self, job: Job, x: Tensor, rank: Tensor | None, success: Tensor, distance: Tensor, made: Tensor | None = None
    ) -> bool:
        """Keep what a job leaves with if it ranks lower than what is there, or ranks do not count.

        Args:
            job: The job.
            x: Its iterate, (C, H, W).
            rank: Of the iterate, (2,): not adversarial, rank; None where ranks do not count.
            success: Whether it succeeds, a scalar.
            distance: From the image, a scalar.
            made: The parameters of x, (P,), in a rendered norm.

        Returns:
            Whether that was the last job of its image and ε in the batch.
        """
        place = (job.eps, job.image)
        if rank is None or tuple(rank) < tuple(self.rank[place]):
            self.images[job.eps][job.image] = x
            self.success[place], self.distance[place] = success, distance
            if made is not None:
                self.made[job.eps][job.image] = made
            if rank is not None:
                self.rank[place] = rank
        self.running[place] -= 1
        return bool(self.running[place] == 0)

    def outcomes(self, sources: Tensor | None, passes: int, before: Tensor | float, verified: bool) -> list[Outcome]:
        """What has been found.

        Args:
            sources: Which ε's iterate is the result at each, (K, N), see EpsGrid.
            passes: Of the network, to one of the model.
            before: Forward passes, (N,), spent before the first job.
            verified: Whether success was verified.

        Returns:
            One Outcome per ε.
        """
        count = len(self.images)
        forwards, backwards = self.forwards * passes + before / count, self.backwards * passes
        outcomes = []
        for k in range(count):
            adversarial, success = self.images[k], self.success[k]
            if sources is not None:
                at = list(enumerate(sources[k].tolist()))
                adversarial = torch.stack([self.clean[i] if source < 0 else self.images[source][i] for i, source in at])
                success = torch.tensor([source >= 0 and bool(self.success[source, i]) for i, source in at])
            outcomes.append(Outcome(adversarial, forwards[k], backwards[k], success if verified else None, self._made_from(k)))
        return outcomes

    def _made_from(self, k: int) -> Tensor | None:
        """The parameters of the images kept at an ε, (N, P), NaN for those that are as they were; None where there are none."""
        if not self.made[k]:
            return None
        size = len(next(iter(self.made[k].values())))
        nothing = torch.full((size,), float("nan"), dtype=torch.float64)
        return torch.stack([self.made[k].get(image, nothing) for image in range(len(self.clean))])
