"""Under a deadline the images of a part are attacked in chunks, so that what is finished when the time is up can be kept."""

from collections.abc import Callable, Collection, Iterator

from ..models import deadline
from .images import PART, Images

FIRST = 4  # images in the first chunk, before anybody knows what one costs
SHARE = 0.1  # of the time left that a chunk may take

Begun = Callable[[str, int], None]  # (what is begun, on how many images), as Meter.begin
Done = Callable[[str], Collection[str]]  # key of a whole part → ids of its images that earlier chunks hold


def nothing_done(key: str) -> Collection[str]:
    """No chunk of any part was finished before."""
    return ()


def no_progress(name: str, images: int) -> None:
    """Nobody wants to know what is begun."""


class Chunks:
    """A slice of images → chunks of it: the slice itself without a deadline, else as many images at a time as take about
    SHARE of the time that is left, at most twice as many as before, for the next ones may cost more. What is recorded of an
    image does not depend on it (law 3). worked: set by who attacks a chunk, where there was anything to do: only then its
    time counts."""

    def __init__(self) -> None:
        self.size, self.worked = FIRST, False
        self.seconds, self.images = 0.0, 0

    def of(self, whole: Images) -> Iterator[Images]:
        """The chunks, in order; what is done with one before the next is timed."""
        if deadline.time_left() is None:
            yield whole
            return
        start = 0
        while start < len(whole.ids):
            chunk = whole.between(start, start + self.size)
            self.worked, began = False, deadline.clock()
            yield chunk
            start += len(chunk.ids)
            if self.worked:
                self.seconds, self.images = self.seconds + deadline.clock() - began, self.images + len(chunk.ids)
                fit = SHARE * max(deadline.time_left() or 0.0, 0.0) * self.images / max(self.seconds, 1e-9)
                self.size = max(1, min(PART, 2 * self.size, int(fit)))
