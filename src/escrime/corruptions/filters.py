"""Filters whose result for an image is the same to the last bit whatever batch it is in: image by image, each a tensor of its
own, since matrix products and Fourier transforms may round otherwise for other numbers of rows."""

from functools import lru_cache

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import interpolate

MIRROR, EDGE = "reflect", "edge"  # dcb|abc, aaa|abc, by numpy's names


def gaussian(images: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """A Gaussian blur, as scipy's: two products with matrices that hold what is beyond the border too.

    Args:
        images: float32 (N, C, H, W).
        sigma: In px.
        mode: Of the border, as scipy calls it.
        truncate: The reach of the filter in σ.

    Returns:
        (N, C, H, W).
    """
    down = _blurring(images.shape[-2], sigma, mode, truncate)
    across = _blurring(images.shape[-1], sigma, mode, truncate).T
    return torch.stack([down @ (image.clone() @ across) for image in images])


@lru_cache(64)
def _blurring(size: int, sigma: float, mode: str, truncate: float) -> Tensor:
    """The matrix (size, size) that blurs a column."""
    return torch.from_numpy(gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=truncate)).float()


def correlate(image: Tensor, kernel: Tensor) -> Tensor:
    """Σⱼ kernel[j] · image[p + j] at every pixel p, by a Fourier transform; the image is mirrored at its border.

    Args:
        image: One, float32 (C, H, W).
        kernel: (2r + 1, 2r + 1), j = 0 in its middle.

    Returns:
        (C, H, W).
    """
    (height, width), reach = image.shape[-2:], kernel.shape[0] // 2
    framed = padded(image, (reach, reach, reach, reach), MIRROR)
    size = tuple(next_fast_len(n, real=True) for n in framed.shape[-2:])
    product = torch.fft.rfft2(framed, s=size) * torch.fft.rfft2(kernel, s=size).conj()
    return torch.fft.irfft2(product, s=size)[..., :height, :width]


def padded(image: Tensor, frame: tuple[int, int, int, int], mode: str) -> Tensor:
    """The image (..., H, W) with so many pixels more above, below, left and right of it, at any size of either."""
    top, bottom, left, right = frame
    rows = torch.from_numpy(np.pad(np.arange(image.shape[-2]), (top, bottom), mode=mode))  # type: ignore[call-overload]
    columns = torch.from_numpy(np.pad(np.arange(image.shape[-1]), (left, right), mode=mode))  # type: ignore[call-overload]
    return image.index_select(-2, rows).index_select(-1, columns)


@lru_cache(64)
def disk(radius: float, sigma: float) -> Tensor:
    """The kernel of a lens out of focus: a disk of this radius in px, its rim softened by a Gaussian of `sigma`."""
    reach = max(int(radius), 8)
    at = np.arange(-reach, reach + 1)
    flat = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    wide = 1 if radius <= 8 else 2
    # Mirrored at the rim of the array, as theirs is: the two largest disks brighten the image by about 1 %.
    for axis in (0, 1):
        flat = gaussian_filter1d(flat, sigma, axis=axis, mode="mirror", radius=wide)
    used = np.abs(at)[flat.any(0)].max()
    flat = flat[reach - used : reach + used + 1, reach - used : reach + used + 1]
    return torch.from_numpy(flat / (at[:, None] ** 2 + at**2 <= radius**2).sum()).float()


def moved(image: Tensor, length: int, sigma: float, degrees: float) -> Tensor:
    """An image blurred by motion: half a Gaussian along a line from each pixel.

    Args:
        image: One, (C, H, W).
        length: Pixels along the line, the first one included.
        sigma: Of the Gaussian, in px.
        degrees: Of the line, downwards from the right.

    Returns:
        (C, H, W).
    """
    along = np.arange(length)
    weights = np.exp(-(along**2) / (2 * sigma**2))
    rows = np.ceil(along * np.sin(np.deg2rad(degrees)) - 0.5).astype(int)
    columns = np.ceil(along * np.cos(np.deg2rad(degrees)) - 0.5).astype(int)
    top, left = -int(rows.min()), -int(columns.min())
    near = padded(image, (top, int(rows.max()), left, int(columns.max())), EDGE)
    (height, width), total = image.shape[-2:], torch.zeros_like(image)
    for row, column, weight in zip((rows + top).tolist(), (columns + left).tolist(), weights / weights.sum(), strict=True):
        total.add_(near[..., row : row + height, column : column + width], alpha=float(weight))
    return total


def zoomed(image: Tensor, factor: float) -> Tensor:
    """The middle of an image (C, H, W) enlarged to its size, between pixels linearly."""
    height, width = image.shape[-2:]
    tall, wide = (int(np.ceil(n / factor)) for n in (height, width))
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = image[None, :, top : top + tall, left : left + wide].contiguous()
    size = [max(round(tall * factor), height), max(round(wide * factor), width)]
    large = interpolate(middle, size=size, mode="bilinear", align_corners=True)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[:, top : top + height, left : left + width]
