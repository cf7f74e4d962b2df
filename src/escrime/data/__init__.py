"""Datasets → uint8 images decoded once into a cache → float32 batches in [0, 1] on the device.

>>> from escrime.data import load
>>> train, test = load("digits")
>>> images, labels = test.limit(50, seed=0).batch(slice(0, 10))
"""

from ..discovery import modules_in
from .cache import cache_folder
from .classes import class_places, labels_for
from .content import overlap
from .dataset import DATASETS, Dataset, ImageFiles, Options
from .decode import UnreadableImage, read_image
from .imagenette import IMAGENET_INDICES, WNIDS
from .imageset import ImageSet, Splits, floats
from .load import class_names, load, load_to_judge

modules_in(__name__, __path__)  # each dataset registers itself: one more is one more file

__all__ = [
    "DATASETS",
    "Dataset",
    "IMAGENET_INDICES",
    "ImageFiles",
    "ImageSet",
    "Options",
    "Splits",
    "UnreadableImage",
    "WNIDS",
    "cache_folder",
    "class_names",
    "class_places",
    "floats",
    "labels_for",
    "load",
    "load_to_judge",
    "overlap",
    "read_image",
]
