"""Another normalization for a loaded model: what --mean and --std set."""

from dataclasses import replace

from torch import Tensor, nn

from ...validation import CHANNELS, check_both
from ..normalized import Normalized, Values, channel_values
from ..running import Classifier
from .loaded import Loaded, normalization

GIVEN = "--mean and --std"  # where the numbers come from, as the commands tell it


def check_normalization(mean: Values | None, std: Values | None) -> None:
    """Raise EscrimeError for a mean without a std or the reverse, and for what escrime.Normalized refuses."""
    check_both(mean, std)
    if mean is not None and std is not None:
        Normalized(nn.Identity(), mean, std)


def renormalized(loaded: Loaded, mean: Values | None, std: Values | None) -> Loaded:
    """The model behind `(images - mean) / std`, in place of the escrime.Normalized that it begins with, if it does; as it is
    where both are None.

    Raises:
        EscrimeError: As check_normalization.
    """
    check_normalization(mean, std)
    if mean is None or std is None:
        return loaded
    model = loaded.model
    if not isinstance(model, nn.Module):
        before = _Before(model, mean, std)
        return replace(loaded, model=before, normalization=normalization(before, GIVEN))
    network = model.network if isinstance(model, Normalized) else model
    # One value per channel, as everywhere in saved weights.
    new = Normalized(network, channel_values("mean", mean, CHANNELS), channel_values("std", std, CHANNELS))
    new.train(model.training)
    return replace(loaded, model=new, normalization=normalization(new, GIVEN))


class _Before:
    """A black box behind a normalization."""

    def __init__(self, ask: Classifier, mean: Values, std: Values):
        self.ask, self.mean, self.std = ask, channel_values("mean", mean), channel_values("std", std)

    def __call__(self, images: Tensor) -> Tensor:
        return self.ask((images - self.mean.to(images.device)) / self.std.to(images.device))
