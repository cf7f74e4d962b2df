"""What hardening buys: one network trained clean, then retrained by several recipes; each judged by FGSM, PGD and AutoAttack.

    python -m benchmarks.hardening --data digits --arch wide_resnet_small --eps 0.1 --folder runs/hardening-digits
    python -m benchmarks.hardening --data imagenette --images DIR --arch mobilenet_v2 --weights FILE --size 128 --eps 4/255 \\
        --subset leak-free --set freeze_batchnorm=true --set clip_gradient=0.5 --folder runs/hardening-imagenette

More epochs, robust accuracy after each, and the best weights beside the last (with `--set probe_images=`):

    python -m benchmarks.hardening --data imagenette --images DIR --size 32 --arch lenet --eps 4/255 --epochs 40 --steps 5 \\
        --recipes clean,fgsm-mixed,pgd --set probe_images=512 --set on_overfitting=warn --folder runs/epochs --out epochs.json

From scratch, on crops of larger images, with the whole curve under FGSM (adaptive, and transferred from the clean network):

    python -m benchmarks.hardening --data imagenette --images DIR --size 128 --train-size 160 --arch googlenet --eps .025 \\
        --recipes clean,fgsm-mixed --clean-objective cutmix --clean-epochs 80 --clean-set learning_rate=0.05 \\
        --set batch_size=64 --set augment=flip+resized-crop --curve 0,.025,.05,.075,.1 --device cuda --folder runs/scratch

A network that starts from weights of an earlier folder and learns from another network's answers, judged on larger images:

    python -m benchmarks.hardening --data imagenette --images DIR --size 128 --train-size 160 --test-size 160 \\
        --arch wide_resnet50_2 --start runs/scratch/clean.safetensors --teacher mobilenet_v2@runs/small/clean.safetensors \\
        --eps .025 --recipes clean,trades --set augment=flip+resized-crop --device cuda --folder runs/taught

The folder keeps the weights and what was measured of each recipe: run again to continue, or to judge weights put there.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import pandas as pd
import torch

import escrime
from escrime.budgets import epsilon
from escrime.commands.shared.settings import parse_settings
from escrime.commands.train.teacher import load_teacher
from escrime.data import IMAGENET_INDICES, load
from escrime.files import write_whole
from escrime.models import load_weights, save_weights
from escrime.training import TrainSettings, fit, objective

from .output import describe

RECIPES = "clean,fgsm-mixed,n-fgsm,pgd,trades"
STEPS = 20  # of PGD


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", choices=("digits", "imagenette"), required=True)
    options.add_argument("--images", help="Imagenette's folder")
    options.add_argument("--size", type=int)
    options.add_argument("--train-size", type=int, help="larger training images, for crops of --size or of --set crop_size")
    options.add_argument("--test-size", type=int, help="judge images of this size instead of --size")
    options.add_argument("--arch", required=True)
    options.add_argument("--weights", help="pre-trained on ImageNet, inputs normalized with mean = std = 0.5")
    options.add_argument("--start", type=Path, help="weights that the clean network starts from, of this architecture")
    options.add_argument("--teacher", help="a model, such as ARCH@FILE, whose answers all of them learn from")
    options.add_argument("--eps", type=epsilon, required=True)
    options.add_argument("--recipes", default=RECIPES)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--clean-epochs", type=int)
    options.add_argument("--clean-objective", default="clean", help="of the clean network: clean, mixup or cutmix")
    options.add_argument("--learning-rate", type=float, default=0.01)
    options.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another training setting")
    options.add_argument("--clean-set", action="append", default=[], metavar="NAME=VALUE", help="of the clean network alone")
    options.add_argument("--clean-goal", action="append", default=[], metavar="NAME=VALUE", help="of --clean-objective")
    options.add_argument("--goal", action="append", default=[], metavar="NAME=VALUE", help="setting of the recipes' objectives")
    options.add_argument("--steps", type=int, default=10, help="of TRADES and PGD training")
    options.add_argument("--subset", help="judge only the images of this subset, such as leak-free")
    options.add_argument("--limit", type=int, help="judge this many images")
    options.add_argument(
        "--interpolate",
        type=float,
        metavar="SHARE",
        help="judge SHARE of each recipe's weights + the rest of the clean ones too",
    )
    options.add_argument("--curve", type=grid, help="ε of an FGSM curve over all images of --subset, such as 0,.025,.05")
    options.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--out", type=Path, help="all of it as JSON: conditions, accuracies, and every epoch's log")
    options = options.parse_args()
    splits = load(options.data, size=options.size, train_size=options.train_size, folder=options.images)
    test = splits.test if options.test_size is None else load(options.data, size=options.test_size, folder=options.images).test
    if options.subset:
        test = test.select([row for row, inside in enumerate(test.subsets[options.subset]) if inside])
    whole, test = test, test.limit(options.limit, 0) if options.limit else test
    table = {}
    for name in options.recipes.split(","):
        model = clean = None
        for which, file, change in variants(name, options):
            kept = options.folder / f"{name}{file}.json"
            if not kept.exists():
                model = model or hardened(name, splits.train, options)
                clean = clean or (model if name == "clean" else hardened("clean", splits.train, options))
                if change is not None and not change(model, clean):
                    continue
                found = judged(model, test, options)
                if options.curve:
                    found["curve"] = curve(model, clean, whole, options)
                write_whole(kept, json.dumps(found, indent=1) + "\n")
            table[name + which] = json.loads(kept.read_text())
            print(name + which, table[name + which], file=sys.stderr, flush=True)
    print(markdown(table, options.eps, len(test)))
    if options.out:
        write_whole(options.out, as_json(table, options))


def variants(name: str, options):
    """(what the table adds to the name, what the file's name adds, how the network's weights change or None) of all networks
    of a recipe; a change may find nothing to do, and is then False."""

    def best(model, clean) -> bool:
        weights = options.folder / f"{name}-state" / "best.safetensors"
        if weights.exists():  # trained with a probe
            load_weights(model, weights)
        return weights.exists()

    def towards_clean(model, clean) -> bool:
        load_weights(model, options.folder / f"{name}.safetensors")
        with torch.no_grad():
            tensors = ([*network.parameters(), *network.buffers()] for network in (model, clean))
            for own, first in zip(*tensors, strict=True):
                if own.is_floating_point():
                    own.lerp_(first, 1 - options.interpolate)
        return True

    found = [("", "", None), (" (best epoch)", "-best", best)]
    if options.interpolate is not None and name != "clean":
        found.append((f" ({options.interpolate:g}, clean {1 - options.interpolate:g})", "-interpolated", towards_clean))
    return found


def hardened(name: str, train, options):
    """The network of one recipe, from its file or trained now: clean from the start, the others from the clean one."""
    path = options.folder / f"{name}.safetensors"
    model = built(options, len(train.classes))
    if path.exists():
        return load_weights(model, path).to(options.device)
    if name != "clean":
        load_weights(model, options.folder / "clean.safetensors")
    elif options.start:
        load_weights(model, options.start)
    extra = {"steps": options.steps} if name in ("pgd", "trades") else {}
    extra |= {"eps": options.eps} | parse_settings(options.goal)
    clean = {"name": options.clean_objective} | parse_settings(options.clean_goal)
    goal = objective(**clean) if name == "clean" else objective(name, **extra)
    epochs = options.clean_epochs or options.epochs if name == "clean" else options.epochs
    chosen = dict(epochs=epochs, learning_rate=options.learning_rate, batch_size=32, schedule="one-cycle")
    if options.train_size:
        chosen["crop_size"] = options.size
    own = parse_settings(options.clean_set) if name == "clean" else {}
    settings = TrainSettings(**chosen | parse_settings(options.set) | own)
    teacher = None
    if options.teacher:
        teacher, right = load_teacher(options.teacher, train, settings.crop_size or train.images.shape[-1])
        print(f"teacher: {right}", file=sys.stderr, flush=True)
    begin, state = time.monotonic(), options.folder / f"{name}-state"
    result = fit(model, train, goal, settings=settings, device=options.device, checkpoint=state, teacher=teacher)
    result.history.to_csv(options.folder / f"{name}.csv", index=False)
    print(f"{name}: {time.monotonic() - begin:.0f} s of training", *result.warnings, file=sys.stderr, flush=True)
    save_weights(model, path, {"arch": options.arch, "objective": name})
    return model


def built(options, classes: int):
    if options.weights is None:
        return escrime.build(options.arch, classes, seed=0)
    return escrime.build(
        options.arch, classes, weights=options.weights, head="slice", class_indices=IMAGENET_INDICES, mean=0.5, std=0.5
    )


def judged(model, test, options) -> dict:
    """Accuracy of the images of `test`: clean, and at ε under each attack; with n, 95 % intervals and passes per image."""
    attacks = {
        "FGSM": escrime.FGSM(options.eps),
        "PGD": escrime.PGD(options.eps, steps=STEPS),
        "AutoAttack": escrime.AutoAttack(options.eps),
    }
    begin = time.monotonic()
    grids = {"FGSM": [0, options.eps], "PGD": [options.eps], "AutoAttack": [options.eps]}
    found = escrime.evaluate(model, test, attacks, epsilons=grids, checks=False, device=options.device)
    # All the images together: an image may belong to several subsets.
    records = found.records.drop_duplicates(["attack", "eps", "image"])
    result = {}
    for label, rows in records.groupby(["attack", "eps"]):
        name = "clean" if label[1] == 0 else label[0]
        result[name] = [float(rows.correct.mean()), *escrime.results.statistics.wilson(rows.correct.sum(), len(rows))]
        result[f"{name} passes"] = float(rows.forwards.mean() + rows.backwards.mean())
    return result | {"n": len(test), "seconds": round(time.monotonic() - begin)}


def curve(model, clean, test, options) -> list[dict]:
    """Accuracy of the images of `test` at each ε: n, right under FGSM on `model`, and under FGSM on the network `clean`."""
    subject = escrime.evaluation.Subject(options.arch, model, "hardened", None if clean is model else clean)
    attack = {"FGSM": escrime.FGSM(max(options.curve))}
    found = escrime.evaluate([subject], test, attack, epsilons={"FGSM": options.curve}, checks=False, device=options.device)
    records = found.records.drop_duplicates(["threat", "eps", "image"])
    table = records.groupby(["eps", "threat"]).correct.sum().unstack()
    return [{"eps": float(eps), "n": len(test)} | row.astype(int).to_dict() for eps, row in table.iterrows()]


def grid(text: str) -> list[float]:
    return [epsilon(part) for part in text.split(",")]


def as_json(table: dict, options) -> str:
    """Everything a page needs: how it was made, the accuracies, and the log of every epoch."""
    histories = {}
    for name in table:
        log = options.folder / f"{name}.csv"
        if log.exists():
            rows = pd.read_csv(log).astype(object)
            histories[name] = rows.where(rows.notna(), None).to_dict("records")
    told = ("data", "arch", "size", "train_size", "test_size", "start", "teacher", "eps", "epochs", "clean_epochs")
    told += ("clean_objective", "learning_rate", "set", "clean_set", "clean_goal", "goal", "steps", "subset", "limit")
    told += ("interpolate",)
    settings = {name: str(value) if isinstance(value := getattr(options, name), Path) else value for name in told}
    command = "python -m benchmarks.hardening " + shlex.join(sys.argv[1:])
    content = {
        "command": command,
        "conditions": describe(options.device),
        "settings": settings,
        "table": table,
        "histories": histories,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def markdown(table: dict, eps: float, images: int) -> str:
    columns = ("clean", "FGSM", "PGD", "AutoAttack")
    lines = [f"Accuracy of {images} images at ε = {eps:.4g}, 95 % Wilson intervals:", ""]
    lines += ["| recipe | " + " | ".join(columns) + " |", "|---" * 5 + "|"]
    for name, row in table.items():
        cells = ["**{:.1%}** ({:.1%}–{:.1%})".format(*row[column]) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
