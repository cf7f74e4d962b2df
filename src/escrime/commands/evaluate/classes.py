"""How many classes a model has, and what it calls them, before images are matched with them."""

from collections.abc import Callable

from ...access import LABELS
from ...data.imageset import ImageSet
from ...models import Loaded
from ...models.loading.black_box import count_labels
from ...models.loading.loaded import with_names


def counted(loaded: Loaded, images: ImageSet, ask: Callable[[], int]) -> tuple[Loaded, int]:
    """The model, with the names of its classes where the images do not simply count them in its order, and their number. ask:
    how many logits it returns."""
    if loaded.answers == LABELS and not loaded.classes:
        count_labels(loaded.model, len(images.classes))
    count = ask()
    named = images.wnids or len(images.classes) != count
    return (with_names(loaded, count) if named else loaded), count
