"""One epoch of training, and what lives from the first to the last: optimizer, moving average, teacher."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from ..models.fast.kernels import Kernels
from .augment import augment
from .averaging import Average
from .context import Context, Tally
from .divergence import LossWatch, finite_names
from .identity import appearance
from .inputs import TrainingInputs
from .loader import epoch_order, steps_per_epoch
from .noise import EpochNoise, image_keys
from .schedule import learning_rate
from .session import own_generators, seed_dropout, training_mode
from .setup import check_loss, count_classes, explained, make_optimizer, statistics
from .teacher import Teacher

MEASURED = ("epoch", "loss", "accuracy", "adversarial_accuracy", "learning_rate", "seconds", "images_per_second")


class Trainer:
    """Trains the model of `inputs`, which is on its device already and the same in every process from now on.

    average: of the weights, None without EMA; teacher_digest: hash of the `teacher` given, None without.

    Raises:
        EscrimeError: For images, labels or a teacher that do not fit the model.
    """

    def __init__(self, inputs: TrainingInputs, teacher: nn.Module | None):
        model, settings = inputs.model, inputs.settings
        self.inputs, self.model, self.settings = inputs, model, settings
        self.classes = count_classes(model, inputs.loader)
        if inputs.test is not None:
            count_classes(model, inputs.test)
        inputs.team.same_weights(model)
        self.teacher: Teacher | None = None
        self.teacher_digest: str | None = None
        if teacher is not None:
            self.teacher, self.teacher_digest = self._prepared(teacher)
        fast = inputs.loader.layout == torch.channels_last and inputs.device.type == "cpu"
        self._kernels: Callable[[], AbstractContextManager] = Kernels(model).installed if fast else ExitStack
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(self.parameters, settings, inputs.device)
        self.average = None if settings.ema is None else Average(model, settings.ema)
        self._finite = finite_names(model)
        self._keys = image_keys(inputs.seed, inputs.data.ids)
        self._steps = steps_per_epoch(len(inputs.rows), settings.batch_size)

    def _prepared(self, teacher: nn.Module) -> tuple[Teacher, str]:
        """The teacher as the loss asks it, and its digest, on which all processes agree."""
        inputs, settings = self.inputs, self.settings
        seed_dropout(inputs.device, inputs.seed, 0)  # a random teacher's first outputs, too, hang on the seed alone
        guide = Teacher(teacher, inputs.loader.first(2), self.classes, settings.teacher_weight, settings.temperature)
        digest = appearance(teacher)
        inputs.team.agree(digest, "a teacher with the digest")
        return guide, digest

    def averaged(self) -> AbstractContextManager:
        """Within the block the model holds what would be returned: the average, where there is one."""
        return ExitStack() if self.average is None else self.average.in_place()

    def epoch(self, epoch: int, last_good: str, on_batch: Callable[[int, int], None] | None) -> dict:
        """Train once on every image.

        Args:
            epoch: Its number, from 0.
            last_good: Where to go back to, in words for messages.
            on_batch: Called with (batches done, batches in all).

        Returns:
            The record of the epoch, as far as training knows it.

        Raises:
            EscrimeError: For a loss or weights that diverge, a batch that does not fit into memory, a loss that cannot be
                minimized.
        """
        inputs, team = self.inputs, self.inputs.team
        training_mode(self.model, self.settings.freeze_batchnorm)
        seed_dropout(inputs.device, inputs.seed, epoch, team.rank)
        draws, tally = EpochNoise(self._keys, epoch), Tally()
        watch = LossWatch(epoch + 1, self._finite, last_good)
        started, steps = time.perf_counter(), self.settings.epochs * self._steps
        order = epoch_order(len(inputs.rows), inputs.seed, epoch, self.settings.batch_size)
        for done, batch in enumerate(order, start=epoch * self._steps):
            rate = learning_rate(self.settings, done, steps)
            rows = inputs.rows[team.part(batch)]
            context = Context(rows, draws, self.classes, self.settings.label_smoothing, tally, self.teacher)
            loss = self._gradients(context, team.weight(batch), last_good)
            self._step(done, rate)
            watch.add(loss, len(rows), rate)
            if on_batch is not None:
                with own_generators(inputs.device):
                    on_batch(done + 1, steps)
        watch.look()
        watch.check_weights(self.model)
        seconds = time.perf_counter() - started
        team.average(statistics(self.model, self.average))
        values = (epoch + 1, watch.mean(team.total), *tally.accuracies(team.total), rate, seconds, len(inputs.rows) / seconds)
        return dict(zip(MEASURED, values, strict=True))

    def _gradients(self, context: Context, weight: float, last_good: str) -> Tensor:
        """Craft and run the batch of `context` forward and backward; its loss, whose gradients, times `weight`, are the
        parameters' now."""
        inputs = self.inputs
        pixels, labels = inputs.loader.pixels(context.rows)
        pixels = augment(pixels, partial(context.draws.fractions, rows=context.rows), self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        bfloat16 = self.settings.precision == "bfloat16"
        with explained(self.settings, last_good), self._kernels():  # backward too: checkpointed parts run again there
            images = inputs.loader.floats(pixels)
            context.show(images)
            with torch.autocast(inputs.device.type, torch.bfloat16, bfloat16, cache_enabled=False):
                loss = inputs.objective(self.model, images, labels, context)
            check_loss(loss, inputs.objective)
            (loss if weight == 1 else loss * weight).backward()
        return loss

    def _step(self, done: int, rate: float) -> None:
        """Move the weights along the gradients of all processes, and the average after them; `done` steps came before."""
        self.inputs.team.average_gradients(self.parameters)
        if self.settings.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_gradient)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.average is not None:
            self.average.update(done)
