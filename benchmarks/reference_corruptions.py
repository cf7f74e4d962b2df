"""The other side of `benchmarks.corruptions`: the package imagecorruptions, in the environment of its own that its age needs.

It is started with a file of images, uint8 (N, H, W, 3), and answers each line "NAME SEVERITY START STOP" with the seconds that
those images took; the pictures lie in OUT/made.npy then.
"""

import sys
import time
import warnings

warnings.simplefilter("ignore")

import cv2  # noqa: E402
import imagecorruptions  # noqa: E402
import numpy as np  # noqa: E402
from imagecorruptions import corruptions  # noqa: E402

_gaussian = corruptions.gaussian


def gaussian(image, sigma, multichannel=False, **options):
    """scikit-image's, whose option `multichannel` has another name today."""
    return _gaussian(image, sigma, channel_axis=-1 if multichannel else None, **options)


def main(images: str, out: str) -> None:
    cv2.setNumThreads(1)
    corruptions.gaussian = gaussian
    pictures = np.load(images)
    for line in sys.stdin:
        name, severity, first, last = line.split()
        np.random.seed(int(first))
        some = pictures[int(first) : int(last)]
        start = time.perf_counter()
        made = [imagecorruptions.corrupt(picture, severity=int(severity), corruption_name=name) for picture in some]
        took = time.perf_counter() - start
        np.save(f"{out}/made.npy", np.stack(made))
        print(took, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
