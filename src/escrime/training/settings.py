"""How to train: everything about a training run that is neither the model, the data, nor the objective."""

from dataclasses import asdict, dataclass

from ..errors import EscrimeError
from ..validation import check_choice, check_flag, check_real, check_whole
from .augment import parse_augment
from .checked import Checked

SCHEDULES = {
    "constant": "the same learning rate throughout (the paper)",
    "cosine": "half a cosine from the learning rate to 0",
    "one-cycle": "up from 1/25 of the learning rate over the first 30 % of the steps, then down to 0 (Smith, 2018)",
    "multi-step": "multiplied by `decay` at each of `milestones` (fractions of the run)",
}
OPTIMIZERS = {
    "sgd": "stochastic gradient descent with momentum (the paper)",
    "adamw": "Adam with decoupled weight decay (Loshchilov and Hutter, 2019)",
}
PRECISIONS = {
    "float32": "single precision everywhere (on a GPU, convolutions in TensorFloat-32 unless you have switched that off)",
    "bfloat16": "bfloat16 autocast in forward and backward, float32 weights; on a CPU faster with AMX, slower without",
}
ON_OVERFITTING = {
    "stop": "training stops, and the model holds the weights of the best epoch",
    "warn": "a warning, and training goes on",
}
KEEP = {
    "last": "the weights of the last epoch",
    "best": "those of the epoch with the highest probed PGD accuracy",
}
OF_TEACHERS = ("teacher_weight", "temperature")  # settings that do nothing without one


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Checked):
    """Settings of `fit`. The defaults are the paper's: SGD, learning rate 0.01, momentum 0.9, 5 epochs, nothing else.

    epochs: passes over the training set.
    learning_rate: peak learning rate; `schedule` says how it moves (see SCHEDULES).
    momentum, nesterov: of SGD; AdamW ignores them.
    weight_decay: on every trainable parameter.
    batch_size: the largest batch. An epoch is cut into batches whose sizes differ by at most one, so that no tiny last
        batch upsets BatchNorm and every image is seen once.
    milestones, decay: of the multi-step schedule; milestones are fractions of the run.
    label_smoothing: share of the label spread evenly over all classes, in the loss (never in crafting).
    ema: decay of an exponential moving average of the weights, which is then what is evaluated and returned; None: off.
    clip_gradient: largest l_2 norm of the whole parameter gradient; None: off.
    augment: "none", or some of "flip", "crop" and "resized-crop" joined by "+", drawn per image and epoch.
    crop_padding: of "crop", as a fraction of the side (0.125 is 4 pixels at 32).
    crop_area: of "resized-crop", the smallest share of the image's area that is kept.
    crop_size: of "resized-crop", the side in pixels of what it cuts; None: that of the images. Larger images, up to about
        one and a half times this side, so keep their detail in crops; where no crop is drawn (probes) they are resized.
    freeze_batchnorm: keep BatchNorm on its running statistics and leave them as they are, which is right for
        pre-trained networks whose BatchNorm has been folded or whose new data are few.
    channels_last: lay images and weights out as NHWC in memory, which convolutions run faster on, where the model runs so.
    precision: "float32" or "bfloat16" (see PRECISIONS).
    teacher_weight, temperature: of a teacher's outputs in the loss, where `fit` is given one (see teacher.py).
    probe_images: how many training images an objective with an ε holds back (drawn by seed, each class in proportion) to
        measure clean, FGSM and PGD-10 accuracy at ε on after each epoch; 0: off. An objective without ε holds back none.
        The alarms of alarms.py need some 100 or more to tell a fall from chance.
    on_overfitting: what a probed run does when it resists FGSM only (see ON_OVERFITTING).
    keep: which weights the model holds at the end (see KEEP); without a probe the last ones.
    """

    epochs: int = 5
    learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    batch_size: int = 64
    schedule: str = "constant"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = 0.1
    optimizer: str = "sgd"
    label_smoothing: float = 0.0
    ema: float | None = None
    clip_gradient: float | None = None
    augment: str = "none"
    crop_padding: float = 0.125
    crop_area: float = 0.35
    crop_size: int | None = None
    freeze_batchnorm: bool = False
    channels_last: bool = True
    precision: str = "float32"
    teacher_weight: float = 0.5
    temperature: float = 2.0
    probe_images: int = 0
    on_overfitting: str = "stop"
    keep: str = "last"

    def __post_init__(self) -> None:
        self._put(check_whole, "epochs", "batch_size")
        self._put(check_real, "learning_rate", "decay", above=0)
        self._put(check_real, "weight_decay", low=0)
        self._put(check_real, "momentum", "label_smoothing", high=0.9999, low=0)
        self._put(check_real, "crop_padding", high=0.5, low=0)
        self._put(check_real, "crop_area", above=0, high=1)
        self._put(check_real, "teacher_weight", high=1, low=0)
        self._put(check_real, "temperature", low=0.01, high=1000)
        if self.ema is not None:
            self._put(check_real, "ema", high=0.999999, low=0)
        if self.clip_gradient is not None:
            self._put(check_real, "clip_gradient", above=0)
        self._put(check_flag, "nesterov", "freeze_batchnorm", "channels_last")
        if self.nesterov and self.momentum == 0:
            raise EscrimeError("nesterov = True needs momentum; set momentum = 0.9 or nesterov = False.")
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("precision", self.precision, PRECISIONS)
        self._put(check_whole, "probe_images", low=0)
        check_choice("on_overfitting", self.on_overfitting, ON_OVERFITTING)
        check_choice("keep", self.keep, KEEP)
        if self.keep == "best" and self.probe_images == 0:
            raise EscrimeError('keep = "best" needs images to judge by; set probe_images, such as 256, or keep = "last".')
        names = parse_augment(self.augment)
        if self.crop_size is not None:
            self._put(check_whole, "crop_size")
            if "resized-crop" not in names:
                raise EscrimeError(
                    f'crop_size = {self.crop_size}, which a train_size sets too, is of "resized-crop"; set augment = '
                    '"flip+resized-crop", or leave it out.'
                )
        if not isinstance(self.milestones, (list, tuple)):
            raise EscrimeError(f"milestones = {self.milestones!r}; give a list of fractions such as [0.5, 0.75].")
        points = tuple(check_real("milestones", point, above=0, high=1) for point in self.milestones)
        if list(points) != sorted(points):
            raise EscrimeError(f"milestones = {list(points)} do not increase; sort them.")
        object.__setattr__(self, "milestones", points)  # a TOML list becomes a tuple, so that settings stay hashable

    def as_dict(self, taught: bool = True) -> dict:
        """The settings as plain JSON values; taught=False: but for those that need a teacher."""
        values = asdict(self) | {"milestones": list(self.milestones)}
        return {name: value for name, value in values.items() if taught or name not in OF_TEACHERS}
