"""How time and memory of `escrime evaluate` grow with the number of images: generated digits, the digits' small network.

    python -m benchmarks.scale --images 1000,10000,100000 --attack FGSM,PGD --eps 0.3

Each size runs in a process of its own, from reading the folder to the report; its peak is that of its resident memory.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import escrime
from escrime.models import save_weights
from escrime.training import TrainSettings, fit

NOISE = 0.03  # of the color range, so that no two generated images are the same


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", default="1000,10000,100000")
    options.add_argument("--attack", default="FGSM,PGD")
    options.add_argument(
        "--eps", default="0.3", help="large enough that the attack leaves few: it is the rest that is measured"
    )
    options.add_argument("--folder", type=Path, help="keep the run folders here")
    options = options.parse_args()
    print(f"{'images':>8}{'seconds':>10}{'ms/image':>10}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory() as place:
        splits = escrime.data.load("digits")
        model = escrime.build("lenet", 10, seed=0)
        fit(model, splits.train, settings=TrainSettings(epochs=12, learning_rate=0.05))
        weights = Path(place) / "lenet.safetensors"
        save_weights(model, weights, {"classes": splits.train.classes, "size": 8})
        for count in map(int, options.images.split(",")):
            images, out = Path(place) / "images", (options.folder or Path(place)) / f"scale-{count}"
            generate(splits.test, count, images)
            command = ["evaluate", "--model", f"lenet@{weights}", "--data", str(images), "--eps", options.eps]
            command += ["--attack", options.attack, "--out", str(out), "--json"]
            seconds, peak = measured([sys.executable, "-m", "escrime", *command], Path(place) / "cache")
            print(f"{count:>8}{seconds:>10.1f}{1000 * seconds / count:>10.2f}{peak:>10.0f}", flush=True)
            shutil.rmtree(images)


def generate(test: escrime.data.ImageSet, count: int, folder: Path) -> None:
    """`count` PNGs of 8 × 8 in one folder per digit: images of `test`, each with noise of its own."""
    noise = np.random.default_rng(0)
    for name in test.classes:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels, label = test.images[number % len(test)], test.labels[number % len(test)]
        moved = np.asarray(pixels).transpose(1, 2, 0) + 255 * NOISE * noise.uniform(-1, 1, (8, 8, 1))
        image = Image.fromarray(moved.clip(0, 255).round().astype(np.uint8))
        image.save(folder / test.classes[int(label)] / f"{number:06d}.png", compress_level=1)


def measured(command: list[str], cache: Path) -> tuple[float, float]:
    """(seconds, peak resident MiB) of the command; SystemExit with what it said where it fails."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | {"ESCRIME_CACHE": str(cache)})
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(said.read().decode()[-2000:])
    return time.perf_counter() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
