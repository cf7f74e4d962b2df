"""Command-line options that `attacks` and `parity` share, and the subjects they describe."""

import argparse
import sys

import torch

from .models import SETTINGS, Setting, Subject, batches, subject


def parser(description: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in SETTINGS:
        options.add_argument(f"--{name}", metavar="FILE", help=f"weights of the undefended {SETTINGS[name].title} model")
        options.add_argument(f"--{name}-robust", metavar="FILE", help="the same network after adversarial training")
    options.add_argument("--data", metavar="NAME|FILE", help="a dataset of escrime, or an .npz file with images and labels")
    options.add_argument("--folder", metavar="DIR", help="where the images of the dataset are")
    options.add_argument("--classes", type=int, default=10)
    options.add_argument("--target", type=int, default=1, help="class of directed attacks (1: English springer in Imagenette)")
    options.add_argument("--images", type=int, metavar="N", help="images per batch (default: one network batch, at most 256)")
    options.add_argument(
        "--settings",
        type=listed(SETTINGS),
        default=["googlenet", "resnet"],
        help="of googlenet,resnet,small (default: the first two)",
    )
    options.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options.add_argument("--out", metavar="FILE.json|.md", help="also write the result here")
    return options


def listed(known):
    """The argument type "a,b,c" with every part in `known`."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; use some of {','.join(known)}")
        return names

    return parse


def weights(options, setting: Setting, hardened: bool) -> str | None:
    return getattr(options, f"{setting.name}{'_robust' if hardened else ''}")


def make_subject(options, setting: Setting, hardened: bool) -> Subject:
    """The model of a setting and the images that it gets right, as the options say."""
    file = weights(options, setting, hardened)
    if file is None:
        kind = "adversarially trained" if hardened else "undefended"
        tell(f"No weights for the {kind} {setting.title} model: they are random, and its accuracies mean nothing.")
    # Random weights get next to no photo right; they are run on noise with the labels they give it.
    data = batches(options.data, options.folder, setting) if file is not None else None
    if file is not None and data is None:
        tell("No --data: the images are noise with the labels that the model gives it; accuracies mean nothing.")
    return subject(setting, file, data, options.images, options.classes, options.target, options.device)


def tell(text: str) -> None:
    """Progress goes to stderr, the result alone to stdout."""
    print(text, file=sys.stderr, flush=True)
