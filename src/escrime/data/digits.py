"""scikit-learn's 1,797 handwritten digits as RGB images: the embedded dataset, no download.

Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; the test part, as scikit-learn
ships it: 8×8 pixels with values 0–16.
"""

import numpy as np
from PIL import Image

from .dataset import Dataset, Options
from .decode import to_square
from .imageset import ImageSet, Splits
from .sampling import stratified_split

SIDE = 8
TEST_IMAGES = 360  # of 1,797, which leaves 1,437 to train on
SPLIT_SEED = 2020
CLASSES = tuple("0123456789")


class Digits(Dataset):
    name = "digits"
    what = "scikit-learn's 1,797 handwritten digits, 8×8, ten classes; built in, nothing to download"
    side = SIDE
    folder = "none"

    def load(self, options: Options) -> Splits:
        train, test = digits(options.train_size)
        return Splits(*options.kept([train, test if options.train_size == options.size else digits(options.size)[1]]))


def digits(size: int = SIDE) -> tuple[ImageSet, ImageSet]:
    """(train, test): 1,437 and 360 images, each digit in proportion; resized (bilinear) when `size` is not 8."""
    from sklearn.datasets import load_digits

    data = load_digits()
    gray = np.rint(data.images * (255 / 16)).astype(np.uint8)
    if size == SIDE:
        images = np.repeat(gray[:, None], 3, axis=1)
    else:
        images = np.stack([to_square(Image.fromarray(image).convert("RGB"), size) for image in gray])
    ids = tuple(f"digits/{row:04d}" for row in range(len(images)))
    whole = ImageSet("digits", images, data.target, ids, CLASSES)
    train, test = stratified_split(TEST_IMAGES, SPLIT_SEED, ids, whole.labels, CLASSES)
    return whole.select(train), whole.select(test)
