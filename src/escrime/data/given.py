"""Images and labels as people have them, read into one form: arrays, lists, pictures, a Dataset, a DataLoader, rows of a table.

Every entry of the Python interface reads its data here, so that they all take the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from ..checks import check_images, check_labels
from ..errors import EscrimeError
from .content import pixel_digests
from .imageset import ImageSet, floats

IMAGES = ("image", "img", "pixel_values", "pixels", "images")  # names of a row's picture, as tables of images have them,
LABELS = ("label", "labels", "target", "fine_label", "y")  # and of its class
SET = ("labels", "ids", "subsets", "batch")  # what an ImageSet, or what stands for one, has
TAKEN = (
    "an ImageSet, a pair (images, labels), a DataLoader, a Dataset of (image, label) or of rows with "
    f"{' or '.join(map(repr, IMAGES[:2]))} and {LABELS[0]!r}, or a list of (image, label)"
)


@dataclass(frozen=True, eq=False)
class Given:
    """Images and labels that somebody gave.

    Args:
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,), on the CPU.
        ids: One per image, the key of its randomness: its place in what was given, from 0; where the order may be another the
            next time (a DataLoader that shuffles, an iterator), a hash of its pixels.
        classes: Their names, where what was given names them.
    """

    images: Tensor
    labels: Tensor
    ids: tuple
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def as_set(self, name: str = "given") -> ImageSet:
        """The same as an ImageSet, whose pixels are rounded to 8 bits, which changes nothing in pictures from files.

        Raises:
            EscrimeError: For images that have not three channels.
        """
        pixels = (self.images.detach().cpu() * 255).round().byte().numpy()
        if pixels.ndim == 4 and pixels.shape[1] == 1:
            pixels = pixels.repeat(3, axis=1)
        count = int(self.labels.max()) + 1 if len(self.labels) else 0
        named = self.classes if self.classes is not None and len(self.classes) >= count else ()
        classes = tuple(named) or tuple(map(str, range(count)))
        return ImageSet(name, pixels, self.labels.numpy(), tuple(map(str, self.ids)), classes)


def read(data: Any, what: str = "data") -> Any:
    """`data` as an ImageSet (or what has the same attributes), which comes back as it is, or a Given.

    Args:
        data: See TAKEN. Images are tensors or NumPy arrays (C, H, W), floating-point in [0, 1], or PIL pictures, whose 8-bit
            values become k/255. They are read once and held in memory.
        what: What messages call it.

    Returns:
        An ImageSet or a Given.

    Raises:
        EscrimeError: For anything else, NHWC, uint8 arrays, and pictures of different sizes.
    """
    if isinstance(data, Given) or all(hasattr(data, name) for name in SET):
        return data
    if isinstance(data, (tuple, list)) and not _are_rows(data):
        if len(data) != 2:
            raise EscrimeError(f"{what} is a {type(data).__name__} of {len(data)}; give {TAKEN}.")
        images = read_images(data[0])
        return Given(images, check_labels(data[1], len(images)).cpu(), tuple(range(len(images))))
    if isinstance(data, (Tensor, np.ndarray, str, bytes, Mapping)) or not isinstance(data, Iterable) and not _indexed(data):
        raise EscrimeError(f"{what} is a {type(data).__name__}; give {TAKEN}.")
    pictures: list[Any] = []
    labels: list[int] = []
    for image, label in _rows(data, what):
        pictures.append(image)
        labels.append(_label(label, what))
    if not pictures:
        raise EscrimeError(f"{what} holds no image; give at least one.")
    images = read_images(pictures)
    stable = _indexed(data)
    ids: tuple = tuple(range(len(images))) if stable else _hashes(images)
    return Given(images, torch.tensor(labels, dtype=torch.int64), ids, _class_names(data))


def as_image_set(data: Any, what: str = "data") -> ImageSet:
    """`data`, which `read` takes, as an ImageSet of 8-bit pictures, for what keeps many of them."""
    found = read(data, what)
    if isinstance(found, Given):
        return found.as_set()
    if not isinstance(found, ImageSet):
        raise EscrimeError(f"{what} is a {type(found).__name__}; give {TAKEN}.")
    return found


def read_images(images: Any) -> Tensor:
    """Images as float32 (N, C, H, W) in [0, 1]: a tensor as it is, checked; a NumPy array of floats; a list of tensors, arrays
    or PIL pictures of one size.

    Raises:
        EscrimeError: As `read`.
    """
    if isinstance(images, (list, tuple)) and images:
        images = _stacked([_picture(image) for image in images])
    return check_images(_tensor(images)) if isinstance(images, np.ndarray) else check_images(images)


def _tensor(array: np.ndarray) -> Tensor:
    """A NumPy array as a tensor; of floats of any precision in float32, where none leaves [0, 1]."""
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.kind not in "biu":
        raise EscrimeError(f"images are an array of {array.dtype}; give float32 in [0, 1], of shape (N, C, H, W).")
    return torch.from_numpy(np.ascontiguousarray(array))


def _picture(image: Any) -> Tensor:
    """One image as a tensor (C, H, W)."""
    if isinstance(image, Tensor):
        return image.detach()
    if isinstance(image, np.ndarray):
        return _tensor(image)
    if not _is_picture(image):
        kind = type(image).__name__
        raise EscrimeError(f"an image is a {kind}; give float32 (C, H, W) in [0, 1], a NumPy array of them, or a PIL picture.")
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"):
        raise EscrimeError(
            f"a picture has the mode {image.mode!r}, which is not of 8 bits; give its values as float32 in [0, 1]."
        )
    pixels = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return floats(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Images of one size as one tensor; gray pictures among colored ones in color."""
    colors = {image.shape[0] for image in images if image.dim() == 3}
    if colors == {1, 3}:
        images = [image.expand(3, -1, -1) for image in images]
    shapes = list(dict.fromkeys(tuple(image.shape) for image in images))
    if len(shapes) > 1:
        raise EscrimeError(
            f"the images have different shapes, such as {shapes[0]} and {shapes[1]}; resize them to what the model takes, as "
            "by torchvision.transforms.Resize((224, 224))."
        )
    return torch.stack([image.contiguous() for image in images])


