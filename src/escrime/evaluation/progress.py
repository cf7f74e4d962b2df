"""How far an evaluation has come, counted in passes of the network; who draws a bar listens here."""

from dataclasses import dataclass

from ..progress import Listener


@dataclass
class _Task:
    """images: still to be worked on. passes: per image, expected, and once some are done, measured (spent over seen)."""

    images: float
    passes: float
    spent: float = 0.0
    seen: float = 0.0


class Meter:
    """Calls the listener with (done, total, note), in network passes. Called with a number of them before they are
    made (see models.deadline.listening). The total is an estimate, which gets better as the work goes on."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.done = listener, 0.0
        self.tasks: dict[str, _Task] = {}
        self.name, self.images, self.inside = "", 0.0, 0.0

    def plan(self, name: str, images: float, passes: float) -> None:
        """There is work called `name` on that many images, of about so many passes each."""
        self.tasks[name] = _Task(images, passes)

    def expect(self, name: str, passes: float) -> None:
        """The same of work that was planned, unless some of it is done, which tells more."""
        task = self.tasks.get(name)
        if task is not None and not task.seen:
            task.passes = passes

    def begin(self, name: str, images: float) -> None:
        """The work before is finished; `name` begins, on that many images."""
        self.end()
        task = self.tasks.setdefault(name, _Task(images, 1.0))
        self.name, self.images, task.images = name, images, max(task.images - images, 0)
        self._tell()

    def end(self) -> None:
        """What was begun is done."""
        if self.name and self.images:
            task = self.tasks[self.name]
            task.spent, task.seen = task.spent + self.inside, task.seen + self.images
            task.passes = task.spent / task.seen
        self.done, self.images, self.inside = self.done + self.inside, 0.0, 0.0

    def finish(self) -> None:
        """All is done, or given up."""
        self.end()
        self.tasks.clear()
        self._tell()

    def __call__(self, passes: int) -> None:
        self.inside += passes
        self._tell()

    def _tell(self) -> None:
        now = self.tasks.get(self.name)
        expected = 0.0 if now is None else self.images * now.passes
        rest = sum(task.images * task.passes for task in self.tasks.values())
        self.listener(self.done + self.inside, self.done + max(self.inside, expected) + rest, self.name)
