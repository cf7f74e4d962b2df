"""What prediction averaging is worth: the paper's attacks as it ran them (transfer), and by someone who knows the defense.

    python -m benchmarks.standing --data digits --out digits.json
    python -m benchmarks.standing --data imagenette --folder DIR --weights mobilenet_v2-imagenet1k.safetensors --size 128 \\
        --subset leak-free --steps 5 --draws 1 --doublings 0 --settings 8:0.03,2:0.3,2:0.03 --out imagenette.json

For every N, ε_max and average: clean accuracy, FGSM and DGSM under both threat levels, and adaptive PGD with its steps and
noise draws doubled until that changes less than a point. Results are kept after each setting: run again to continue.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

import escrime
from escrime.data import IMAGENET_INDICES, load
from escrime.files import write_whole
from escrime.results.comparisons import compare
from escrime.results.statistics import wilson

SETTINGS = "8:0.03,8:0.3,8:0.1,2:0.1,32:0.1"
AVERAGES = ("exponentials", "probabilities")
CONVERGED = 0.01


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", choices=("digits", "imagenette"), required=True)
    options.add_argument("--folder")
    options.add_argument("--weights")
    options.add_argument("--size", type=int)
    options.add_argument("--limit", type=int)
    options.add_argument("--fgsm", type=float, default=None, help="ε of FGSM and PGD (0.025; digits: 0.1)")
    options.add_argument("--dgsm", type=float, default=None, help="ε of DGSM (0.015; digits: 0.1)")
    options.add_argument("--steps", type=int, default=10, help="of DGSM, and of PGD before doubling")
    options.add_argument("--draws", type=int, default=2, help="noise draws behind each verdict")
    options.add_argument("--subset", help="only the images of this subset, such as leak-free")
    options.add_argument("--doublings", type=int, default=2)
    options.add_argument("--settings", default=SETTINGS, help="pairs of N and ε_max, such as 2:0.03,8:0.3")
    options.add_argument("--out", type=Path, required=True)
    options = options.parse_args()
    network, data, target = subject(options)
    fgsm, dgsm = (options.fgsm or 0.025, options.dgsm or 0.015) if options.data == "imagenette" else (0.1, 0.1)
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    about = {"data": options.data, "images": len(data[1]), "fgsm_eps": fgsm, "dgsm_eps": dgsm, "torch": torch.__version__}
    results["about"] = about
    todo = [("none", 1, 0.0)] + [(average, *setting) for average in AVERAGES for setting in pairs(options.settings)]
    for average, samples, eps_max in todo:
        name = f"{average}, N = {samples}, ε_max = {eps_max}"
        if name in results:
            continue
        start = time.monotonic()
        results[name] = {"average": average, "samples": samples, "eps_max": eps_max}
        results[name] |= measure(network, data, target, average, samples, eps_max, fgsm, dgsm, options)
        results[name]["seconds"] = round(time.monotonic() - start)
        write_whole(options.out, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        print(name, json.dumps(results[name], ensure_ascii=False), file=sys.stderr, flush=True)
    print(markdown(results))


def pairs(text: str) -> list[tuple[int, float]]:
    return [(int(samples), float(eps_max)) for samples, eps_max in (pair.split(":") for pair in text.split(","))]


def subject(options):
    """The network, its test images and labels, and the target class of DGSM."""
    if options.data == "digits":
        from escrime.training import TrainSettings, fit

        splits = load("digits")
        network = escrime.build("wide_resnet_small", 10, seed=0)
        fit(network, splits.train, settings=TrainSettings(epochs=8, learning_rate=0.05, batch_size=32))
        test, target = splits.test, 1
    else:
        test = load("imagenette", size=options.size, folder=options.folder).test
        network = escrime.build(
            "mobilenet_v2", 10, weights=options.weights, head="slice", class_indices=IMAGENET_INDICES, mean=0.5, std=0.5
        )
        target = test.classes.index("English springer")
    if options.subset:
        test = test.select([row for row, inside in enumerate(test.subsets[options.subset]) if inside])
    if options.limit:
        test = test.limit(options.limit, 0)
    return network, test.batch(list(range(len(test)))), target


def measure(network, data, target, average, samples, eps_max, fgsm, dgsm, options) -> dict:
    attacks = {"FGSM": escrime.FGSM(fgsm), "DGSM": escrime.DGSM(dgsm, target=target, steps=options.steps)}
    attacks |= {"PGD": escrime.PGD(fgsm, steps=options.steps)}
    grids = {"FGSM": [0, fgsm], "DGSM": [dgsm], "PGD": [fgsm]}
    models = {"undefended": network}
    if average != "none":
        models["ppa"] = escrime.PredictionAveraging(network, eps_max, samples, average)
    found = escrime.evaluate(models, data, attacks, epsilons=grids, draws=options.draws, eot=1, checks=False)
    records = found.records
    ours = records[records["model"] == ("undefended" if average == "none" else "ppa")]
    row = {}
    for (threat, attack, eps), group in ours.groupby(["threat", "attack", "eps"], sort=False):
        name = f"{threat} {'clean' if eps == 0 else attack}"
        column = "hit" if attack == "DGSM" else "correct"
        low, high = wilson(group[column].sum(), len(group))
        row[name] = [round(float(value), 4) for value in (group[column].mean(), low, high)]
        row[f"{name} right"] = round(float(group["correct"].mean()), 4)
    if average == "none":
        return row
    for threat in ("transfer", "adaptive"):
        paired = compare(records, ("ppa", "ppa", threat), ("undefended", "none", "white-box"), attack="FGSM", eps=fgsm)
        row[f"{threat} FGSM against none"] = {"difference": round(paired.difference, 4), "p": paired.p}
    return row | {"converged": converged(models["ppa"], data, fgsm, row["adaptive PGD"][0], options)}


def converged(model, data, eps: float, last: float, options) -> list:
    """[steps, noise draws, accuracy] of PGD, doubled until it changes less than a point."""
    path, steps, eot = [[options.steps, 1, last]], options.steps, 1
    for _ in range(options.doublings):
        steps, eot = 2 * steps, 2 * eot
        attack = {"PGD": escrime.PGD(eps, steps=steps)}
        ppa = {"ppa": model}
        records = escrime.evaluate(ppa, data, attack, draws=options.draws, eot=eot, checks=False).records
        path.append([steps, eot, round(float(records.query("threat == 'adaptive'")["correct"].mean()), 4)])
        if abs(path[-2][2] - path[-1][2]) < CONVERGED:
            break
    return path


def markdown(results: dict) -> str:
    """The table: one row per setting, shares in percent with their 95 % Wilson intervals."""
    about = results["about"]
    share = lambda cell: f"{100 * cell[0]:.1f} [{100 * cell[1]:.1f}, {100 * cell[2]:.1f}]"  # noqa: E731
    lines = [
        "| averaged | N | ε_max | clean | FGSM, ignores it | FGSM, knows it | PGD, ignores it | PGD, knows it | … doubled | "
        "DGSM hits, ignores it | DGSM hits, knows it |",
        "|" + "---|" * 11,
    ]
    for row in (row for name, row in results.items() if name != "about"):
        if row["average"] == "none":
            bare = [share(row[f"white-box {name}"]) for name in ("clean", "FGSM", "PGD", "DGSM")]
            lines.append(f"| undefended | – | – | {bare[0]} | – | {bare[1]} | – | {bare[2]} | – | – | {bare[3]} |")
            continue
        cells = [share(row["adaptive clean"])]
        for attack in ("FGSM", "PGD"):
            cells += [share(row[f"{threat} {attack}"]) for threat in ("transfer", "adaptive")]
        path = row["converged"][1:]
        cells += [" → ".join(f"{100 * accuracy:.1f}" for _, _, accuracy in path) or "–"]
        cells += [share(row[f"{threat} DGSM"]) for threat in ("transfer", "adaptive")]
        lines.append(f"| {row['average']} | {row['samples']} | {row['eps_max']:g} | {' | '.join(cells)} |")
    sizes = f"FGSM and PGD at ε = {about['fgsm_eps']:g}, DGSM at {about['dgsm_eps']:g}"
    head = f"{about['data']}, {about['images']} images, {sizes}:"
    return "\n".join([head, "", *lines]) + "\n"


if __name__ == "__main__":
    main()
