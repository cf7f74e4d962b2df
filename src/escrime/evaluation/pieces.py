"""Under a deadline the images of a part are attacked in pieces, so that what is finished when the time is up can be kept."""

from collections.abc import Callable, Collection, Iterator

from ..models import deadline
from .images import PART, Images

FIRST = 4  # images in the first piece, before anybody knows what one costs
SHARE = 0.1  # of the time left that a piece may take

Done = Callable[[str], Collection[str]]  # key of a whole part → ids of its images that earlier pieces hold


def nothing_done(key: str) -> Collection[str]:
    """No piece of any part was finished before."""
    return ()


class Pieces:
    """A slice of images → pieces of it: the slice itself without a deadline, else as many images at a time as take about
    SHARE of the time that is left. What is recorded of an image does not depend on it (law 3). worked: set by who attacks a
    piece, where there was anything to do: only then its time says something."""

    def __init__(self):
        self.size, self.worked = FIRST, False

    def of(self, whole: Images) -> Iterator[Images]:
        """The pieces, in order; what is done with one before the next is timed."""
        if deadline.time_left() is None:
            yield whole
            return
        start = 0
        while start < len(whole.ids):
            piece = whole.between(start, start + self.size)
            self.worked, began = False, deadline.clock()
            yield piece
            start += len(piece.ids)
            seconds = (deadline.clock() - began) / len(piece.ids)
            if self.worked and seconds > 0:
                self.size = max(1, min(PART, int(SHARE * max(deadline.time_left() or 0.0, 0.0) / seconds)))
