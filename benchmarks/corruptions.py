"""escrime's corruptions beside the package imagecorruptions: how far both move an image, how alike the pictures are, the time.

    python -m venv reference && reference/bin/pip install "numpy<2" scikit-image==0.20.0 "opencv-python-headless<4.11" \\
        "pillow<11" "scipy<1.14" "setuptools<80" && reference/bin/pip install --no-deps imagecorruptions==1.1.2
    python -m benchmarks.corruptions --reference reference/bin/python --folder IMAGENETTE/val --out docs/results/corruptions.md

The two take turns, five images each, with one thread; only ratios of neighboring times are kept. For a corruption without
randomness the pictures are compared value by value too. What is between the marks in the page is replaced.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from escrime.corruptions import COMMON, EXTRA, SEVERITIES, corrupt

from .output import describe

RANDOM_FREE = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
CPU = torch.device("cpu")
TURN = 5  # images


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--reference", required=True, metavar="PYTHON", help="of an environment with imagecorruptions")
    options.add_argument("--folder", required=True, type=Path, metavar="DIR", help="photographs, in folders by class")
    options.add_argument("--images", type=int, default=20)
    options.add_argument("--only", nargs="+", default=[*COMMON, *EXTRA], metavar="NAME")
    options.add_argument(
        "--out", type=Path, metavar="FILE.md|.json", help="a page with the two marks, or a file of the figures"
    )
    given = options.parse_args()
    torch.set_num_threads(1)
    images = photographs(given.folder, given.images)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        rows = compared(given.reference, images, given.only, folder)
    if given.out and given.out.suffix == ".json":
        given.out.write_text(json.dumps(rows, indent=1))
        return
    text = table(rows, len(images))
    if given.out:
        page = given.out.read_text(encoding="utf-8")
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        given.out.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(text)


def photographs(folder: Path, count: int) -> Tensor:
    """So many photographs (N, 3, 224, 224), as many of each class as the other."""
    classes = sorted(one for one in folder.iterdir() if one.is_dir())
    files = [sorted(classes[k % len(classes)].iterdir())[k // len(classes)] for k in range(count)]
    arrays = [np.array(Image.open(file).convert("RGB").resize((224, 224))) for file in files]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255


def compared(python: str, images: Tensor, names: list[str], folder: str) -> list[dict]:
    """One row per corruption and severity."""
    worker = subprocess.Popen(
        [python, str(Path(__file__).with_name("reference_corruptions.py")), f"{folder}/images.npy", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = []
    for name in names:
        for severity in SEVERITIES:
            theirs, ours, times = [], [], []
            corrupt(images[:1], name, severity)  # what is made once, such as a table of a distribution
            for start in range(0, len(images), TURN):
                at = range(start, min(start + TURN, len(images)))
                worker.stdin.write(f"{name} {severity} {at.start} {at.stop}\n")
                worker.stdin.flush()
                took, before = float(worker.stdout.readline()), time.perf_counter()
                ours.append(corrupt(images[at.start : at.stop], name, severity, ids=list(at)))
                times.append((time.perf_counter() - before, took))
                theirs.append(torch.from_numpy(np.load(f"{folder}/made.npy")).permute(0, 3, 1, 2).float() / 255)
            rows.append(row(name, severity, images, torch.cat(ours), torch.cat(theirs), times))
            print(rows[-1], flush=True)
    worker.stdin.close()
    worker.wait()
    return rows


def row(name: str, severity: int, images: Tensor, ours: Tensor, theirs: Tensor, times: list[tuple[float, float]]) -> dict:
    return {
        "name": name,
        "severity": severity,
        "moved": [levels(made, images) for made in (ours, theirs)],
        "psnr": [decibels(made, images) for made in (ours, theirs)],
        "between": levels(ours, theirs) if name in RANDOM_FREE else None,
        "faster": median(slow / fast for fast, slow in times),
        "seconds": [sum(side) for side in zip(*times, strict=True)],
    }


def levels(a: Tensor, b: Tensor) -> float:
    """The mean distance of two color values, in levels of 255."""
    return float((a - b).abs().double().mean()) * 255


def decibels(made: Tensor, images: Tensor) -> float:
    """The mean over images of the peak signal-to-noise ratio."""
    error = (made - images).double().square().flatten(1).mean(1).clamp(min=1e-10)
    return float((-10 * error.log10()).mean())


def table(rows: list[dict], count: int) -> str:
    """Of all corruptions: what both do at severities 1, 3 and 5, and by how much ours is faster."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    spent = {
        side: sum(row["seconds"][at] for row in rows if row["name"] in COMMON) for at, side in enumerate(("ours", "theirs"))
    }
    rest = [sum(row["seconds"][at] for row in rows if row["name"] in COMMON and row["name"] != "glass_blur") for at in (0, 1)]
    lines = [
        f"Measured on {describe(CPU)}, {count} photographs of 224 px. Each cell: ours / theirs.",
        "",
        "| corruption | mean change in levels at severity 1, 2, 3, 4, 5 | PSNR in dB | pixels apart | faster by |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        own = [row for row in rows if row["name"] == name]
        moved = ", ".join(f"{r['moved'][0]:.1f} / {r['moved'][1]:.1f}" for r in own)
        psnr = ", ".join(f"{r['psnr'][0]:.1f} / {r['psnr'][1]:.1f}" for r in own)
        apart = "drawn" if own[0]["between"] is None else f"{max(r['between'] for r in own):.2f}"
        lines.append(f"| {name} | {moved} | {psnr} | {apart} | **{median(r['faster'] for r in own):.1f}×** |")
    if set(COMMON) <= set(names):
        lines += [
            "",
            f"All fifteen at five severities: **{spent['theirs'] / spent['ours']:.0f}×** faster, and without glass blur, "
            f"on which theirs spends most of its time, **{rest[1] / rest[0]:.1f}×**.",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
