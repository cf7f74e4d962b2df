"""A model from one line of text: `load_model("torchvision:resnet50")`, a file, a function, an exported program."""

from ...specifications import SPECS
from .loaded import Loaded
from .spec import load_model

__all__ = ["SPECS", "Loaded", "load_model"]