def _are_rows(data: Sequence) -> bool:
    """Whether a list holds (image, label) or rows with names, and is no pair (images, labels)."""
    pair = lambda row: isinstance(row, (tuple, list)) and len(row) == 2 and _is_image(row[0]) and not _is_image(row[1])  # noqa: E731
    return bool(data) and all(isinstance(row, Mapping) or pair(row) for row in data)


def _is_image(value: Any) -> bool:
    return getattr(value, "ndim", 0) > 1 or _is_picture(value)


def _is_picture(value: Any) -> bool:
    """Whether it is one of PIL."""
    return hasattr(value, "mode") and callable(getattr(value, "convert", None))


def _is_label(value: Any) -> bool:
    return isinstance(value, Integral) or getattr(value, "ndim", None) == 0


def _indexed(data: Any) -> bool:
    """Whether the same number is the same image every time."""
    if isinstance(data, DataLoader):  # which may shuffle; its own `sampler` is not asked where it was given one of batches
        batches: Any = data.batch_sampler
        plain = batches is None or type(batches) is BatchSampler
        return plain and isinstance(data.sampler if batches is None else batches.sampler, SequentialSampler)
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _rows(data: Any, what: str) -> Iterator[tuple[Any, Any]]:
    """Every (image, label) of `data`: those of a Dataset or a list one by one, those of a DataLoader's batches."""
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        yield from (_pair(data[at], what) for at in range(len(data)))
        return
    for row in data:
        images, labels = _pair(row, what)
        if getattr(labels, "ndim", 0) == 1 or isinstance(labels, (list, tuple)):  # a batch
            if len(images) != len(labels):
                raise EscrimeError(f"a batch of {what} has {len(images)} images and {len(labels)} labels; give one label each.")
            yield from zip(images, labels)
        else:
            yield images, labels


def _pair(row: Any, what: str) -> tuple[Any, Any]:
    """The image and the label of a row, or those of a batch."""
    if isinstance(row, Mapping):
        image = next((row[name] for name in IMAGES if name in row), None)
        label = next((row[name] for name in LABELS if name in row), None)
        if image is None or label is None:
            raise EscrimeError(
                f"a row of {what} has {', '.join(map(repr, row)) or 'nothing'}; name its picture {IMAGES[0]!r} and its class "
                f"{LABELS[0]!r}."
            )
        return image, label
    if isinstance(row, (tuple, list)) and len(row) == 2:
        return row[0], row[1]
    size = f" of {len(row)}" if isinstance(row, (tuple, list)) else ""
    raise EscrimeError(
        f"a row of {what} is a {type(row).__name__}{size}; rows are (image, label), or have names such as 'image'."
    )


def _label(label: Any, what: str) -> int:
    if _is_label(label) and (value := label.item() if hasattr(label, "item") else label) == int(value):
        if not isinstance(value, (float, bool)):
            return int(value)
    raise EscrimeError(f"a label of {what} is {str(label)[:60]!r}; labels are class indices, whole numbers from 0.")


def _hashes(images: Tensor) -> tuple[str, ...]:
    """A name for each image from its pixels, which does not depend on the order; equal images are told apart by a number."""
    seen: Counter[str] = Counter()
    names = []
    for digest in pixel_digests(images.numpy()):
        name = digest.tobytes().hex()[:16]
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(names)


def _class_names(data: Any) -> tuple[str, ...] | None:
    """The names that torchvision's datasets (`classes`) and those of Hugging Face (the label's feature) give their classes."""
    data = getattr(data, "dataset", data)
    names = getattr(data, "classes", None)
    if names is None and isinstance(features := getattr(data, "features", None), Mapping):
        names = next((getattr(features[name], "names", None) for name in LABELS if name in features), None)
    sound = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return tuple(names) if sound and names else None
